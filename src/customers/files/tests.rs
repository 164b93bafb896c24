//! Customers' files good and bad: each problem told with its place, and none touching another customer.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A temporary folder that is gone with its value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("onevault-customers-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a customer's file and its password.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let folder = self.0.join(name);
        fs::create_dir_all(&folder).unwrap();
        let password = folder.join("password");
        fs::write(&password, format!("password of {name}")).unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(folder.join(FILE_NAME), text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A customer's file that is good and owns the database `<name>_db`.
pub(crate) fn text(name: &str) -> String {
    format!(
        "\
identity: {{id: {name}, display_name: {name}}}
industry: spa
region: here
server: {{host: 127.0.0.1, role: {name}, password: 'file:password'}}
databases:
  - name: {name}_db
logins:
  app: {{}}
"
    )
}

fn shown(problems: &Problems, folder: &Folder) -> Vec<String> {
    let root = format!("{}/", folder.path().display());
    problems.iter().map(|problem| problem.to_string().replace(&root, "")).collect()
}

fn problems(folder: &Folder) -> Vec<String> {
    shown(&load(folder.path()).map(|_| ()).unwrap_err(), folder)
}

/// The problems of one customer whose file is [`text`] with something replaced or added.
fn problems_of(text: &str) -> Vec<String> {
    let folder = Folder::new();
    folder.put("one", text);
    problems(&folder).iter().map(|problem| problem.replace("one/config.yaml:", "")).collect()
}

#[test]
fn a_complete_customer_is_read() {
    let folder = Folder::new();
    folder.put("one", &text("one"));
    fs::write(folder.path().join("README"), "not a customer").unwrap();
    fs::create_dir(folder.path().join(".staging")).unwrap();
    let catalogue = load(folder.path()).unwrap();
    let customer = catalogue.customer("one").unwrap();
    let (server, database) = customer.database("one_db").unwrap();
    assert_eq!((server.password.expose(), database.as_str()), ("password of one", "one_db"));
    assert_eq!((server.port, server.ssl_mode), (5432, crate::customers::SslMode::Require));
    assert!(!format!("{catalogue:?}").contains("password of one"), "secrets are not shown");
}

#[test]
fn every_problem_of_every_file_is_told() {
    let folder = Folder::new();
    folder.put("one", &text("one").replace("industry", "industri").replace("role:", "rolle:"));
    folder.put("two", &text("three").replace("spa", "''"));
    folder.put("Bad", &text("bad"));
    fs::create_dir(folder.path().join("empty")).unwrap();
    assert_eq!(
        problems(&folder),
        [
            "Bad: invalid customer id: it must start with a letter a-z",
            "empty/config.yaml: could not open the file: No such file or directory (os error 2)",
            "one/config.yaml:2:1: unknown key `industri`, did you mean `industry`?",
            "one/config.yaml:4:27: unknown key `rolle`, did you mean `role`?",
            "two/config.yaml:2:11: `industry`: it must have 1 to 255 bytes and no control characters",
        ]
    );
    folder.put("two", &text("three"));
    assert!(
        problems(&folder)
            .contains(&"two/config.yaml:1:16: `id` is \"three\", but the folder is \"two\"".into())
    );
}

#[test]
fn values_are_held_against_each_other() {
    let base = text("one");
    for (from, to, problem) in [
        ("databases:\n  - name: one_db", "databases: []", "5:12: a customer needs at least one database"),
        ("name: one_db", "pattern: one_db", "6:5: a pattern has one `*`, its `server_name` at most one"),
        ("name: one_db", "name: 'one_*'", "6:11: a name with `*` is a `pattern`"),
        ("name: one_db", "name: onevault", "6:5: the name \"onevault\" is reserved"),
        ("name: one_db", "{name: a, pattern: 'a*'}", "6:5: a database has either a `name` or a `pattern`"),
        ("name: one_db", "{name: a, server_name: 'a*'}", "6:28: `*` needs a `pattern` to stand for"),
        ("name: one_db", "{name: a, server: west}", "6:23: server `west` is not among `servers`"),
        ("name: one_db", "name: a\n  - name: a", "7:5: database \"a\" appears twice"),
        ("app:", "token:", "8:10: the login \"token\" is reserved for tokens"),
        ("'file:password'", "hunter2", "4:48: `password`: it must be a reference"),
        ("'file:password'", "'env:ONEVAULT_UNSET'", "environment variable ONEVAULT_UNSET is not set"),
        ("role: one", "role: one, ssl_mode: verify-full", "need an `ssl_root_cert`"),
        ("role: one", "role: one, port: 70000", "invalid value: integer `70000`, expected u16"),
        ("127.0.0.1", "/var/run/postgresql", "it is no host name or address; TCP only"),
        ("app: {}", "app: {verifier: md5abc}", "it is no SCRAM-SHA-256 verifier"),
        ("app: {}", "app: {valid_until: tomorrow}", "it must be a time such as"),
        ("app: {}", "app: {clients_max: 0}", "it must be a number from 1 to 1000000"),
        ("region: here", "region: here\ncompliance: [hippa]", "unknown value `hippa`, did you mean `hipaa`?"),
        ("region: here", "region: here\ndomains: [a.b, A.B]", "4:16: domain a.b appears twice"),
        (
            "region: here",
            "region: here\ntokens: [{prefix: ovt_x, hash: 1, login: app}]",
            "ovt_<environment>_<8 letters>",
        ),
    ] {
        let text = base.replacen(from, to, 1);
        assert_ne!(text, base, "{from}");
        let found = problems_of(&text);
        assert!(found.iter().any(|found| found.contains(problem)), "{problem} is not in {found:#?}");
        assert!(!found.iter().any(|found| found.contains("hunter2")), "{found:?}");
    }
}

#[test]
fn a_framework_is_stronger_than_the_file() {
    let folder = Folder::new();
    for (framework, clause) in [("hipaa", "HIPAA 164.312(b)"), ("pci", "PCI DSS 10.2"), ("sox", "SOX 404")] {
        let text = format!("{}compliance: [gdpr, {framework}]\n", text("one"));
        folder.put("one", &text);
        let catalogue = load(folder.path()).unwrap();
        let customer = catalogue.customer("one").unwrap();
        assert_eq!(
            customer.audit_mode(crate::config::AuditMode::Buffered),
            crate::config::AuditMode::WriteAhead
        );
        let found = problems_of(&format!("{text}audit: {{mode: acknowledged}}\n"));
        assert_eq!(found, [format!("10:15: `mode` must be write_ahead: {clause} demands it")]);
    }
    folder.put("one", &format!("{}compliance: [gdpr]\n", text("one")));
    let catalogue = load(folder.path()).unwrap();
    let mode = catalogue.customer("one").unwrap().audit_mode(crate::config::AuditMode::Buffered);
    assert_eq!(mode, crate::config::AuditMode::Buffered);
}

#[test]
fn no_two_customers_own_the_same() {
    let folder = Folder::new();
    folder.put("one", &format!("{}domains: [db.example.com]\n", text("one")));
    let claim = |addition: &str, from: &str, to: &str| {
        folder.put("two", &format!("{}{addition}", text("two").replace(from, to)));
        problems(&folder).join("\n")
    };
    let found = claim("domains: [DB.example.com]\n", "", "");
    assert_eq!(found, "two/config.yaml:9:11: domain db.example.com belongs to customer one already");
    for name in ["one_db", "x, server_name: one_db"] {
        let found = claim("", "- name: two_db", &format!("- {{name: {name}}}"));
        assert!(found.contains("\"one_db\" of server 127.0.0.1:5432 belongs to customer one"), "{found}");
    }
    for pattern in ["*", "one_*", "*_db", "one*db"] {
        let found = claim("", "- name: two_db", &format!("- pattern: '{pattern}'"));
        assert!(found.contains("belongs to customer one already"), "{pattern}: {found}");
    }
    folder.put("two", &text("two").replace("- name: two_db", "- pattern: 'two_*'"));
    load(folder.path()).unwrap();
    folder.put(
        "two",
        &text("two").replace("role:", "port: 5433, role:").replace("- name: two_db", "- name: one_db"),
    );
    load(folder.path()).unwrap();
}

#[test]
fn a_bad_file_keeps_the_last_good_version_and_touches_nobody_else() {
    let folder = Folder::new();
    folder.put("one", &text("one"));
    folder.put("two", &text("two"));
    let first = load(folder.path()).unwrap();
    folder.put("one", "identity: [");
    folder.put("two", &text("two").replace("region: here", "region: there"));
    folder.put("three", &text("three"));
    let second = survey(folder.path(), &first);
    assert_eq!(second.kept, [CustomerId::parse("one").unwrap()]);
    assert_eq!(second.problems.len(), 1);
    let same = |id: &str| Arc::ptr_eq(first.customer(id).unwrap(), second.catalogue.customer(id).unwrap());
    assert!(same("one") && !same("two"));
    assert_eq!(second.catalogue.customer("two").unwrap().region, "there");
    assert_eq!(second.catalogue.customers.len(), 3);
    // A newcomer that claims what another has is left out; the owner stays.
    folder.put("four", &text("four").replace("four_db", "two_db"));
    folder.put("one", &text("one").replace("one_db", "three_db"));
    let third = survey(folder.path(), &second.catalogue);
    assert_eq!(third.problems.len(), 2, "{:?}", third.problems);
    assert!(third.catalogue.customer("four").is_none());
    assert!(third.catalogue.customer("one").unwrap().database("one_db").is_some());
    // A folder that is gone is gone, and a changed secret is a change.
    fs::remove_dir_all(folder.path().join("two")).unwrap();
    fs::write(folder.path().join("three/password"), "another").unwrap();
    let fourth = survey(folder.path(), &third.catalogue);
    assert!(fourth.catalogue.customer("two").is_none());
    let three = fourth.catalogue.customer("three").unwrap();
    assert_eq!(three.database("three_db").unwrap().0.password.expose(), "another");
    // What somebody gives up may go to somebody else in one step, whatever their order.
    folder.put("three", &text("three").replace("three_db", "new_db"));
    let fifth = survey(folder.path(), &fourth.catalogue);
    assert!(fifth.problems.iter().all(|problem| problem.text.contains("two_db")), "{:?}", fifth.problems);
    assert!(fifth.catalogue.customer("one").unwrap().database("three_db").is_some());
}

#[test]
fn a_folder_that_cannot_be_read_changes_nothing() {
    let folder = Folder::new();
    folder.put("one", &text("one"));
    let first = load(folder.path()).unwrap();
    let second = survey(Path::new("/nonexistent"), &first);
    assert_eq!((second.catalogue.customers.len(), second.problems.len()), (1, 1));
}

#[test]
fn a_file_that_everybody_may_write_is_refused() {
    let folder = Folder::new();
    folder.put("one", &text("one"));
    let file = folder.path().join("one").join(FILE_NAME);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(problems(&folder).join("").contains("everybody may write it"));
}

proptest::proptest! {
    /// Two extents overlap exactly when some name is covered by both; tried with all short names.
    #[test]
    fn extents_overlap_when_a_name_is_in_both(one in "[ab]{0,2}[*]?[ab]{0,2}", two in "[ab]{0,2}[*]?[ab]{0,2}") {
        let extent = |name: &str| match name.split_once('*') {
            Some((before, after)) => Extent { before: before.into(), after: Some(after.into()) },
            None => Extent { before: name.into(), after: None },
        };
        let covers = |name: &str, text: &str| match name.split_once('*') {
            Some((before, after)) => {
                text.len() >= before.len() + after.len() && text.starts_with(before) && text.ends_with(after)
            }
            None => name == text,
        };
        let names = (0..=8_u32).flat_map(|length| {
            (0..1_u32 << length).map(move |bits| {
                (0..length).map(|bit| if bits >> bit & 1 == 1 { 'a' } else { 'b' }).collect::<String>()
            })
        });
        let shared = names.into_iter().any(|name| covers(&one, &name) && covers(&two, &name));
        proptest::prop_assert_eq!(extent(&one).overlaps(&extent(&two)), shared);
    }

    #[test]
    fn any_text_is_refused_or_read_without_a_panic(at in 0..400_usize, junk in "[a-z:{}\\[\\]*&\n -]{0,12}") {
        let mut text = text("one");
        let at = at.min(text.len());
        text.insert_str(at, &junk);
        let _ = parse("one", Path::new("/nonexistent"), &text, References::Follow);
    }
}

#[test]
fn the_examples_are_complete_customers() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("customers/configurations");
    let catalogue = load_with(&dir, References::Leave).unwrap_or_else(|problems| panic!("{problems}"));
    for (id, industry, database, server_name) in [
        ("one_spa", "spa", "one_spa", "one_spa"),
        ("one_barn", "equestrian", "stable", "one_barn_archive"),
        ("one_barn", "equestrian", "yard_oakhill", "one_barn_yard_oakhill"),
        ("one_wealth", "financial", "one_wealth", "one_wealth"),
    ] {
        let customer = catalogue.customer(id).unwrap();
        assert_eq!(
            (customer.industry.as_str(), customer.status),
            (industry, crate::customers::Status::Active)
        );
        assert_eq!(customer.database(database).unwrap().1.as_str(), server_name);
    }
}

