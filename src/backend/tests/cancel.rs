//! Cancel requests against a server that follows a script.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::liar::Liar;
use super::*;
use crate::backend::cancel::{CancelOutcome, Cancels, cancel_running};
use crate::ids::{BackendKey, SessionId};

/// A server that keeps a cancel's connection open while `hold` is set.
fn holding(hold: &Arc<AtomicBool>) -> Liar {
    let hold = Arc::clone(hold);
    Liar::new(move |talk| {
        talk.peek_cancel(|| {
            while hold.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        talk.login()?;
        talk.serve()
    })
}

async fn leased(liar: &Liar, pools: &Pools) -> Lease {
    pools
        .lend(&customer("one", None), &destination(server(liar.port, SslMode::Disable), "app"))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_cancel_reaches_the_server_with_the_servers_key() {
    let (liar, pools, cancels) = (Liar::honest(), Pools::new(config(|_| {})), Cancels::new(8));
    let lease = leased(&liar, &pools).await;
    for bytes in [4, 32] {
        let registration = cancels.register(SessionId(7), &lease, bytes).unwrap();
        let key = registration.key().clone();
        assert_eq!((key.process_id, key.secret.len()), (lease.key.process_id, bytes));
        assert_ne!(key.secret, lease.key.secret);
        assert_eq!(cancels.cancel(&key).await, CancelOutcome::Delivered(SessionId(7)));
        assert_eq!(liar.cancels.lock().unwrap().pop(), Some(lease.key.clone()));
        drop(registration);
        assert_eq!(cancels.cancel(&key).await, CancelOutcome::Unknown);
        assert!(cancels.is_empty());
    }
    cancel_running(&lease).await;
    assert_eq!(liar.cancels.lock().unwrap().pop(), Some(lease.key.clone()));
    lease.hand_back().await.unwrap();
}

#[tokio::test]
async fn a_guessed_key_causes_no_work() {
    let (liar, pools, cancels) = (Liar::honest(), Pools::new(config(|_| {})), Cancels::new(8));
    let lease = leased(&liar, &pools).await;
    let registration = cancels.register(SessionId(7), &lease, 4).unwrap();
    let process_id = lease.key.process_id;
    let right = registration.key().secret.clone();
    for secret in
        [lease.key.secret.clone(), Box::new([]), right[..3].into(), [&right[..], b"x"].concat().into()]
    {
        assert_eq!(cancels.cancel(&BackendKey { process_id, secret }).await, CancelOutcome::Unknown);
    }
    let elsewhere = BackendKey { process_id: process_id + 1, secret: right };
    assert_eq!(cancels.cancel(&elsewhere).await, CancelOutcome::Unknown);
    assert_eq!(liar.connections(), 1);
}

#[tokio::test]
async fn a_cancelled_backend_goes_to_nobody_before_the_cancel_is_over() {
    let hold = Arc::new(AtomicBool::new(true));
    let (liar, pools, cancels) = (holding(&hold), Pools::new(config(|_| {})), Cancels::new(8));
    let lease = leased(&liar, &pools).await;
    let registration = cancels.register(SessionId(7), &lease, 4).unwrap();
    let key = registration.key().clone();
    let started = Instant::now();
    let release = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        hold.store(false, Ordering::SeqCst);
    };
    let hand_back = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(registration);
        lease.hand_back().await.unwrap();
        started.elapsed()
    };
    let (outcome, took, ()) = tokio::join!(cancels.cancel(&key), hand_back, release);
    assert_eq!(outcome, CancelOutcome::Delivered(SessionId(7)));
    assert!(took >= Duration::from_millis(200), "handed back after {took:?}");
    assert_eq!(pools.figures().backends, 1);
}

#[tokio::test]
async fn a_backend_whose_cancel_never_ends_is_closed() {
    let hold = Arc::new(AtomicBool::new(true));
    let (liar, cancels) = (holding(&hold), Cancels::new(8));
    let pools = Pools::new(config(|c| c.pool.scrub_timeout_ms = 100));
    let lease = leased(&liar, &pools).await;
    let registration = cancels.register(SessionId(7), &lease, 4).unwrap();
    let key = registration.key().clone();
    let hand_back = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(lease.hand_back().await.is_err());
        hold.store(false, Ordering::SeqCst);
    };
    tokio::join!(cancels.cancel(&key), hand_back);
    assert_eq!(pools.figures().backends, 0);
    // The same when the cancelling side gave up: what the server will do is not known.
    hold.store(true, Ordering::SeqCst);
    let lease = leased(&liar, &pools).await;
    let registration = cancels.register(SessionId(8), &lease, 4).unwrap();
    let key = registration.key().clone();
    assert!(tokio::time::timeout(Duration::from_millis(50), cancels.cancel(&key)).await.is_err());
    hold.store(false, Ordering::SeqCst);
    assert!(lease.hand_back().await.is_err());
    assert_eq!(pools.figures().backends, 0);
}

