//! Database servers that lie in a session or when it ends: their own client hears it and nobody else, and in doubt the
//! backend is closed.

use std::time::{Duration, Instant};

use super::liars::Pair;
use crate::support::liar::*;
use crate::support::messages::*;
use crate::support::transcript::Frame;
use crate::support::vault::MODES;
use crate::support::wire::Wire;

/// Opens a session with a liar that misbehaves when it is asked `lie`, and gives what is heard.
fn asked_to_lie(
    mode: &str,
    lie: impl Fn(&mut Talk) -> Option<()> + Send + Sync + 'static,
) -> (Pair, Wire, Vec<Frame>) {
    let liar = Liar::new(move |talk| {
        talk.login()?;
        loop {
            let (tag, body) = talk.asked()?;
            match (tag, &body[..]) {
                (b'Q', b"lie\0") => lie(talk)?,
                (b'Q', b"DISCARD ALL\0") => talk.say(&all(&[complete("DISCARD ALL"), ready(b'I')]))?,
                (b'Q', _) => talk.say(&all(&[answer("honest"), ready(b'I')]))?,
                _ => return None,
            }
        }
    });
    let pair = Pair::pooled(liar, mode);
    let mut wire = pair.vault.enter(&pair.login);
    assert_eq!(wire.value("truth"), "honest");
    wire.send(&query("lie"));
    let heard = wire.until(|frame| frame.tag == b'Z' || frame.is_error());
    (pair, wire, heard)
}

#[test]
fn a_row_with_impossible_lengths_is_passed_on_by_its_outer_length() {
    for mode in MODES {
        let (mut pair, mut wire, heard) = asked_to_lie(mode, |talk| {
            let lengths = [(-2_i32).to_be_bytes(), i32::MAX.to_be_bytes()].concat();
            let impossible = message(b'D', &[&[0, 9][..], &lengths, b"x"].concat());
            talk.say(&all(&[impossible, complete("SELECT 1"), ready(b'I')]))
        });
        let tags: Vec<u8> = heard.iter().map(|frame| frame.tag).collect();
        assert_eq!((tags.as_slice(), heard[0].body.len()), (&b"DCZ"[..], 11), "{mode}");
        assert_eq!(wire.value("truth"), "honest", "the stream is in step: {mode}");
        pair.others_work();
    }
}

#[test]
fn a_copy_in_both_directions_ends_the_session() {
    for mode in MODES {
        let (mut pair, mut wire, heard) = asked_to_lie(mode, |talk| talk.say(&message(b'W', &[0, 0, 0])));
        assert!(heard.last().is_none_or(Frame::is_error), "{mode}: {heard:?}");
        assert!(wire.rest().is_empty(), "{mode}");
        pair.others_work();
    }
}

#[test]
fn a_length_that_cannot_be_ends_the_session() {
    let lengths = [0_u32, 3, 1 << 30, u32::MAX];
    for (length, mode) in lengths.into_iter().flat_map(|length| MODES.map(|mode| (length, mode))) {
        let (mut pair, _wire, heard) = asked_to_lie(mode, move |talk| {
            talk.say(&all(&[row("before"), vec![b'D'], length.to_be_bytes().to_vec()]))
        });
        let last = heard.last().expect("a word about it");
        assert_eq!((heard[0].tag, last.tag, last.field('C').as_str()), (b'D', b'E', "08006"), "{heard:?}");
        pair.others_work();
    }
}

