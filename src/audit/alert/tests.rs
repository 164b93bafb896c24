//! The queue in a folder, and who is told what.

use std::fs;
use std::sync::Arc;

use arc_swap::ArcSwap;
use metrics_exporter_prometheus::PrometheusBuilder;

use super::super::digest::store::Store;
use super::super::keys::Keyring;
use super::super::keys::file::Tombstone;
use super::super::tests::Folder;
use super::*;
use crate::customers::Catalogue;

fn keyring(folder: &Folder) -> Arc<Keyring> {
    fs::create_dir_all(&folder.0).unwrap();
    Arc::new(Keyring::prepare(&folder.config()).unwrap())
}

fn queue(folder: &Folder, most: usize) -> Queue {
    let place = folder.0.join("alerts");
    Queue::open(place.clone(), Store::new(place, keyring(folder)), most).unwrap()
}

fn kept(id: &str, time_ns: u64) -> Kept {
    let alert = Alert {
        id: id.into(),
        rule: "ddl".into(),
        customer: "one_spa".into(),
        time: String::new(),
        origin: "onevault".into(),
        login: "anna".into(),
        address: "192.0.2.7".into(),
        what: "DROP TABLE".into(),
        count: 1,
        rows: 0,
        record: 7,
        held_back: 0,
    };
    Kept { time_ns, alert }
}

#[test]
fn what_waits_outlives_the_process_in_order_and_once() {
    let folder = Folder::new();
    let mut first = queue(&folder, 3);
    for (id, time) in [("b", 2), ("a", 1), ("b", 2), ("c", 3)] {
        assert!(first.put(kept(id, time), now_ns()));
    }
    assert!(!first.put(kept("d", 4), now_ns()));
    drop(first);
    let mut second = queue(&folder, 3);
    let mut order = Vec::new();
    let mut behind = None;
    while let Some((key, alert)) = second.next(behind.as_ref()) {
        assert_eq!(alert.login, "anna");
        order.push(alert.id);
        behind = Some(key);
    }
    assert_eq!((order, second.len()), (vec!["a".into(), "b".into(), "c".into()], 3));
    second.remove(&(2, "b".into()));
    assert_eq!(queue(&folder, 3).len(), 2);
}

#[test]
fn what_waits_is_confidential_and_goes_with_the_customers_keys() {
    let folder = Folder::new();
    let mut waiting = queue(&folder, 9);
    assert!(waiting.put(kept("a", 1), now_ns()));
    let entry = fs::read_dir(folder.0.join("alerts/one_spa")).unwrap().next().unwrap().unwrap();
    let bytes = fs::read(entry.path()).unwrap();
    assert!(!bytes.windows(4).any(|window| window == b"anna"));
    let keyring = keyring(&folder);
    keyring.retire("one_spa").unwrap();
    let stone = Tombstone { time_ns: 1, by: "t".into(), why: "t".into() };
    keyring.shred("one_spa", &stone).unwrap();
    let mut later = queue(&folder, 9);
    assert!(later.next(None).is_none() && later.len() == 0 && !entry.path().exists());
}

#[test]
fn metrics_have_configured_customers_only_and_old_news_is_no_news() {
    let settings = config::Alerts { off: vec!["ddl".into()], failed_logins: 2, ..config::Alerts::default() };
    let catalogues = Arc::new(ArcSwap::from_pointee(Catalogue::default()));
    let alerts = Alerts::new(settings, "onevault".into(), catalogues, None);
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        let found = |rule, time_ns| Finding { rule, line: Line::default(), time_ns };
        for number in 0..100 {
            let invented = format!("invented_{number}");
            alerts.found(&invented, &found(Rule::NewAddress, now_ns()));
            alerts.found(&invented, &found(Rule::Ddl, now_ns()));
            alerts.found(&invented, &found(Rule::BulkRead, now_ns() - 2 * AGE_NS));
            alerts.found(&invented, &found(Rule::FailedLogins, now_ns()));
        }
    });
    let text = handle.render();
    assert!(text.contains("onevault_audit_alerts_total{rule=\"new_address\",customer=\"_\"} 100"), "{text}");
    assert!(
        text.contains("onevault_audit_alerts_total{rule=\"failed_logins\",customer=\"_\"} 1\n"),
        "{text}"
    );
    assert_eq!(
        text.lines().filter(|line| line.starts_with("onevault_audit_alerts_total")).count(),
        2,
        "{text}"
    );
}

#[test]
fn an_alert_has_the_same_id_whenever_it_is_raised_anew() {
    let catalogues = Arc::new(ArcSwap::from_pointee(Catalogue::default()));
    let alerts = Alerts::new(config::Alerts::default(), "onevault".into(), catalogues, None);
    let line = Line { record: 7, ..Line::default() };
    let id = |rule, customer, time| alerts.alert(rule, customer, time, &line).id;
    let first = id(Rule::Ddl, "a", 5);
    assert!(first == id(Rule::Ddl, "a", 5) && first.len() == 32);
    let others = [id(Rule::Ddl, "b", 5), id(Rule::LogGap, "a", 5), id(Rule::Ddl, "a", 6)];
    assert!(!others.contains(&first));
}

#[test]
fn too_many_of_one_kind_are_counted_and_told_with_the_next_one() {
    let folder = Folder::new();
    let catalogues = Arc::new(ArcSwap::from_pointee(Catalogue::default()));
    let settings = config::Alerts { most_per_hour: 2, ..config::Alerts::default() };
    let alerts = Alerts::new(settings, "onevault".into(), catalogues, Some(queue(&folder, 9)));
    for number in 0..5 {
        alerts.raise(Rule::LogGap, "_", &format!("gap {number}"), now_ns() + number);
    }
    alerts.raise(Rule::LogFailing, "_", "another kind", now_ns());
    assert_eq!(alerts.health().waiting, 3);
    let next = lock(&alerts.rates).one_more("_", Rule::LogGap, now_ns() + 3_600_000_000_001);
    assert_eq!(next, Some(3));
}
