//! Hints that lead somewhere, that disagree, that lead nowhere; one answer for strangers.

use proptest::prelude::*;

use super::*;
use crate::auth::scram::{Binding, ClientExchange, ClientKeys, ServerExchange};
use crate::auth::{by_password, by_scram};
use crate::customers::files::{self, tests::Folder};
use crate::ids::Secret;
use crate::protocol::sqlstate::SqlState;
use crate::protocol::startup::Version;

/// A moment: 2026-01-01.
pub(crate) const NOW: i64 = 1_767_225_600;
const MOCK_KEY: &[u8] = b"the key of mock verifiers";
const BASE: &str = "db.example.com";

/// Startup parameters and the host of the TLS hello.
type Way<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);

/// One customer: logins `app` (password `pw of <name>`), `old`, `off` and `bare` (no password), two databases and a pattern.
pub(crate) fn yaml(name: &str, more: &str) -> String {
    let verifier = Verifier::from_password(&format!("pw of {name}"), 1).unwrap();
    let host = name.replace('_', "-");
    format!(
        "\
identity: {{id: {name}, display_name: {name}}}
industry: spa
region: here
domains: [{host}.example.org]
server: {{host: {name}.internal, role: {name}, password: 'file:password'}}
databases:
  - {{name: {name}_main, server_name: {name}_db}}
  - name: shared_name
  - {{pattern: '{name}_app_*', server_name: '{name}_*'}}
logins:
  app: {{verifier: '{verifier}'}}
  old: {{verifier: '{verifier}', valid_until: 2025-12-31T23:59:59Z}}
  off: {{verifier: '{verifier}', disabled: true}}
  bare: {{}}
  'joe@corp.com': {{verifier: '{verifier}'}}
{more}"
    )
}

/// `one_spa`, `two`, and `gone`, which is suspended.
pub(crate) fn catalogue() -> Catalogue {
    let folder = Folder::new();
    folder.put("one_spa", &yaml("one_spa", ""));
    folder.put("two", &yaml("two", ""));
    folder.put("gone", &yaml("gone", "status: suspended\n"));
    files::load(folder.path()).unwrap()
}

static CATALOGUE: std::sync::LazyLock<Catalogue> = std::sync::LazyLock::new(catalogue);

pub(crate) fn startup(parameters: &[(&str, &str)]) -> Startup {
    let parameters =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Startup { version: Version::V3_0, parameters }
}

pub(crate) fn hints(parameters: &[(&str, &str)], sni: Option<&str>) -> Hints {
    let arrival = Arrival { is_tls: true, sni, base_domain: BASE };
    Hints::collect(&startup(parameters), arrival).unwrap()
}

fn candidate_of(catalogue: &Catalogue, parameters: &[(&str, &str)], sni: Option<&str>) -> Candidate {
    candidate(catalogue, &hints(parameters, sni), NOW)
}

/// Goes through the whole exchange, as a client would.
fn log_in(candidate: &Candidate, password: &str) -> Result<Proof, Refusal> {
    let mut server = ServerExchange::new(candidate.verifier(MOCK_KEY), Binding::None);
    let mut client = ClientExchange::new([&b"SCRAM-SHA-256"[..]].into_iter(), &Binding::None).unwrap();
    let first = server.client_first(b"SCRAM-SHA-256", &client.client_first()).unwrap();
    let challenge = client.server_first(&first).unwrap();
    let keys = ClientKeys::derive(password, &challenge.salt, challenge.iterations).unwrap();
    let last = client.client_final(&keys).unwrap();
    let _ = server.client_final(&last);
    by_scram(candidate, &server)
}

fn reason(result: Result<Proof, Refusal>) -> &'static str {
    let refusal = result.unwrap_err();
    let report = refusal.report();
    assert_eq!(report.code, SqlState::INVALID_PASSWORD);
    assert!(report.message.starts_with("password authentication failed for user \""));
    assert_eq!((&report.detail, &report.hint), (&None, &None));
    refusal.reason()
}

