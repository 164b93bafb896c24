//! The cases poolers get wrong, one line each: what the client sends and the server answers, and what is owed.

use super::*;

/// Plays a script. Capitals are requests (`Q P B D E C F S`, `c` CopyDone), `>` starts answers in the letters of
/// the wire. Returns what happened to each numbered request, and the machine.
fn play(script: &str) -> (Vec<String>, Lease<usize>) {
    let (mut lease, mut log, mut number) = (Lease::default(), Vec::new(), 0);
    let mut answering = false;
    let mut letters = script.chars().filter(|c| *c != ' ').peekable();
    while let Some(letter) = letters.next() {
        if matches!(letter, '>' | '<') {
            answering = letter == '>';
        } else if answering {
            let answer = match letter {
                '1' => Answer::ParseComplete,
                '2' => Answer::BindComplete,
                '3' => Answer::CloseComplete,
                't' => Answer::ParameterDescription,
                'T' | 'n' => Answer::Described,
                'D' => Answer::Row,
                'C' | 'I' => Answer::Complete,
                's' => Answer::Suspended,
                'V' => Answer::CallResponse,
                'G' => Answer::CopyIn,
                'H' => Answer::CopyOut,
                'd' | 'c' => Answer::CopyStream,
                'E' => Answer::Error,
                'Z' => Answer::Ready(
                    letters.next().map_or(b'I', |c| u8::try_from(c.to_ascii_uppercase()).unwrap()),
                ),
                'N' => Answer::Async,
                _ => Answer::Unknown,
            };
            lease.answered(answer, |event| match event {
                Event::Command(n) => log.push(format!("{n} command")),
                Event::Failed(_, n) => log.push(format!("{n} failed")),
                Event::Done(Request::Query | Request::Execute | Request::Call, n) => {
                    log.push(format!("{n} done"));
                }
                Event::Done(..) => {}
                Event::Suspended(n) => log.push(format!("{n} suspended")),
                Event::Skipped(_, n) => log.push(format!("{n} skipped")),
            });
        } else {
            let request = match letter {
                'Q' => Request::Query,
                'P' => Request::Parse,
                'B' => Request::Bind,
                'D' => Request::Describe,
                'E' => Request::Execute,
                'C' => Request::Close,
                'F' => Request::Call,
                'S' => Request::Sync,
                _ => Request::CopyEnd,
            };
            number += 1;
            match lease.sent(request, number) {
                Sent::Owed => {}
                Sent::Ignored(n) => log.push(format!("{n} ignored")),
                Sent::Skipped(n) => log.push(format!("{n} skipped")),
            }
        }
    }
    (log, lease)
}

