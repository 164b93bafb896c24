//! Names, by example and against a server as simple as can be.

use proptest::prelude::*;

use super::*;
use crate::backend::memory::Carried;
use crate::backend::prepared::Interner;
use crate::backend::tests::cluster::{Cluster, exchange};

fn named(text: &str) -> Named {
    let prepared = Interner::default().intern(text.as_bytes(), b"\0\0", &Carried::default());
    Named { prepared, generation: 0, effects: None }
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
fn an_unnamed_parse_that_the_server_refused_leaves_none() {
    let mut names = Names::default();
    for name in [&b""[..], b"s"] {
        names.sent(name, named("A"));
        names.parsed(name);
        names.sent(name, named("B"));
        names.refused(name);
    }
    assert!(names.unnamed().is_none());
    assert_eq!(text(&names, "s").as_deref(), Some("A"));
}

#[test]
fn a_query_ends_the_unnamed_statement_that_was_sent_before_it() {
    let mut names = Names::default();
    names.sent(b"", named("A"));
    names.drop_unnamed();
    names.drop_unnamed();
    assert!(names.unnamed().is_none());
    names.sent(b"", named("B"));
    names.parsed(b"");
    assert_eq!(text(&names, "").as_deref(), Some("B"));
    names.failed(b"");
    assert!(names.unnamed().is_none() && names.bytes() == 0);
    names.drop_unnamed();
    assert!(names.unnamed.sent.is_empty());
}

#[test]
fn what_is_deallocated_does_not_take_what_was_sent_behind_it() {
    let mut names = Names::default();
    for name in [&b""[..], b"s", b"t"] {
        names.sent(name, named("A"));
        names.parsed(name);
    }
    names.sent(b"s", named("B"));
    names.clear();
    names.failed(b"s");
    assert_eq!(names.iter().map(|(name, _)| name).collect::<Vec<_>>(), [b""]);
    names.closed(b"");
    assert_eq!(names.bytes(), 0);
    names.sent(b"t", named("B"));
    names.clear();
    names.parsed(b"t");
    assert_eq!(text(&names, "t").as_deref(), Some("B"));
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
    let long = "n".repeat(70);
    names.sent(long.as_bytes(), named("A"));
    names.parsed(&long.as_bytes()[..65]);
    assert_eq!(text(&names, &long[..63]).as_deref(), Some("A"));
    assert_eq!(text(&names, &long[..62]), None);
    names.closing(&long.as_bytes()[..64]);
    assert_eq!(text(&names, &long), None);
    names.closed(long.as_bytes());
    assert_eq!((names.named.len(), names.bytes()), (0, 0));
}

#[test]
fn many_parses_under_way_cost_no_more_than_few() {
    let mut names = Names::default();
    let one = named("A");
    for _ in 0..100_000 {
        names.sent(b"", one.clone());
    }
    assert!(names.bytes() > 100_000 * STATEMENT_BYTES);
    for _ in 0..100_000 {
        names.parsed(b"");
    }
    assert!(names.unnamed.sent.capacity() == 0 && names.bytes() < 1_000);
}

/// What a client sends; `Sync` also lets the server answer all there is.
#[derive(Debug, Clone)]
enum Message {
    /// A `Parse` whose text may be wrong.
    Parse(usize, bool),
    Close(usize),
    Query,
    Other {
        fails: bool,
    },
    Sync,
}

const NAMES: [&str; 3] = ["", "s", "t"];

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        8 => (0..3_usize, prop::bool::weighted(0.8)).prop_map(|(name, is_right)| Message::Parse(name, is_right)),
        4 => (0..3_usize).prop_map(Message::Close),
        1 => prop::bool::weighted(0.2).prop_map(|fails| Message::Other { fails }),
        1 => Just(Message::Query),
        4 => Just(Message::Sync),
    ]
}

/// The statements of a server. It skips what follows an error up to `Sync`.
#[derive(Debug, Default)]
struct Server {
    statements: [Option<String>; 3],
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
                if at == 0 {
                    self.statements[0] = None;
                }
                if is_right && self.statements[at].is_none() {
                    self.statements[at] = Some(text.to_owned());
                    names.parsed(NAMES[at].as_bytes());
                } else {
                    self.is_skipping = true;
                    names.refused(NAMES[at].as_bytes());
                }
            }
            Message::Close(at) => {
                self.statements[at] = None;
                names.closed(NAMES[at].as_bytes());
            }
            Message::Other { fails } => self.is_skipping |= fails,
            Message::Query => self.statements[0] = None,
        }
    }
}

/// What a client may expect of a name if all goes well.
fn expected(mut statements: [Option<String>; 3], sent: &VecDeque<(Message, String)>) -> [Option<String>; 3] {
    for (message, text) in sent {
        match *message {
            Message::Parse(at, _) => statements[at] = Some(text.clone()),
            Message::Close(at) => statements[at] = None,
            Message::Query => statements[0] = None,
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
        let (mut unsynced, mut number) = (false, 0);
        for (message, answers) in messages {
            // A `Query` inside an unsynced batch may be skipped, which names do not follow.
            if unsynced && matches!(message, Message::Query) {
                continue;
            }
            number += 1;
            let text = format!("SELECT {number}");
            match &message {
                Message::Parse(at, _) => names.sent(NAMES[*at].as_bytes(), named(&text)),
                Message::Close(at) => names.closing(NAMES[*at].as_bytes()),
                Message::Query => names.drop_unnamed(),
                Message::Other { .. } | Message::Sync => {}
            }
            unsynced = !matches!(message, Message::Sync | Message::Query);
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
async fn a_real_server_keeps_these_rules() {
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