/// A server that dies in the middle of a row leaves half a row and the end of the stream, never words inside the row.
#[test]
fn nothing_is_injected_into_half_a_row() {
    let cuts = [1_usize, 4, 5, 20_000, 200_000];
    for (cut, mode) in cuts.into_iter().flat_map(|cut| MODES.map(|mode| (cut, mode))) {
        let (mut pair, mut wire, heard) = asked_to_lie(mode, move |talk| {
            let whole = row(&"r".repeat(300_000));
            talk.say(&row("before"))?;
            talk.say(&whole[..cut])?;
            std::thread::sleep(Duration::from_millis(50));
            talk.leave()
        });
        assert_eq!(heard[0].tag, b'D');
        if cut < 5 {
            // What was held back was never begun: there the loss may be told.
            assert!(heard.get(1).is_none_or(|frame| frame.field('C') == "08006"), "{heard:?}");
        } else {
            assert!(
                heard.len() == 1 || heard[1].field('C') == "08006" && cut < 16_384,
                "{} messages",
                heard.len()
            );
        }
        let rest = wire.bytes(400_000);
        assert!(rest.iter().skip(11).all(|byte| *byte == b'r'), "words inside a row, cut at {cut}");
        pair.others_work();
    }
}

/// A lie to be told, by the number of the connection.
fn lying(talk: &mut Talk) -> Option<()> {
    // A second ReadyForQuery, a row nobody asked for, an unknown message, a broken status.
    let lie = match talk.number {
        0 => [ready(b'I'), ready(b'I')].concat(),
        1 => [ready(b'I'), row("late")].concat(),
        2 => [message(b'?', b"what"), ready(b'I')].concat(),
        3 => ready(b'Q'),
        _ => return Some(()),
    };
    talk.asked()?;
    talk.say(&all(&[answer("x"), lie]))
}

/// Whatever a server sends that fits no request, its backend serves nobody else. In transaction pooling one text leaves the
/// backend to be examined, the other one lets it go as it is.
#[test]
fn a_server_out_of_step_serves_nobody_else() {
    for (mode, text) in [("session", "x"), ("transaction", "x"), ("transaction", "SELECT 1")] {
        let liar = Liar::new(|talk| {
            talk.login()?;
            lying(talk)?;
            talk.serve()
        });
        let mut pair = Pair::pooled(liar, mode);
        for number in 0..4 {
            let mut wire = pair.vault.enter(&pair.login);
            wire.send(&query(text));
            wire.until_ready();
            std::thread::sleep(Duration::from_millis(30));
            wire.send(&terminate());
            wire.rest();
            let begun = Instant::now();
            while pair.liar.closed() <= number {
                assert!(
                    begun.elapsed() < Duration::from_secs(3),
                    "{mode}, {text}: backend {number} was kept"
                );
                std::thread::sleep(Duration::from_millis(10));
            }
            pair.others_work();
        }
        assert_eq!(pair.vault.enter(&pair.login).value("honest again"), "honest again");
    }
}

/// A server that speaks while its backend lies in the pool has spent it, be it garbage, a notification or its own end.
#[test]
fn what_is_said_to_an_idle_backend_reaches_no_client() {
    for mode in MODES {
        let liar = Liar::new(|talk| {
            talk.login()?;
            while talk.serve_one()? != "DISCARD ALL" {}
            // It lies in the pool now.
            let notification =
                message(b'A', &[&[0, 0, 0, 1][..], &cstr("channel"), &cstr("payload")].concat());
            match talk.number {
                0 => talk.say(&all(&[row("of somebody else"), ready(b'I')])),
                1 => talk.say(&notification),
                2 => talk.say(&error(&[('S', "FATAL"), ('V', "FATAL"), ('C', "57P01"), ('M', "ended")])),
                3 => talk.leave(),
                _ => Some(()),
            }?;
            talk.serve()
        });
        let pair = Pair::pooled(liar, mode);
        for number in 0..5 {
            let mut wire = pair.vault.enter(&pair.login);
            assert_eq!(wire.greeting.iter().filter(|frame| !b"SKZ".contains(&frame.tag)).count(), 0);
            let text = format!("session {number}");
            assert_eq!(wire.value(&text), text, "{mode}");
            wire.send(&terminate());
            assert!(wire.rest().is_empty(), "{mode}");
            std::thread::sleep(Duration::from_millis(60));
        }
    }
}