#[test]
fn each_hint_alone_leads_to_its_customer() {
    let catalogue = catalogue();
    let ways: [Way<'_>; 9] = [
        (&[("user", "app@one_spa")], None),
        (&[("user", "app"), ("options", "-c onevault.customer=one_spa")], None),
        (&[("user", "app"), ("options", "--onevault.customer=one_spa -c work_mem=1MB")], None),
        (&[("user", "app"), ("onevault.customer", "one_spa")], None),
        (&[("user", "app")], Some("one-spa.db.example.com")),
        (&[("user", "app")], Some("ONE-SPA.DB.example.com.")),
        (&[("user", "app")], Some("one-spa.example.org")),
        (&[("user", "app"), ("database", "one_spa_main")], None),
        (&[("user", "app@one_spa"), ("onevault.customer", "one_spa")], Some("one-spa.db.example.com")),
    ];
    for (parameters, sni) in ways {
        let candidate = candidate_of(&catalogue, parameters, sni);
        let proof = log_in(&candidate, "pw of one_spa").unwrap();
        let route = route(&catalogue, &candidate, proof, Some("one_spa_main")).unwrap();
        assert_eq!(route.customer().id.as_str(), "one_spa", "{parameters:?} {sni:?}");
        assert_eq!((route.login().as_str(), route.database().as_str()), ("app", "one_spa_db"));
        assert_eq!(
            (route.server().host.as_str(), route.credential()),
            ("one_spa.internal", Credential::Scram)
        );
        assert_eq!(reason(log_in(&candidate, "pw of two")), "wrong password");
    }
}