#[test]
fn the_manual_shows_every_key() {
    let manual = include_str!("../../../docs/CUSTOMERS.md");
    let example = manual.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let tree = parse_yaml(example).unwrap();
    assert_eq!(crate::config::absent_keys::<schema::File>(&tree), Vec::<String>::new());
    assert!(read_typed::<schema::File>(&tree).is_ok());
}

#[test]
fn the_name_of_the_console_is_nobodys() {
    let folder = Folder::new();
    folder.put("one", &text("one").replace("- name: one_db", "- pattern: '*'"));
    let catalogue = load(folder.path()).unwrap();
    let customer = catalogue.customer("one").unwrap();
    assert!(customer.database("onevault").is_none());
    assert!(customer.database("onevault2").is_some());
}

#[test]
fn a_login_says_more_than_its_customer_and_the_customer_more_than_the_configuration() {
    use crate::config::{Limits, Pool, PoolMode};
    let of = |lines: &str, login: &str, default: &Pool| {
        let folder = Folder::new();
        folder.put("one", &text("one").replace("  app: {}\n", &format!("  app: {{{login}}}\n{lines}")));
        let catalogue = load(folder.path()).unwrap();
        let customer = catalogue.customer("one").unwrap();
        let app = crate::ids::LoginName::parse("app").unwrap();
        (customer.pool_mode(&app, default), customer.timeouts(&Limits::default()))
    };
    let (session, transaction) = (PoolMode::Session, PoolMode::Transaction);
    let (by_transaction, by_session) = (Pool::default(), Pool { mode: session, ..Pool::default() });
    let fresh = Pool { fresh_backends: true, ..Pool::default() };
    let mode = |lines, login, default: &Pool| of(lines, login, default).0;
    assert_eq!(mode("", "", &by_session), session);
    assert_eq!(mode("", "", &by_transaction), transaction, "the default");
    assert_eq!(mode("", "", &fresh), session, "without a word about the mode");
    assert_eq!(mode("pool: {mode: session}\n", "", &by_transaction), session);
    assert_eq!(mode("pool: {mode: session}\n", "pool: {mode: transaction}", &by_transaction), transaction);
    assert_eq!(mode("pool: {fresh_backends: true}\n", "", &by_transaction), session);
    assert_eq!(mode("pool: {mode: transaction}\n", "", &fresh), transaction);
    assert_eq!(mode("pool: {fresh_backends: false}\n", "", &fresh), session);
    let timeouts = of("limits: {statement_timeout_ms: 70, idle_session_timeout_ms: 0}\n", "", &fresh).1;
    assert_eq!(
        (timeouts.statement, timeouts.idle_session),
        (Some(std::time::Duration::from_millis(70)), None)
    );
}