#[tokio::test]
async fn a_key_of_an_earlier_lease_cannot_hit_the_next_session() {
    let (liar, pools, cancels) = (Liar::honest(), Pools::new(config(|_| {})), Cancels::new(8));
    let lease = leased(&liar, &pools).await;
    let forgotten = cancels.register(SessionId(1), &lease, 32).unwrap();
    lease.hand_back().await.unwrap();
    assert_eq!(cancels.cancel(forgotten.key()).await, CancelOutcome::Dropped(SessionId(1)));
    let lease = leased(&liar, &pools).await;
    let next = cancels.register(SessionId(2), &lease, 32).unwrap();
    assert_eq!(next.key().process_id, forgotten.key().process_id, "the same backend");
    assert_eq!(cancels.cancel(forgotten.key()).await, CancelOutcome::Dropped(SessionId(1)));
    assert_eq!(liar.cancels.lock().unwrap().len(), 0);
    assert_eq!(cancels.cancel(next.key()).await, CancelOutcome::Delivered(SessionId(2)));
    drop(forgotten);
    assert_eq!(cancels.len(), 1);
}

#[tokio::test]
async fn a_storm_of_cancels_is_one_under_way_and_one_behind_it() {
    let hold = Arc::new(AtomicBool::new(true));
    let (liar, pools, cancels) = (holding(&hold), Pools::new(config(|_| {})), Cancels::new(64));
    let lease = leased(&liar, &pools).await;
    let registration = cancels.register(SessionId(7), &lease, 4).unwrap();
    let key = registration.key();
    let release = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        hold.store(false, Ordering::SeqCst);
    };
    let cancel = || cancels.cancel(key);
    let (a, b, c, d, ()) = tokio::join!(cancel(), cancel(), cancel(), cancel(), release);
    let delivered =
        [a, b, c, d].iter().filter(|outcome| matches!(outcome, CancelOutcome::Delivered(_))).count();
    assert_eq!((delivered, liar.cancels.lock().unwrap().len()), (2, 2));
    let none = Cancels::new(0);
    let registration = none.register(SessionId(9), &lease, 4).unwrap();
    assert_eq!(none.cancel(registration.key()).await, CancelOutcome::Dropped(SessionId(9)));
}

#[tokio::test]
async fn a_server_that_does_not_answer_cancels_leaves_room_for_others() {
    let hold = Arc::new(AtomicBool::new(true));
    let (hung, healthy) = (holding(&hold), Liar::honest());
    let (pools, cancels) = (Pools::new(config(|_| {})), Cancels::new(8));
    let leases = [leased(&hung, &pools).await, leased(&hung, &pools).await, leased(&hung, &pools).await];
    let keys = leases.each_ref().map(|lease| cancels.register(SessionId(1), lease, 4).unwrap());
    let other = leased(&healthy, &pools).await;
    let other_key = cancels.register(SessionId(2), &other, 4).unwrap();
    let last = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(cancels.cancel(keys[2].key()).await, CancelOutcome::Dropped(SessionId(1)));
        assert_eq!(cancels.cancel(other_key.key()).await, CancelOutcome::Delivered(SessionId(2)));
        hold.store(false, Ordering::SeqCst);
    };
    let (first, second, ()) =
        tokio::join!(cancels.cancel(keys[0].key()), cancels.cancel(keys[1].key()), last);
    assert_eq!(
        (first, second),
        (CancelOutcome::Delivered(SessionId(1)), CancelOutcome::Delivered(SessionId(1)))
    );
    assert_eq!(cancels.cancel(keys[2].key()).await, CancelOutcome::Delivered(SessionId(1)));
}
