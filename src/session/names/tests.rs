//! Names, by example and against a server as simple as can be.

use proptest::prelude::*;

use super::*;
use crate::backend::memory::Carried;
use crate::backend::prepared::Interner;
use crate::backend::tests::cluster::{Cluster, exchange};

fn named(text: &str) -> Named {
    let prepared = Interner::default().intern(text.as_bytes(), b"\0\0", &Carried::default());
    Named { prepared, effects: None, is_held: text == "held" }
}

fn text(names: &Names, name: &str) -> Option<String> {
    names.get(name.as_bytes()).map(|named| String::from_utf8_lossy(named.prepared.text()).into_owned())
}

#[test]
fn a_parse_that_fails_leaves_the_former_statement() {
    let mut names = Names::default();
    names.sent(b"s", named("A"));
    names.sent(b"s", named("B"));
    assert_eq!(text(&names, "s").as_deref(), Some("B"));
    names.parsed(b"s");
    names.failed(b"s");
    assert_eq!(text(&names, "s").as_deref(), Some("A"));
    names.closed(b"s");
    assert_eq!((text(&names, "s"), names.bytes()), (None, 0));
}

#[test]
fn what_is_deallocated_does_not_take_what_was_sent_behind_it() {
    let mut names = Names::default();
    for name in [b"s", b"t"] {
        names.sent(name, named("A"));
        names.parsed(name);
    }
    names.sent(b"s", named("B"));
    names.clear();
    names.failed(b"s");
    assert_eq!((names.iter().count(), names.bytes()), (0, 0));
    names.sent(b"t", named("B"));
    names.clear();
    names.parsed(b"t");
    assert_eq!(text(&names, "t").as_deref(), Some("B"));
}

#[test]
fn a_statement_is_held_from_its_parse_to_its_end() {
    let mut names = Names::default();
    let ends: [fn(&mut Names); 3] = [
        |names| names.failed(b"s"),
        |names| (names.parsed(b"s"), names.closed(b"s")).1,
        |names| {
            names.parsed(b"s");
            names.clear();
        },
    ];
    for end in ends {
        names.sent(b"t", named("A"));
        assert!(!names.are_held());
        names.sent(b"s", named("held"));
        names.parsed(b"t");
        assert!(names.are_held());
        end(&mut names);
        assert!(!names.are_held());
        names.clear();
        assert_eq!(names.bytes(), 0);
    }
}

#[test]
fn a_close_that_was_not_announced_takes_only_what_was_before_it() {
    let mut names = Names::default();
    names.sent(b"s", named("A"));
    names.parsed(b"s");
    names.sent(b"s", named("B"));
    names.closed(b"s");
    assert_eq!(text(&names, "s").as_deref(), Some("B"));
    names.failed(b"s");
    assert_eq!((text(&names, "s"), names.bytes()), (None, 0));
}

#[test]
fn names_count_as_far_as_postgresql_compares_them() {
    let mut names = Names::default();
    let long = [b'n'; 70];
    names.sent(&long, named("A"));
    names.parsed(&long[..65]);
    assert!(names.get(&long[..63]).is_some() && names.get(&long[..62]).is_none());
    names.closing(&long[..64]);
    assert!(names.get(&long).is_none());
    names.closed(&long);
    assert_eq!((names.named.len(), names.bytes()), (0, 0));
}

#[test]
fn many_messages_under_way_leave_nothing_behind() {
    let mut names = Names::default();
    let one = named("A");
    for _ in 0..50_000 {
        names.sent(b"s", one.clone());
        names.closing(b"s");
    }
    assert!(names.bytes() > 50_000 * STATEMENT_BYTES);
    for _ in 0..50_000 {
        names.parsed(b"s");
        names.closed(b"s");
    }
    assert_eq!((names.named.len(), names.bytes()), (0, 0));
    for _ in 0..50_000 {
        names.sent(b"s", one.clone());
    }
    for _ in 0..50_000 {
        names.parsed(b"s");
    }
    assert!(names.named.values().all(|slot| slot.sent.capacity() == 0) && names.bytes() < 1_000);
}

/// What a client sends; `Sync` also lets the server answer all there is.
#[derive(Debug, Clone)]
enum Message {
    /// A `Parse` whose text may be wrong.
    Parse(usize, bool),
    Close(usize),
    Other {
        fails: bool,
    },
    Sync,
}

const NAMES: [&str; 2] = ["s", "t"];

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        8 => (0..2_usize, prop::bool::weighted(0.8)).prop_map(|(name, is_right)| Message::Parse(name, is_right)),
        4 => (0..2_usize).prop_map(Message::Close),
        1 => prop::bool::weighted(0.2).prop_map(|fails| Message::Other { fails }),
        4 => Just(Message::Sync),
    ]
}

/// The statements of a server. It skips what follows an error up to `Sync`.
#[derive(Debug, Default)]
struct Server {
    statements: [Option<String>; 2],
    is_skipping: bool,
}

impl Server {
    /// Takes one message and tells the names how it was answered.
    fn take(&mut self, message: &Message, text: &str, names: &mut Names) {
        match *message {
            Message::Sync => self.is_skipping = false,
            Message::Parse(at, _) | Message::Close(at) if self.is_skipping => {
                names.failed(NAMES[at].as_bytes());
            }
            Message::Parse(at, is_right) => {
                if is_right && self.statements[at].is_none() {
                    self.statements[at] = Some(text.to_owned());
                    names.parsed(NAMES[at].as_bytes());
                } else {
                    self.is_skipping = true;
                    names.failed(NAMES[at].as_bytes());
                }
            }
            Message::Close(at) => {
                self.statements[at] = None;
                names.closed(NAMES[at].as_bytes());
            }
            Message::Other { fails } => self.is_skipping |= fails,
        }
    }
}