#[test]
fn what_pooling_cannot_do_is_refused_with_its_place() {
    let of = |lines: &str| problems_of(&format!("{}{lines}", text("one")));
    assert_eq!(
        of("pool:\n  fresh_backends: true\n  mode: transaction\n"),
        [format!("11:9: {}", crate::config::FRESH_IS_SESSION)]
    );
    assert_eq!(
        of("pool:\n  stateless_functions: [a.b, c]\n  pin_functions: [d, c]\n"),
        ["11:22: `c` is among `stateless_functions` too"]
    );
    for name in ["Upper", "'a b'", "a.b.c", "''", "1a", "a.", "'f()'"] {
        let found = of(&format!("pool: {{pin_functions: [{name}]}}\n")).join("");
        assert!(found.contains("it must be the name of a function in lower case"), "{name}: {found}");
    }
    let found =
        of("pool: {wait_timeout_ms: 0, mode: transactoin}\nlimits: {statement_timeout_ms: 86400001}\n");
    assert!(found.iter().any(|problem| problem.contains("did you mean `transaction`?")), "{found:?}");
}

#[test]
fn a_framework_names_how_long_records_are_kept_at_least_and_how_often_they_are_reviewed() {
    let check = |compliance: &str, audit: &str| {
        let text = format!("{}compliance: [{compliance}]\naudit: {{{audit}}}\n", text("one"));
        parse("one", Path::new("."), &text, References::Leave)
    };
    let age = |text: &str| crate::config::Age::parse(text).unwrap();
    for (compliance, audit, word) in [
        ("hipaa", "retention: {event: 5y}", "`event` must be at least 6y: HIPAA 164.316(b)(2)(i) demands it"),
        ("pci, hipaa", "retention: {session: 2y}", "`session` must be at least 6y: HIPAA"),
        ("sox, hipaa", "retention: {statement: 6y}", "`statement` must be at least 7y: SOX"),
        ("pci", "retention: {statement: 300d}", "`statement` must be at least 1y: PCI DSS 10.5.1"),
        ("pci", "review_interval: 7d", "`review_interval` must be at most 1d: PCI DSS 10.4.1 demands it"),
        ("gdpr", "retention: {statement: 7m}", "it must be a time such as 90d"),
    ] {
        let faults = check(compliance, audit).unwrap_err();
        assert!(faults.iter().any(|fault| fault.text.contains(word) && fault.place.line > 1), "{faults:?}");
    }
    let default = crate::config::Retention::default();
    let of = |compliance: &str, audit: &str| check(compliance, audit).unwrap().retention(default);
    assert_eq!(of("gdpr", ""), default);
    assert_eq!(of("hipaa", "").session, age("6y"), "longer than the default");
    assert_eq!(of("hipaa", "retention: {session: forever}").session, age("forever"));
    assert_eq!(of("gdpr", "retention: {statement: 30d}").statement, age("30d"));
    let days = |compliance: &str, audit: &str| {
        check(compliance, audit).unwrap().review_interval().map(|interval| interval.as_secs() / 86_400)
    };
    assert_eq!([days("pci, hipaa", ""), days("hipaa", ""), days("sox", "")], [Some(1), Some(7), None]);
    assert_eq!(
        [days("hipaa", "review_interval: 30d"), days("gdpr", "review_interval: 2w")],
        [Some(30), Some(14)]
    );
}