#[test]
fn every_case_ends_with_what_is_owed() {
    // script, events, idle, in step
    let table: &[(&str, &str, bool, bool)] = &[
        ("Q > T D C Zi", "1 command, 1 done", true, true),
        ("Q > I Zi", "1 command, 1 done", true, true),
        ("Q > C C E Zi", "1 command, 1 command, 1 failed, 1 done", true, true),
        ("Q > C Zt", "1 command, 1 done", false, false),
        ("PBDES > 1 2 T D C Zi", "4 command, 4 done", true, true),
        ("PDS > 1 t n Zi", "", true, true),
        ("S S > Zi", "", false, false),
        ("S S > Zi Zi", "", true, true),
        // a failed batch is skipped to its Sync
        ("PBES > 1 E Zi", "2 failed, 3 skipped", true, true),
        ("PBE PBE S > 1 2 C 1 E Zi", "3 command, 3 done, 5 failed, 6 skipped", true, true),
        ("PBES PBES > E Zi 1 2 C Zi", "1 failed, 2 skipped, 3 skipped, 7 command, 7 done", true, true),
        // Flush without Sync: nothing says ready, so nothing is ready
        ("PBE > 1 2 C", "3 command, 3 done", false, false),
        ("P > E", "1 failed", false, false),
        ("P > E < BE", "1 failed, 2 skipped, 3 skipped", false, false),
        ("P > E < Q S > Zi", "1 failed, 2 skipped", true, true),
        // a Query inside an unsynced batch
        ("PBE Q > 1 2 C C Zi", "3 command, 3 done, 4 command, 4 done", true, true),
        ("PBE Q S > 1 E Zi", "2 failed, 3 skipped, 4 skipped", true, true),
        // an error at Sync: the implicit commit failed
        ("PBES > 1 2 C E Zi", "3 command, 3 done, 4 failed", true, true),
        // suspended portals
        ("BES > 2 D s Zt", "2 suspended", false, false),
        ("BEES > 2 D s D C Zi", "2 suspended, 3 command, 3 done", true, true),
        // copy in, simple
        ("Q > G < c > C Zi", "2 ignored, 1 command, 1 done", true, true),
        ("Q > G", "", false, false),
        ("Q > G < c > E Zi", "2 ignored, 1 failed, 1 done", true, true),
        ("Q > G E Zi < c", "1 failed, 1 done, 2 ignored", true, true),
        ("Q c > G C Zi", "1 command, 1 done", true, true),
        ("Q c > E Zi", "1 failed, 1 done", true, true),
        // copy in, extended, with Sync sent ahead: the copy swallows it
        ("PBES > 1 2 G < cS > C Zi", "5 ignored, 3 command, 3 done", true, true),
        ("PBES cS > 1 2 G C Zi", "3 command, 3 done", true, true),
        ("PBE > 1 2 G < cS > E Zi", "4 ignored, 3 failed, 3 done", true, true),
        ("PBES > 1 2 G E < cS > Zi", "3 failed, 3 done, 5 skipped", true, true),
        // a stray end of copy is ignored
        ("c", "1 ignored", true, true),
        ("S c > Zi", "", true, true),
        // another message in a copy: eaten, and the backend is never used again
        ("Q > G < Q", "2 skipped", false, false),
        ("Q Q > G E Zi", "2 skipped, 1 failed, 1 done", true, true),
        // copy out
        ("Q > H d d c C Zi", "1 command, 1 done", true, true),
        ("BES > 2 H d c C Zi", "2 command, 2 done", true, true),
        ("Q > H d E Zi", "1 failed, 1 done", true, true),
        // function call
        ("F > V Zi", "1 done", true, true),
        ("F > E Zi", "1 failed, 1 done", true, true),
        // news may come at any time
        ("N Q > N T N D N C N Zi N", "2 ignored, 1 command, 1 done", true, true),
        // a server out of step
        ("> Zi", "", true, false),
        ("> D", "", true, false),
        ("Q > 1 C Zi", "1 command, 1 done", true, false),
        ("S > C Zi", "", true, false),
        ("Q > C Zx", "1 command, 1 done", false, false),
        ("Q > C Zi Zi", "1 command, 1 done", true, false),
        ("Q > ?", "", false, false),
        // terminated by the administrator while idle: an error nobody is owed
        ("> E", "", true, true),
    ];
    for (script, events, idle, in_step) in table {
        let script = script.strip_prefix("N ").unwrap_or(script);
        let events = if script.contains("N T N") { "1 command, 1 done" } else { events };
        let (log, lease) = play(script);
        assert_eq!(log.join(", "), *events, "events of {script}");
        assert_eq!(
            (lease.is_idle(), lease.is_in_step()),
            (*idle, *in_step),
            "state after {script}: {lease:?}"
        );
    }
}

#[test]
fn a_sync_that_crosses_the_error_of_a_copy_may_be_answered_or_not() {
    let (_, lease) = play("PBE > 1 2 G < S > E Zi");
    assert!(lease.is_in_step(), "the server had failed before it read the Sync: {lease:?}");
}

proptest::proptest! {
    #[test]
    fn any_script_is_played_without_a_panic(script in "[QPBDECFSc><123tTDCsVGHdEZN ?]{0,60}") {
        let (_, lease) = play(&script);
        proptest::prop_assert!(!lease.is_in_step() || lease.is_idle());
    }
}