#[test]
fn strangers_get_one_answer_for_everything() {
    let catalogue = catalogue();
    let table: [(Way<'_>, &str); 14] = [
        ((&[("user", "app")], None), "no customer named"),
        ((&[("user", "app")], Some("db.example.com")), "no customer named"),
        ((&[("user", "app")], Some("localhost")), "no customer named"),
        ((&[("user", "app"), ("database", "shared_name")], None), "no customer named"),
        ((&[("user", "app"), ("database", "one_spa_app_1")], None), "no customer named"),
        ((&[("user", "app@nobody")], None), "unknown customer"),
        ((&[("user", "app")], Some("nobody.db.example.com")), "unknown customer"),
        ((&[("user", "app")], Some("one-spa.x.db.example.com")), "unknown customer"),
        ((&[("user", "app@gone")], None), "customer suspended"),
        ((&[("user", "nobody@two")], None), "unknown login"),
        ((&[("user", "off@two")], None), "login disabled"),
        ((&[("user", "old@two")], None), "login expired"),
        ((&[("user", "bare@two")], None), "login has no password"),
        ((&[("user", "app@two"), ("onevault.customer", "one_spa")], None), "hints name different customers"),
    ];
    for ((parameters, sni), why) in table {
        let candidate = candidate_of(&catalogue, parameters, sni);
        for password in ["pw of one_spa", "pw of two", "pw of gone", ""] {
            assert_eq!(reason(log_in(&candidate, password)), why, "{parameters:?} {sni:?}");
        }
        let again = candidate_of(&catalogue, parameters, sni);
        assert_eq!(candidate.verifier(MOCK_KEY), again.verifier(MOCK_KEY), "the salt is stable");
        assert_ne!(candidate.verifier(MOCK_KEY), candidate.verifier(b"another key"), "and keyed");
    }
}

#[test]
fn the_same_nobody_has_the_same_salt_by_every_way() {
    let catalogue = catalogue();
    let ways: [Way<'_>; 4] = [
        (&[("user", "nobody@two")], None),
        (&[("user", "nobody"), ("onevault.customer", "two")], None),
        (&[("user", "nobody")], Some("two.db.example.com")),
        (&[("user", "nobody")], Some("two.example.org")),
    ];
    let salts: Vec<Verifier> = ways
        .iter()
        .map(|(parameters, sni)| candidate_of(&catalogue, parameters, *sni).verifier(MOCK_KEY))
        .collect();
    assert!(salts.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_login_may_hold_an_at_sign() {
    let catalogue = catalogue();
    for (user, sni) in [("joe@corp.com@two", None), ("joe@corp.com", Some("two.example.org"))] {
        let candidate = candidate_of(&catalogue, &[("user", user)], sni);
        assert_eq!(log_in(&candidate, "pw of two").unwrap().login().as_str(), "joe@corp.com");
    }
}

#[test]
fn databases_are_the_customers_own() {
    let catalogue = catalogue();
    let candidate = candidate_of(&catalogue, &[("user", "app@two")], None);
    let go = |database| route(&catalogue, &candidate, log_in(&candidate, "pw of two").unwrap(), database);
    for (asked, server_name) in
        [("two_main", "two_db"), ("shared_name", "shared_name"), ("two_app_x", "two_x"), ("two_app_", "two_")]
    {
        let route = go(Some(asked)).unwrap();
        assert_eq!((route.client_database(), route.database().as_str()), (asked, server_name));
        assert_eq!(route.server().host, "two.internal");
    }
    for foreign in
        ["one_spa_main", "one_spa_app_1", "two_db", "TWO_MAIN", "two_main ", "postgres", "onevault"]
    {
        let refusal = go(Some(foreign)).unwrap_err();
        let report = refusal.report();
        assert_eq!(report.code, SqlState::INVALID_CATALOG_NAME);
        assert_eq!(report.message, format!("database \"{foreign}\" does not exist"));
    }
    assert_eq!(go(None).unwrap().client_database(), "two_main", "the first, where the login owns none");
    assert_eq!(go(Some("")).unwrap().client_database(), "two_main");
}

#[test]
fn a_proof_is_good_for_its_own_candidate_only() {
    let catalogue = catalogue();
    let two = candidate_of(&catalogue, &[("user", "app@two")], None);
    let one = candidate_of(&catalogue, &[("user", "app@one_spa")], None);
    let proof = log_in(&two, "pw of two").unwrap();
    assert!(route(&catalogue, &one, proof, Some("one_spa_main")).is_err());
    let password = Secret::new("pw of two".into());
    assert_eq!(reason(by_password(&catalogue, &two, &password, NOW)), "not a token");
}

#[test]
fn what_is_missing_is_said_in_postgresqls_words() {
    for parameters in [&[][..], &[("user", "")], &[("database", "x")]] {
        let refusal = Hints::collect(&startup(parameters), Arrival::default()).unwrap_err();
        let report = refusal.report();
        assert_eq!(report.code, SqlState::INVALID_AUTHORIZATION);
        assert_eq!(report.message, "no PostgreSQL user name specified in startup packet");
    }
    let plain = Hints::collect(&startup(&[("user", "token@two")]), Arrival::default()).unwrap();
    let refusal = candidate(&catalogue(), &plain, NOW).method().unwrap_err();
    assert_eq!(refusal.report().code, SqlState::INVALID_AUTHORIZATION);
    assert_eq!(refusal.reason(), "token without TLS");
}

#[test]
fn settings_are_what_is_left_for_the_server() {
    let hints = hints(
        &[
            ("user", "app"),
            ("database", "x"),
            ("options", "-c  onevault.customer=two  -c geqo=off\\ "),
            ("OneVault.Customer", "two"),
            ("_pq_.test", "1"),
            ("application_name", "psql"),
            ("DateStyle", "ISO"),
        ],
        None,
    );
    let expected = [("options", "-c geqo=off\\ "), ("application_name", "psql"), ("DateStyle", "ISO")];
    let settings: Vec<(&str, &str)> =
        hints.settings().iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(settings, expected);
    assert!(
        self::hints(&[("user", "a"), ("options", " -conevault.customer=b ")], None).settings().is_empty()
    );
}

#[test]
fn nothing_shows_a_verifier() {
    let catalogue = catalogue();
    let candidate = candidate_of(&catalogue, &[("user", "app@two")], None);
    let stored = candidate.verifier(MOCK_KEY).to_string();
    let shown = format!("{candidate:?} {catalogue:?}");
    let keys = stored.rsplit_once('$').unwrap().1;
    assert!(!shown.contains(keys) && !shown.contains("password of"), "{shown}");
}

/// One place where a customer can be named, and the name.
fn hint() -> impl Strategy<Value = (usize, &'static str)> {
    (0..5_usize, prop_oneof![Just("one_spa"), Just("two"), Just("nobody"), Just("gone")])
}

fn with_hints(all: &[(usize, &str)]) -> Hints {
    let (mut user, mut parameters, mut options) = ("app".to_owned(), Vec::new(), String::new());
    let mut sni = None;
    for (place, customer) in all {
        match place {
            0 => user = format!("app@{customer}"),
            1 => parameters.push(("onevault.customer".to_owned(), (*customer).to_owned())),
            2 => options.push_str(&format!(" -c onevault.customer={customer}")),
            3 => sni = Some(format!("{}.db.example.com", customer.replace('_', "-"))),
            _ => sni = Some(format!("{}.example.org", customer.replace('_', "-"))),
        }
    }
    parameters.push(("user".to_owned(), user));
    parameters.push(("options".to_owned(), options));
    let startup = Startup { version: Version::V3_0, parameters };
    Hints::collect(&startup, Arrival { is_tls: true, sni: sni.as_deref(), base_domain: BASE }).unwrap()
}

proptest! {
    /// Any two different customers in hints: refused, whatever the database is and whosever the password.
    #[test]
    fn hints_that_disagree_are_refused(
        mut all in prop::collection::vec(hint(), 1..6),
        password in prop_oneof![Just("pw of one_spa"), Just("pw of two")],
    ) {
        all.sort_by_key(|(place, _)| *place);
        all.dedup_by_key(|(place, _)| if matches!(place, 3 | 4) { 3 } else { *place });
        let catalogue = &*CATALOGUE;
        let who = candidate(catalogue, &with_hints(&all), NOW);
        // A host that is nobody's names nobody.
        let named = all.iter().filter(|(place, customer)| *place != 4 || *customer != "nobody").map(|(_, name)| *name);
        let named: std::collections::BTreeSet<&str> = named.collect();
        let agreed = (named.len() == 1).then(|| named.first().copied().unwrap());
        let good = agreed.is_some_and(|name| password == format!("pw of {name}"));
        prop_assert_eq!(log_in(&who, password).is_ok(), good);
        if let Ok(proof) = log_in(&who, password) {
            prop_assert_eq!(proof.customer().unwrap().as_str(), agreed.unwrap());
        }
    }

    /// A pattern gives back exactly what its star stands for, and covers nothing else.
    #[test]
    fn patterns_map_names(before in "[a-z_]{0,5}", star in "[a-z0-9_*. -]{0,8}", after in "[a-z_]{0,5}", other in "[a-z_]{0,12}") {
        let catalogue = &*CATALOGUE;
        let server = Arc::clone(&catalogue.customer("two").unwrap().databases[0].server);
        let name = format!("{before}*{after}");
        let rule = crate::customers::DatabaseRule { name, server_name: Some("db_*_x".into()), server };
        prop_assert_eq!(rule.matches(&format!("{before}{star}{after}")), Some(format!("db_{star}_x")));
        let covered = other.len() >= before.len() + after.len() && other.starts_with(&before) && other.ends_with(&after);
        prop_assert_eq!(rule.matches(&other).is_some(), covered);
    }

    /// Words of `options` that are not ours stay as they are, ours are found wherever they stand.
    #[test]
    fn options_lose_the_customer_and_nothing_else(
        words in prop::collection::vec("(-c|-c[a-z]{1,3}=[0-9]|--[a-z.]{1,5}=(\\\\ |[a-z]|\\\\\\\\){0,4}|[a-z=\\-]{1,4})", 0..6),
        at in 0..7_usize,
        form in 0..3_usize,
        space in "[ \t\n]{1,3}",
    ) {
        let ours = ["-c onevault.customer=a_b", "-conevault.customer=a_b", "--ONEVAULT.customer=a\\_b"][form];
        // Behind a lone `-c` ours would be that word's argument.
        let at = (0..=at.min(words.len())).rev().find(|at| *at == 0 || words[at - 1] != "-c").unwrap_or(0);
        let mut all = words.clone();
        all.insert(at, ours.replace(' ', &space));
        let taken = take_customer_option(&all.join(&space));
        prop_assert_eq!(&taken.customers, &["a_b"]);
        prop_assert_eq!(&taken.rest, &words.join(" "));
        let untouched = take_customer_option(&words.join(&space));
        prop_assert_eq!((untouched.customers.is_empty(), untouched.rest), (true, words.join(" ")));
    }

    #[test]
    fn any_options_are_split_without_a_panic(options in "[-conevault.customer=\\\\ \t]{0,40}") {
        let taken = take_customer_option(&options);
        let again = take_customer_option(&taken.rest);
        prop_assert!(again.customers.is_empty() || !taken.customers.is_empty());
    }
}