/// What a client may expect of a name if all goes well.
fn expected(mut statements: [Option<String>; 2], sent: &VecDeque<(Message, String)>) -> [Option<String>; 2] {
    for (message, text) in sent {
        match *message {
            Message::Parse(at, _) => statements[at] = Some(text.clone()),
            Message::Close(at) => statements[at] = None,
            Message::Other { .. } | Message::Sync => {}
        }
    }
    statements
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn names_follow_the_server_however_much_is_under_way(
        messages in prop::collection::vec((message(), 0..4_usize), 0..60),
    ) {
        let (mut names, mut server) = (Names::default(), Server::default());
        let mut sent: VecDeque<(Message, String)> = VecDeque::new();
        let mut number = 0;
        for (message, answers) in messages {
            number += 1;
            let text = format!("SELECT {number}");
            match &message {
                Message::Parse(at, _) => names.sent(NAMES[*at].as_bytes(), named(&text)),
                Message::Close(at) => names.closing(NAMES[*at].as_bytes()),
                Message::Other { .. } | Message::Sync => {}
            }
            sent.push_back((message, text));
            for _ in 0..answers {
                let Some((message, text)) = sent.pop_front() else { break };
                server.take(&message, &text, &mut names);
            }
            let expected = expected(server.statements.clone(), &sent);
            if !server.is_skipping {
                for (name, expected) in NAMES.iter().zip(&expected) {
                    prop_assert_eq!(&self::text(&names, name), expected, "{}", name);
                }
                prop_assert_eq!(names.iter().count(), expected.iter().flatten().count());
            }
        }
        for (message, text) in sent {
            server.take(&message, &text, &mut names);
        }
        for (name, expected) in NAMES.iter().zip(&server.statements) {
            prop_assert_eq!(&text(&names, name), expected, "{}", name);
        }
        for name in NAMES {
            names.closed(name.as_bytes());
        }
        prop_assert_eq!((names.bytes(), names.named.len()), (0, 0));
    }
}

/// Messages by type and body, up to a `Sync`.
fn batch(messages: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (tag, body) in messages.iter().chain([&(b'S', &b""[..])]) {
        out.push(*tag);
        out.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        out.extend(*body);
    }
    out
}

/// What the rules above are taken from.
#[tokio::test]
async fn a_real_server_keeps_these_rules_of_names() {
    let mut server = Cluster::shared().session("postgres", &[]).await;
    let mut code = async |messages: &[(u8, &[u8])]| {
        exchange(&mut server, &batch(messages)).await.unwrap().error.map(|(code, _)| code)
    };
    const UNNAMED: (u8, &[u8]) = (b'P', b"\0SELECT 1\0\0\0");
    const NAMED: (u8, &[u8]) = (b'P', b"s\0SELECT 1\0\0\0");
    const WRONG: (u8, &[u8]) = (b'P', b"\0SELEC\0\0\0");
    const SEE_UNNAMED: (u8, &[u8]) = (b'D', b"S\0");
    const SEE_NAMED: (u8, &[u8]) = (b'D', b"Ss\0");
    let missing = Some("26000".to_owned());
    // An unnamed statement goes with the next `Parse` that the server reads, right or wrong, but not with one it skips.
    assert_eq!(code(&[UNNAMED, (b'D', b"Snone\0"), WRONG]).await, missing);
    assert_eq!(code(&[SEE_UNNAMED]).await, None);
    assert_eq!(code(&[WRONG]).await.as_deref(), Some("42601"));
    assert_eq!(code(&[SEE_UNNAMED]).await, missing);
    // A named one stays what it is.
    assert_eq!(code(&[NAMED, NAMED]).await.as_deref(), Some("42P05"));
    assert_eq!(code(&[SEE_NAMED]).await, None);
    assert_eq!(code(&[(b'C', b"Ss\0"), SEE_NAMED]).await, missing);
    // A batch that is rolled back takes no statement with it.
    assert_eq!(code(&[NAMED, (b'D', b"Snone\0")]).await, missing);
    assert_eq!(code(&[SEE_NAMED]).await, None);
    // What deallocates all leaves the unnamed one, which may be that statement itself.
    for text in [&b"\0DEALLOCATE ALL\0\0\0"[..], b"\0DISCARD ALL\0\0\0"] {
        code(&[(b'C', b"Ss\0"), NAMED]).await;
        assert_eq!(code(&[(b'P', text), (b'B', &[0; 8]), (b'E', &[0; 5])]).await, None);
        assert_eq!(code(&[SEE_UNNAMED]).await, None);
        assert_eq!(code(&[SEE_NAMED]).await, missing);
    }
    // A `Query` ends it, even one that is wrong or empty.
    for text in ["", "SELEC", "SELECT 1"] {
        let seen = exchange(&mut server, &batch(&[UNNAMED, SEE_UNNAMED])).await.unwrap();
        assert_eq!(seen.error, None);
        let mut query = Vec::new();
        crate::protocol::write::query(&mut query, text);
        exchange(&mut server, &query).await.unwrap();
        let seen = exchange(&mut server, &batch(&[SEE_UNNAMED])).await.unwrap();
        assert_eq!(seen.error.map(|(code, _)| code), missing, "{text}");
    }
}
