//! Leases, limits and scrubs against a server that follows a script.

use std::future::Future;
use std::time::Instant;

use super::liar::Liar;
use super::*;
use crate::backend::pool::Figures;
use crate::protocol::write;

fn plain(liar: &Liar) -> Destination {
    destination(server(liar.port, SslMode::Disable), "app")
}

fn none(leased: usize, backends: usize) -> Figures {
    Figures { leased, backends }
}

#[tokio::test]
async fn a_backend_is_used_again_after_a_scrub() {
    let (liar, pools, one) = (Liar::honest(), Pools::new(config(|_| {})), customer("one", None));
    let first = pools.lend(&one, &plain(&liar)).await.unwrap();
    let process_id = first.key.process_id;
    assert_eq!(pools.figures(), none(1, 1));
    first.hand_back().await.unwrap();
    assert_eq!(pools.figures(), none(0, 1));
    let second = pools.lend(&one, &plain(&liar)).await.unwrap();
    assert_eq!((second.key.process_id, liar.connections()), (process_id, 1));
    assert_eq!(pools.figures_of(&one.id), Some(none(1, 1)));
}

#[tokio::test]
async fn another_customer_never_gets_it() {
    let (liar, pools) = (Liar::honest(), Pools::new(config(|_| {})));
    let (one, two) = (customer("one", None), customer("two", None));
    pools.lend(&one, &plain(&liar)).await.unwrap().hand_back().await.unwrap();
    let other = pools.lend(&two, &plain(&liar)).await.unwrap();
    assert_eq!(liar.connections(), 2, "the same server, role and database, and yet another backend");
    drop(other);
    for different in [
        destination(server(liar.port, SslMode::Disable), "other"),
        destination(
            Server { role: RoleName::parse("r2").unwrap(), ..server(liar.port, SslMode::Disable) },
            "app",
        ),
    ] {
        let before = liar.connections();
        drop(pools.lend(&one, &different).await.unwrap());
        assert_eq!(liar.connections(), before + 1);
    }
    let before = liar.connections();
    drop(pools.lease_at(&one, plain(&liar), &settings(&[("DateStyle", "ISO")])).await.unwrap());
    assert_eq!(liar.connections(), before + 1, "other startup settings are another kind");
}

