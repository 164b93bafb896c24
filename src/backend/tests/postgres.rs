//! Against a real PostgreSQL, started for this file alone.

use super::cluster::{Cluster, ask};
use super::*;
use crate::protocol::sqlstate::SqlState;

#[tokio::test]
async fn every_sslmode_and_login_of_a_real_server() {
    let cluster = Cluster::start();
    tls_modes(&cluster).await;
    refusals(&cluster).await;
    scrubbing(&cluster).await;
    cancelling(&cluster).await;
    Box::pin(crowd(&cluster)).await;
}

async fn tls_modes(cluster: &Cluster) {
    let dial = async |server| dial(&destination(server, "postgres"), &Settings::default()).await;
    for mode in [SslMode::Disable, SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
        let mut backend = dial(cluster.server(mode)).await.unwrap();
        let tls =
            ask(&mut backend, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await.unwrap();
        assert_eq!(tls, [if mode == SslMode::Disable { "f" } else { "t" }]);
        let pid = ask(&mut backend, "SELECT pg_backend_pid()").await.unwrap();
        assert_eq!(pid, [backend.key.process_id.to_string()]);
    }
    let key = rcgen::KeyPair::generate().unwrap();
    let stranger =
        rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let path = std::env::temp_dir().join(format!("onevault-stranger-{}.pem", std::process::id()));
    std::fs::write(&path, stranger.pem()).unwrap();
    for mode in [SslMode::VerifyCa, SslMode::VerifyFull] {
        let distrusting = Server { ssl_root_cert: Some(path.clone()), ..cluster.server(mode) };
        assert!(matches!(dial(distrusting).await, Err(ConnectError::Tls(_))), "{mode:?}");
    }
    std::fs::remove_file(path).unwrap();
}

async fn refusals(cluster: &Cluster) {
    let server = || cluster.server(SslMode::Require);
    let wrong = Server { password: Secret::new("wrong".into()), ..server() };
    let error = dial(&destination(wrong, "postgres"), &Settings::default()).await.unwrap_err();
    assert!(matches!(error, ConnectError::LoginRefused { code: SqlState::INVALID_PASSWORD, .. }), "{error}");
    let error = dial(&destination(server(), "no_such"), &Settings::default()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { code: SqlState::INVALID_CATALOG_NAME, .. }), "{error}");
    for (pairs, code) in [
        ([("nonsense", "1")], b"42704"),
        ([("client_encoding", "no such")], b"22023"),
        ([("options", "-c work_mem=banana")], b"22023"),
    ] {
        let error = dial(&destination(server(), "postgres"), &settings(&pairs)).await.unwrap_err();
        let ConnectError::Refused { code: seen, .. } = error else { panic!("{error}") };
        assert_eq!(seen.to_string().as_bytes(), code);
    }
    let asked = settings(&[("options", "-c work_mem=7MB"), ("timezone", "Asia/Tokyo")]);
    let mut backend = dial(&destination(server(), "postgres"), &asked).await.unwrap();
    assert_eq!(backend.parameters.get(b"TimeZone"), Some(&b"Asia/Tokyo"[..]));
    assert_eq!(ask(&mut backend, "SHOW work_mem").await.unwrap(), ["7MB"]);
}