/// A server that never says it is ready keeps its client waiting, and lets it go when it leaves.
#[test]
fn a_server_that_is_never_ready_holds_its_own_client_only() {
    for mode in MODES {
        let liar = Liar::new(|talk| {
            talk.login()?;
            talk.asked()?;
            talk.say(&answer("all but ready"))
        });
        let mut pair = Pair::pooled(liar, mode);
        let mut wire = pair.vault.enter(&pair.login);
        wire.send(&query("x"));
        assert_eq!(wire.until(|frame| frame.tag == b'C').len(), 3);
        assert!(wire.within(Duration::from_millis(200)).is_empty());
        pair.others_work();
        wire.vanish();
        let begun = Instant::now();
        while pair.liar.closed() == 0 {
            assert!(begun.elapsed() < Duration::from_secs(8), "kept for a client that left: {mode}");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(pair.liar.cancels.lock().unwrap().len(), 1, "what ran was cancelled");
    }
}

/// One that does not answer the scrub is closed in time, and its client is not kept waiting for ever.
#[test]
fn a_scrub_that_is_never_answered_closes_the_backend() {
    for mode in MODES {
        let liar = Liar::new(|talk| {
            talk.login()?;
            while talk.asked()?.1 != b"DISCARD ALL\0" {
                talk.say(&all(&[answer("x"), ready(b'I')]))?;
            }
            match talk.number {
                0 => Some(()),
                1 => talk.say(&all(&[error(&[('S', "ERROR"), ('C', "25001"), ('M', "no")]), ready(b'I')])),
                2 => talk.say(&all(&[complete("DISCARD ALL"), ready(b'T')])),
                _ => talk.say(&all(&[complete("DISCARD ALL"), ready(b'I'), complete("DISCARD ALL")])),
            }
        });
        let mut pair = Pair::pooled(liar, mode);
        for number in 0..4 {
            let mut wire = pair.vault.enter(&pair.login);
            assert_eq!(wire.value("x"), "x");
            wire.send(&terminate());
            assert!(wire.rest().is_empty(), "{mode}");
            let begun = Instant::now();
            while pair.liar.closed() <= number {
                assert!(begun.elapsed() < Duration::from_secs(4), "{mode}: backend {number} was kept");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        pair.others_work();
    }
}

/// One that lies when it is asked what a session left behind serves nobody else, and no client hears the lie.
#[test]
fn a_lie_about_what_was_left_behind_closes_the_backend() {
    let liar = Liar::new(|talk| {
        talk.login()?;
        loop {
            let (tag, _) = talk.hear()?;
            match (tag, talk.number) {
                (b'Q', _) => talk.say(&all(&[answer("x"), ready(b'I')]))?,
                (b'P', 0) => talk.say(&all(&[row("of somebody else"), ready(b'I'), ready(b'I')]))?,
                (b'P', 1) => talk.say(&[ready(b'T'), ready(b'I')].concat())?,
                (b'P', 2) => talk.say(&all(&[complete("SELECT 0"), ready(b'I'), ready(b'I')]))?,
                (b'P', 3) => talk.say(&[b'D', 0x7f, 0xff, 0xff, 0xff])?,
                (b'P', 4) => talk.leave()?,
                // Never an answer.
                _ => {}
            }
        }
    });
    let mut pair = Pair::pooled(liar, "transaction");
    for number in 0..6 {
        let mut wire = pair.vault.enter(&pair.login);
        assert_eq!(wire.value("x"), "x", "session {number}");
        if number < 5 {
            // The session may be told that its backend is lost, and nothing else.
            let told = wire.until(|frame| frame.is_error());
            assert!(told.iter().all(|frame| frame.field('C') == "08006"), "session {number}: {told:?}");
        } else {
            // It waits as long as the server takes, and some seconds for an answer once its client has left.
            assert!(wire.within(Duration::from_millis(1500)).is_empty());
            wire.vanish();
        }
        let begun = Instant::now();
        while pair.liar.closed() <= number {
            assert!(begun.elapsed() < Duration::from_secs(12), "backend {number} was kept");
            std::thread::sleep(Duration::from_millis(10));
        }
        pair.others_work();
    }
}