#[tokio::test]
async fn a_dropped_lease_closes_its_backend() {
    let (liar, pools, one) = (Liar::honest(), Pools::new(config(|_| {})), customer("one", None));
    drop(pools.lend(&one, &plain(&liar)).await.unwrap());
    liar.until_closed(1).await;
    assert_eq!((pools.figures(), pools.kinds()), (none(0, 0), 0));
    let again = pools.lend(&one, &plain(&liar)).await.unwrap();
    assert_eq!(liar.connections(), 2);
    // A scrub that is given up half-way closes it too.
    let mut handing_back = Box::pin(again.hand_back());
    std::future::poll_fn(|context| {
        assert!(handing_back.as_mut().poll(context).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    drop(handing_back);
    liar.until_closed(2).await;
    assert_eq!((pools.figures(), pools.kinds()), (none(0, 0), 0));
}

#[tokio::test]
async fn whatever_is_not_the_exact_answer_to_a_scrub_closes_the_backend() {
    for answer in [
        &b"C\0\0\0\x10DISCARD ALL\0Z\0\0\0\x05T"[..],
        b"C\0\0\0\x10DISCARD ALL\0Z\0\0\0\x05E",
        b"C\0\0\0\x10DISCARD ALL\0Z\0\0\0\x05IN",
        b"C\0\0\0\x10DISCARD ALL\0Z\0\0\0\x05IZ\0\0\0\x05I",
        b"C\0\0\0\x10DISCARD ALL\0C\0\0\0\x10DISCARD ALL\0Z\0\0\0\x05I",
        b"Z\0\0\0\x05I",
        b"C\0\0\0\x0bDELETE\0Z\0\0\0\x05I",
        b"D\0\0\0\x06\0\0C\0\0\0\x10DISCARD ALL\0Z\0\0\0\x05I",
        b"E\0\0\0\x05\0Z\0\0\0\x05I",
        b"C\xff\xff\xff\xff",
        b"C\0\0\0\x10DISCARD ALL\0",
    ] {
        let liar = Liar::new(move |talk| {
            talk.login()?;
            talk.message()?;
            talk.send(answer)
        });
        let (pools, one) = (Pools::new(config(|c| c.pool.scrub_timeout_ms = 200)), customer("one", None));
        let lease = pools.lend(&one, &plain(&liar)).await.unwrap();
        assert!(lease.hand_back().await.is_err(), "{answer:?}");
        liar.until_closed(1).await;
        assert_eq!(pools.figures(), none(0, 0));
    }
}

#[tokio::test]
async fn notices_settings_and_notifications_in_a_scrub_are_taken() {
    let liar = Liar::new(|talk| {
        talk.login()?;
        talk.message()?;
        talk.say(|out| {
            write::parameter_status(out, b"TimeZone", b"Europe/Zurich");
            out.extend(b"A\0\0\0\x0b\0\0\0\x01a\0\0C\0\0\0\x10DISCARD ALL\0");
            write::ready_for_query(out, b'I');
        })
    });
    let (pools, one) = (Pools::new(config(|_| {})), customer("one", None));
    pools.lend(&one, &plain(&liar)).await.unwrap().hand_back().await.unwrap();
    let again = pools.lend(&one, &plain(&liar)).await.unwrap();
    assert_eq!(again.parameters.get(b"TimeZone"), Some(&b"Europe/Zurich"[..]));
    assert_eq!(liar.connections(), 1);
}

#[tokio::test]
async fn a_backend_that_speaks_or_dies_while_idle_is_replaced_unseen() {
    let liar = Liar::new(|talk| {
        talk.login()?;
        talk.message()?;
        talk.send(b"C\0\0\0\x10DISCARD ALL\0Z\0\0\0\x05I")?;
        std::thread::sleep(Duration::from_millis(100));
        talk.send(b"N\0\0\0\x05\0")
    });
    let (pools, one) = (Pools::new(config(|_| {})), customer("one", None));
    pools.lend(&one, &plain(&liar)).await.unwrap().hand_back().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let again = pools.lend(&one, &plain(&liar)).await.unwrap();
    assert_eq!((liar.connections(), pools.figures()), (2, none(1, 1)));
    drop(again);
}

#[tokio::test]
async fn a_full_limit_is_waited_for_and_then_named() {
    let (liar, pools) = (Liar::honest(), Pools::new(config(|c| c.pool.wait_timeout_ms = 100)));
    let one = customer("one", Some(1));
    let held = pools.lend(&one, &plain(&liar)).await.unwrap();
    let refused = pools.lend(&one, &plain(&liar)).await.unwrap_err();
    assert!(matches!(refused, LeaseError::Limit { name } if name.contains("customer")), "{refused}");
    let limited = Server { backends_max: Some(0), ..server(liar.port, SslMode::Disable) };
    let refused = pools.lend(&customer("two", None), &destination(limited, "app")).await.unwrap_err();
    assert!(matches!(refused, LeaseError::Limit { name } if name.contains("server")), "{refused}");
    pools.reconfigure(config(|c| (c.limits.backends_max, c.pool.wait_timeout_ms) = (1, 100)));
    let refused = pools.lend(&customer("three", None), &plain(&liar)).await.unwrap_err();
    assert!(matches!(refused, LeaseError::Limit { name: "limits.backends_max" }), "{refused}");
    // A reload that raises the customer's limit is in force at once.
    pools.reconfigure(config(|c| c.pool.wait_timeout_ms = 100));
    drop(pools.lend(&customer("one", Some(2)), &plain(&liar)).await.unwrap());
    drop(held);
    assert_eq!(pools.figures(), none(0, 0));
}

#[tokio::test]
async fn who_waited_gets_the_backend_that_comes_back() {
    let (liar, pools, one) = (Liar::honest(), Pools::new(config(|_| {})), customer("one", Some(1)));
    let held = pools.lend(&one, &plain(&liar)).await.unwrap();
    let to = plain(&liar);
    let (handed, waited) = tokio::join!(held.hand_back(), pools.lend(&one, &to));
    handed.unwrap();
    assert_eq!((waited.unwrap().key.process_id > 0, liar.connections()), (true, 1));
}

#[tokio::test]
async fn an_idle_backend_of_another_kind_makes_room() {
    let (liar, pools, one) = (Liar::honest(), Pools::new(config(|_| {})), customer("one", Some(2)));
    let other = destination(server(liar.port, SslMode::Disable), "other");
    let (a, b) =
        (pools.lend(&one, &plain(&liar)).await.unwrap(), pools.lend(&one, &plain(&liar)).await.unwrap());
    a.hand_back().await.unwrap();
    b.hand_back().await.unwrap();
    let started = Instant::now();
    let (c, d) = (pools.lend(&one, &other).await.unwrap(), pools.lend(&one, &other).await.unwrap());
    assert!(started.elapsed() < Duration::from_secs(1));
    liar.until_closed(2).await;
    assert_eq!((pools.figures(), pools.kinds()), (none(2, 2), 1));
    drop((c, d));
    // The same across customers, when the process is full.
    pools.reconfigure(config(|c| c.limits.backends_max = 1));
    pools.lend(&one, &other).await.unwrap().hand_back().await.unwrap();
    let two = customer("two", None);
    drop(pools.lend(&two, &plain(&liar)).await.unwrap());
    assert_eq!(pools.figures(), none(0, 0));
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_or_dials_takes_nothing_with_it() {
    let silent = Liar::new(|_| None);
    let (pools, one) = (Pools::new(config(|_| {})), customer("one", Some(1)));
    let to = plain(&silent);
    for _ in 0..3 {
        let gave_up = tokio::time::timeout(Duration::from_millis(50), pools.lend(&one, &to)).await;
        assert!(gave_up.is_err());
        assert_eq!((pools.figures(), pools.kinds()), (none(0, 0), 0));
    }
    silent.until_closed(3).await;
    let liar = Liar::honest();
    let held = pools.lend(&one, &plain(&liar)).await.unwrap();
    let to = plain(&liar);
    assert!(tokio::time::timeout(Duration::from_millis(50), pools.lend(&one, &to)).await.is_err());
    drop(held);
    drop(pools.lend(&one, &plain(&liar)).await.unwrap());
    assert_eq!((pools.figures(), pools.kinds()), (none(0, 0), 0));
}

#[tokio::test]
async fn one_clients_bad_setting_is_that_clients_alone() {
    let liar = Liar::new(|talk| {
        talk.startup()?;
        if talk.parameters.iter().any(|(name, _)| name == "nonsense") {
            let report = crate::protocol::report::Report::fatal(
                crate::protocol::sqlstate::SqlState(*b"42704"),
                "unrecognized configuration parameter \"nonsense\"",
            );
            return talk.say(|out| write::error_response(out, &report));
        }
        talk.scram(|last| last)?;
        talk.send(b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x01abcdZ\0\0\0\x05I")?;
        talk.serve()
    });
    let (pools, one) = (Pools::new(config(|_| {})), customer("one", Some(1)));
    for _ in 0..3 {
        let bad = pools.lease_at(&one, plain(&liar), &settings(&[("nonsense", "1")])).await;
        assert!(matches!(bad, Err(LeaseError::Connect(ConnectError::Refused { .. }))));
        drop(pools.lend(&one, &plain(&liar)).await.unwrap());
    }
    assert_eq!((pools.figures(), pools.kinds()), (none(0, 0), 0));
}

#[tokio::test]
async fn an_idle_backend_ends_after_its_time_and_so_does_its_kind() {
    let (liar, one) = (Liar::honest(), customer("one", None));
    let pools = Pools::new(config(|c| c.pool.idle_timeout_ms = 50));
    pools.lend(&one, &plain(&liar)).await.unwrap().hand_back().await.unwrap();
    assert_eq!((pools.figures(), pools.kinds()), (none(0, 1), 1));
    liar.until_closed(1).await;
    assert_eq!((pools.figures(), pools.kinds()), (none(0, 0), 0));
    // One beyond its lifetime serves its session to the end, and no other.
    let pools = Pools::new(config(|c| c.pool.lifetime_ms = 0));
    for connections in 2..4 {
        pools.lend(&one, &plain(&liar)).await.unwrap().hand_back().await.unwrap();
        assert_eq!(liar.connections(), connections);
    }
}

#[tokio::test]
async fn fresh_backends_are_used_once() {
    let (liar, pools) = (Liar::honest(), Pools::new(config(|c| c.pool.fresh_backends = true)));
    let one = customer("one", Some(1));
    for count in 1..4 {
        pools.lend(&one, &plain(&liar)).await.unwrap().hand_back().await.unwrap();
        liar.until_closed(count).await;
        assert_eq!((pools.figures(), liar.connections()), (none(0, 0), count));
    }
    let reusing = Customer { fresh_backends: Some(false), ..customer("two", None) };
    pools.lend(&reusing, &plain(&liar)).await.unwrap().hand_back().await.unwrap();
    assert_eq!(pools.figures(), none(0, 1));
}

#[test]
fn a_backend_moves_to_the_thread_that_leases_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (liar, pools) = (Liar::honest(), Pools::new(config(|_| {})));
    let (one, to) = (customer("one", None), plain(&liar));
    let (first, second) = (runtime(), runtime());
    first.block_on(async { pools.lend(&one, &to).await.unwrap().hand_back().await.unwrap() });
    std::thread::scope(|scope| {
        let moved = scope.spawn(|| {
            second.block_on(async {
                let lease = pools.lend(&one, &to).await.unwrap();
                // Answered although nobody drives the first runtime.
                lease.hand_back().await.unwrap();
            });
        });
        moved.join().unwrap();
    });
    assert_eq!(liar.connections(), 1);
}

#[test]
fn many_sessions_never_share_and_never_exceed_the_limits() {
    use std::collections::HashSet;
    use std::sync::Mutex;
    let liar = Liar::honest();
    let pools = Pools::new(config(|c| (c.limits.backends_max, c.pool.wait_timeout_ms) = (6, 20_000)));
    let (one, two) = (customer("one", Some(4)), customer("two", Some(4)));
    let to = [plain(&liar), destination(server(liar.port, SslMode::Disable), "other")];
    let held = Mutex::new(HashSet::new());
    let session = |number: usize| {
        let (pools, held, to) = (&pools, &held, &to);
        let customer = if number.is_multiple_of(3) { &one } else { &two };
        async move {
            for round in 0..10 {
                let lease = pools.lend(customer, &to[(number + round) % 2]).await.unwrap();
                assert!(held.lock().unwrap().insert(lease.key.process_id), "two sessions have one backend");
                assert!(
                    pools.figures().backends <= 6 && pools.figures_of(&customer.id).unwrap().backends <= 4
                );
                tokio::time::sleep(Duration::from_millis(1)).await;
                held.lock().unwrap().remove(&lease.key.process_id);
                if !(number + round).is_multiple_of(4) {
                    lease.hand_back().await.unwrap();
                }
            }
        }
    };
    // Two workers, each with a runtime of its own, as in the running program.
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let session = &session;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let sessions: Vec<_> = (0..10).map(|number| session(number * 2 + worker)).collect();
                let all = async { tokio::time::timeout(Duration::from_secs(30), join_all(sessions)).await };
                runtime.block_on(all).unwrap();
            });
        }
    });
    assert_eq!(pools.figures().leased, 0);
}

/// Polls all until all are done.
async fn join_all<F: Future<Output = ()>>(futures: Vec<F>) {
    let mut open: Vec<_> = futures.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        open.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if open.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