async fn scrubbing(cluster: &Cluster) {
    let (pools, one) = (Pools::new(config(|_| {})), customer("one", None));
    let to = destination(cluster.server(SslMode::Require), "postgres");
    let asked = settings(&[("timezone", "Asia/Tokyo")]);
    let mut lease = pools.lease_at(&one, to.clone(), &asked).await.unwrap();
    let process_id = lease.key.process_id;
    let dirt = "SET timezone = 'UTC'; CREATE TEMP TABLE t (a int); SELECT pg_advisory_lock(7); LISTEN news; \
        PREPARE p AS SELECT 1; DECLARE c CURSOR WITH HOLD FOR SELECT 1; CREATE TEMP SEQUENCE s; SELECT nextval('s'); \
        SET ROLE pg_monitor; NOTIFY news";
    ask(&mut lease, dirt).await.unwrap();
    lease.hand_back().await.unwrap();
    let mut lease = pools.lease_at(&one, to.clone(), &asked).await.unwrap();
    assert_eq!(lease.key.process_id, process_id, "the same backend");
    assert_eq!(lease.parameters.get(b"TimeZone"), Some(&b"Asia/Tokyo"[..]));
    for (sql, expected) in [
        ("SHOW timezone", "Asia/Tokyo"),
        ("SELECT current_user", "postgres"),
        ("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "0"),
        ("SELECT count(*) FROM pg_listening_channels()", "0"),
        ("SELECT count(*) FROM pg_prepared_statements", "0"),
        ("SELECT count(*) FROM pg_cursors", "0"),
        ("SELECT count(*) FROM pg_class WHERE relname = 't'", "0"),
    ] {
        assert_eq!(ask(&mut lease, sql).await.unwrap(), [expected], "{sql}");
    }
    assert_eq!(ask(&mut lease, "SELECT lastval()").await.unwrap_err(), "55000");
    // In a transaction DISCARD ALL is refused, and so is the backend.
    ask(&mut lease, "BEGIN").await.unwrap();
    assert!(lease.hand_back().await.is_err());
    // One that the server ends while it is idle is replaced unseen.
    pools.lease_at(&one, to.clone(), &asked).await.unwrap().hand_back().await.unwrap();
    let mut killer = dial(&to, &Settings::default()).await.unwrap();
    let kill = "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
        AND backend_type = 'client backend'";
    assert_eq!(ask(&mut killer, kill).await.unwrap(), ["t"]);
    let mut lease = pools.lease_at(&one, to, &asked).await.unwrap();
    assert_eq!(ask(&mut lease, "SELECT 1").await.unwrap(), ["1"]);
}

async fn cancelling(cluster: &Cluster) {
    use crate::backend::cancel::{CancelOutcome, Cancels, cancel_running};
    use crate::ids::SessionId;
    let (pools, one, cancels) = (Pools::new(config(|_| {})), customer("one", None), Cancels::new(8));
    for mode in [SslMode::Disable, SslMode::VerifyFull] {
        let to = destination(cluster.server(mode), "postgres");
        let mut lease = pools.lend(&one, &to).await.unwrap();
        let registration = cancels.register(SessionId(1), &lease, 32).unwrap();
        let later = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            cancels.cancel(registration.key()).await
        };
        let (answer, outcome) = tokio::join!(ask(&mut lease, "SELECT pg_sleep(30)"), later);
        assert_eq!(
            (answer.unwrap_err().as_str(), outcome),
            ("57014", CancelOutcome::Delivered(SessionId(1)))
        );
        assert_eq!(ask(&mut lease, "SELECT 1").await.unwrap(), ["1"]);
        // A late one, just before the end: the next session never sees it.
        assert_eq!(cancels.cancel(registration.key()).await, CancelOutcome::Delivered(SessionId(1)));
        drop(registration);
        lease.hand_back().await.unwrap();
        // A client that leaves in the middle of a query stops it.
        let mut lease = pools.lend(&one, &to).await.unwrap();
        let process_id = lease.key.process_id;
        let gone =
            tokio::time::timeout(Duration::from_millis(50), ask(&mut lease, "SELECT pg_sleep(30)")).await;
        assert!(gone.is_err());
        cancel_running(&lease).await;
        drop(lease);
        let mut watcher = dial(&to, &Settings::default()).await.unwrap();
        let count = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {process_id}");
        for round in 0.. {
            if ask(&mut watcher, &count).await.unwrap() == ["0"] {
                break;
            }
            assert!(round < 100, "the query runs on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn crowd(cluster: &Cluster) {
    let pools = Pools::new(config(|c| c.limits.backends_max = 3));
    let (one, two) = (customer("one", None), customer("two", Some(2)));
    let to = destination(cluster.server(SslMode::Disable), "postgres");
    let session = async |who: &Customer| {
        for _ in 0..20 {
            let mut lease = pools.lend(who, &to).await.unwrap();
            assert_eq!(ask(&mut lease, "SELECT 1").await.unwrap(), ["1"]);
            lease.hand_back().await.unwrap();
        }
    };
    tokio::join!(session(&one), session(&one), session(&one), session(&two), session(&two), session(&two));
    assert_eq!(pools.figures().leased, 0);
    assert!(pools.figures().backends <= 3);
}
