//! Transaction pooling: a seat, its leases, a server that is down, cancels while a session waits.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Instant;

use super::liar::Liar;
use super::*;
use crate::backend::cancel::{CancelOutcome, Cancels};
use crate::backend::memory::Memory;
use crate::backend::pool::{Figures, Seat};
use crate::ids::{BackendKey, LoginName, SessionId};
use crate::protocol::report::Report;
use crate::protocol::sqlstate::SqlState;
use crate::protocol::write;

fn seat_of(pools: &Pools, customer: &Customer, server: Server) -> Seat {
    let to = destination(server, "app");
    pools.seat_at(customer, None, &to, (&Settings::default(), PoolMode::Transaction))
}

fn seat(pools: &Pools, customer: &Customer, liar: &Liar) -> Seat {
    seat_of(pools, customer, server(liar.port, SslMode::Disable))
}

fn carried() -> Carried {
    Carried::default()
}

fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[tokio::test]
async fn a_backend_is_released_as_it_is_and_leased_at_once() {
    let (liar, pools, one) = (Liar::honest(), Pools::new(config(|_| {})), customer("one", Some(1)));
    let mut seat = seat(&pools, &one, &liar);
    assert!(seat.parameters().is_none() && seat.take(&carried()).is_err());
    let mut lease = seat.lease(&carried()).await.unwrap();
    lease.memory.unnamed = Some((SessionId(7), 1));
    let process_id = lease.key.process_id;
    lease.release().unwrap();
    assert_eq!(pools.figures(), Figures { leased: 0, backends: 1 });
    assert_eq!(seat.parameters().unwrap().get(b"server_version"), Some(&b"15.0"[..]));
    let lease = seat.take(&carried()).ok().unwrap();
    assert_eq!((lease.key.process_id, lease.memory.unnamed), (process_id, Some((SessionId(7), 1))));
    assert!(seat.take(&carried()).is_err(), "it is leased");
    // Scrubbed, it remembers nothing; and it is none of session pooling's.
    lease.hand_back().await.unwrap();
    let lease = seat.take(&carried()).ok().unwrap();
    assert_eq!(lease.memory.unnamed, Memory::default().unnamed);
    lease.release().unwrap();
    let other = pools.lend(&one, &destination(server(liar.port, SslMode::Disable), "app")).await.unwrap();
    assert_ne!(other.key.process_id, process_id);
    drop((other, seat));
    assert_eq!((pools.figures().backends, pools.kinds()), (0, 0));
}

#[tokio::test]
async fn nobody_overtakes_a_session_that_waits() {
    let (liar, pools, one) = (Liar::honest(), Pools::new(config(|_| {})), customer("one", Some(1)));
    let (mut first, mut second, mut third) =
        (seat(&pools, &one, &liar), seat(&pools, &one, &liar), seat(&pools, &one, &liar));
    let held = first.lease(&carried()).await.unwrap();
    let mut waiting = second.lease(&carried());
    assert!(is_pending(&mut waiting));
    held.release().unwrap();
    assert!(third.take(&carried()).is_err() && first.take(&carried()).is_err());
    drop(second);
    drop(waiting.await.unwrap());
    assert_eq!(pools.figures(), Figures { leased: 0, backends: 0 });
}

#[tokio::test]
async fn a_logins_limit_is_named_and_is_no_other_logins() {
    let (liar, pools) = (Liar::honest(), Pools::new(config(|c| c.pool.wait_timeout_ms = 100)));
    let mut one = customer("one", None);
    let names = ["app", "batch"].map(|name| LoginName::parse(name).unwrap());
    for (name, backends_max) in names.iter().zip([Some(1), None]) {
        let login = crate::customers::Login {
            verifier: None,
            valid_until: None,
            disabled: false,
            auditor: false,
            clients_max: None,
            backends_max,
            pool_mode: None,
        };
        one.logins.insert(name.clone(), login);
    }
    let to = || destination(server(liar.port, SslMode::Disable), "app");
    let mut seats = names
        .each_ref()
        .map(|name| pools.seat_at(&one, Some(name), &to(), (&Settings::default(), PoolMode::Transaction)));
    let held = seats[0].lease(&carried()).await.unwrap();
    let refused = seats[0].lease(&carried()).await.unwrap_err();
    assert!(matches!(refused, LeaseError::Limit { name } if name.contains("login")), "{refused}");
    drop((seats[1].lease(&carried()).await.unwrap(), held));
    // A reload that takes the limit away is in force for those who sit already.
    one.logins.get_mut(&names[0]).unwrap().backends_max = Some(2);
    pools.relimit(&crate::customers::Catalogue::new([Arc::new(one)]));
    drop((seats[0].lease(&carried()).await.unwrap(), seats[0].lease(&carried()).await.unwrap()));
}

#[tokio::test]
async fn customers_that_share_a_server_share_it_fairly() {
    let (liar, one, two) = (Liar::honest(), customer("one", None), customer("two", None));
    let pools = Pools::new(config(|c| c.limits.server_backends_max = Some(4)));
    let mut flood: Vec<_> = (0..40).map(|_| seat(&pools, &one, &liar)).collect();
    let mut held = Vec::new();
    for seat in flood.iter_mut().take(4) {
        held.push(seat.lease(&carried()).await.unwrap());
    }
    let mut waiting: Vec<_> = flood.iter_mut().skip(4).map(|seat| seat.lease(&carried())).collect();
    assert!(waiting.iter_mut().all(is_pending));
    let (mut late, mut later) = (seat(&pools, &two, &liar), seat(&pools, &two, &liar));
    let (mut first, mut second) = (late.lease(&carried()), later.lease(&carried()));
    assert!(is_pending(&mut first) && is_pending(&mut second));
    held.pop().unwrap().release().unwrap();
    let theirs = first.await.unwrap();
    held.pop().unwrap().release().unwrap();
    let also_theirs = second.await.unwrap();
    assert!(waiting.iter_mut().all(is_pending), "36 came before, and had their share");
    drop((theirs, also_theirs));
    // Two of them have what came back; a reload that gives this server a limit of its own serves two more at once.
    let own = crate::config::ServerLimit { host: "127.0.0.1".into(), port: liar.port, backends_max: 6 };
    pools.reconfigure(config(|c| c.limits.servers = vec![own]));
    let granted = pools.figures().leased;
    assert_eq!(granted, 6);
}

/// A port at which nobody listens, until the listener is given back.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_server_that_is_down_is_dialled_by_one_at_a_time() {
    let (pools, one) = (Pools::new(config(|_| {})), customer("one", None));
    let port = closed_port();
    let mut seat = seat_of(&pools, &one, server(port, SslMode::Disable));
    let first = seat.lease(&carried()).await.unwrap_err();
    assert!(matches!(first, LeaseError::Connect(ConnectError::Network(_))), "{first}");
    let at_once = seat.lease(&carried()).await.unwrap_err();
    assert!(matches!(at_once, LeaseError::Connect(ConnectError::Down(_))), "{at_once}");
    assert_eq!(pools.figures().backends, 0);
    // Another server is another matter.
    let liar = Liar::honest();
    drop(seat_of(&pools, &one, server(liar.port, SslMode::Disable)).lease(&carried()).await.unwrap());
    tokio::time::sleep(Duration::from_millis(120)).await;
    let probe = seat.lease(&carried()).await.unwrap_err();
    assert!(matches!(probe, LeaseError::Connect(ConnectError::Network(_))), "tried again: {probe}");
}

#[tokio::test]
async fn a_server_that_hangs_is_waited_for_once_and_recovers_at_once() {
    let silent = Arc::new(AtomicBool::new(false));
    let hangs = Arc::clone(&silent);
    let liar = Liar::new(move |talk| {
        while hangs.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        talk.login()?;
        talk.serve()
    });
    let pools = Pools::new(config(|c| c.pool.connect_timeout_ms = 300));
    let (one, two) = (customer("one", None), customer("two", Some(1)));
    let (mut dialling, mut waiting, mut later) =
        (seat(&pools, &one, &liar), seat(&pools, &two, &liar), seat(&pools, &two, &liar));
    let held = later.lease(&carried()).await.unwrap();
    silent.store(true, Ordering::SeqCst);
    let started = Instant::now();
    let (first, second) = tokio::join!(dialling.lease(&carried()), waiting.lease(&carried()));
    assert!(matches!(first.unwrap_err(), LeaseError::Connect(ConnectError::Timeout)));
    let second = second.unwrap_err();
    assert!(matches!(second, LeaseError::Connect(ConnectError::Down(_))), "{second}");
    assert!(started.elapsed() < Duration::from_millis(550), "who waited did not wait twice");
    silent.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(110)).await;
    drop(held);
    drop(later.lease(&carried()).await.unwrap());
    drop(later.lease(&carried()).await.unwrap());
}

#[tokio::test]
async fn a_full_server_says_so_itself_and_only_to_its_customer() {
    let full = Arc::new(AtomicBool::new(true));
    let is_full = Arc::clone(&full);
    let liar = Liar::new(move |talk| {
        talk.startup()?;
        if is_full.load(Ordering::SeqCst) && talk.parameters.iter().any(|(_, value)| value == "owner") {
            let words = "too many connections for role \"owner\"";
            let report = Report::fatal(SqlState::TOO_MANY_CONNECTIONS, words);
            return talk.say(|out| write::error_response(out, &report));
        }
        talk.finish_login()?;
        talk.serve()
    });
    let (pools, one, two) = (Pools::new(config(|_| {})), customer("one", None), customer("two", None));
    let mut mine = seat(&pools, &one, &liar);
    for round in 0..3 {
        let refused = mine.lease(&carried()).await.unwrap_err();
        let LeaseError::Connect(cause) = refused else { panic!("{refused}") };
        assert_eq!(matches!(cause, ConnectError::Down(_)), round > 0, "{cause}");
        let crate::backend::Answer::AsSent(raw) = cause.answer() else { panic!("{cause}") };
        assert!(String::from_utf8_lossy(raw).contains("too many connections for role"));
    }
    assert_eq!(liar.connections(), 1);
    let theirs = Server { role: RoleName::parse("theirs").unwrap(), ..server(liar.port, SslMode::Disable) };
    drop(seat_of(&pools, &two, theirs).lease(&carried()).await.unwrap());
    full.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(110)).await;
    drop(mine.lease(&carried()).await.unwrap());
}

#[tokio::test]
async fn a_login_that_hangs_is_no_outage_for_others() {
    let liar = Liar::new(|talk| {
        talk.startup()?;
        if talk.parameters.iter().any(|(_, value)| value == "owner") {
            talk.say(|out| write::authentication_sasl(out, &["SCRAM-SHA-256"]))?;
            return None;
        }
        talk.finish_login()?;
        talk.serve()
    });
    let pools = Pools::new(config(|c| c.pool.connect_timeout_ms = 100));
    let (one, two) = (customer("one", None), customer("two", None));
    let mut stuck = seat(&pools, &one, &liar);
    let first = stuck.lease(&carried()).await.unwrap_err();
    assert!(matches!(first, LeaseError::Connect(ConnectError::Timeout)), "{first}");
    let second = stuck.lease(&carried()).await.unwrap_err();
    assert!(matches!(second, LeaseError::Connect(ConnectError::Down(_))), "{second}");
    let theirs = Server { role: RoleName::parse("theirs").unwrap(), ..server(liar.port, SslMode::Disable) };
    drop(seat_of(&pools, &two, theirs).lease(&carried()).await.unwrap());
}

/// A server with room for `max`, which may grow.
fn small(max: &Arc<AtomicUsize>) -> Liar {
    let (max, live) = (Arc::clone(max), Arc::new(AtomicUsize::new(0)));
    Liar::new(move |talk| {
        talk.startup()?;
        if live.fetch_add(1, Ordering::SeqCst) >= max.load(Ordering::SeqCst) {
            live.fetch_sub(1, Ordering::SeqCst);
            let report = Report::fatal(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already");
            return talk.say(|out| write::error_response(out, &report));
        }
        let served = talk.finish_login().and_then(|()| talk.serve());
        live.fetch_sub(1, Ordering::SeqCst);
        served
    })
}

#[tokio::test]
async fn whoever_has_backends_at_a_full_server_waits_for_those() {
    let max = Arc::new(AtomicUsize::new(2));
    let (liar, pools, one) = (small(&max), Pools::new(config(|_| {})), customer("one", None));
    let mut seats: Vec<_> = (0..5).map(|_| seat(&pools, &one, &liar)).collect();
    let mut held = Vec::new();
    for seat in seats.iter_mut().take(2) {
        held.push(seat.lease(&carried()).await.unwrap());
    }
    let mut rest = seats.iter_mut().skip(2);
    let (mut third, mut fourth) =
        (rest.next().unwrap().lease(&carried()), rest.next().unwrap().lease(&carried()));
    let soon = Duration::from_millis(100);
    assert!(tokio::time::timeout(soon, &mut third).await.is_err(), "it waits and is not refused");
    assert!(is_pending(&mut fourth));
    assert_eq!((liar.connections(), pools.figures().leased), (3, 2));
    held.pop().unwrap().release().unwrap();
    assert!(is_pending(&mut fourth), "it came later");
    let third = third.await.unwrap();
    assert_eq!(liar.connections(), 3);
    // After a while it is tried again, although nothing came back.
    max.store(3, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let mut fifth = rest.next().unwrap().lease(&carried());
    let fourth = async { fourth.await.unwrap() };
    third.release().unwrap();
    drop((fourth.await, fifth.as_mut().await.unwrap(), held));
    assert_eq!(pools.figures(), Figures { leased: 0, backends: 0 });
}

#[tokio::test]
async fn whoever_is_told_that_a_server_is_full_keeps_its_place() {
    let dials = AtomicUsize::new(0);
    let liar = Liar::new(move |talk| {
        let number = dials.fetch_add(1, Ordering::SeqCst);
        talk.startup()?;
        if number == 0 {
            talk.finish_login()?;
            return talk.serve();
        }
        // The first to be refused hears of it last.
        std::thread::sleep(Duration::from_millis(if number == 1 { 150 } else { 0 }));
        let report = Report::fatal(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already");
        talk.say(|out| write::error_response(out, &report))
    });
    let (pools, one) = (Pools::new(config(|_| {})), customer("one", None));
    let mut seats = [seat(&pools, &one, &liar), seat(&pools, &one, &liar), seat(&pools, &one, &liar)];
    let [held, first, second] = seats.each_mut().map(|seat| seat.lease(&carried()));
    let held = held.await.unwrap();
    let (mut first, mut second) = (first, second);
    let soon = Duration::from_millis(50);
    assert!(tokio::time::timeout(soon, &mut first).await.is_err());
    let both = async { tokio::join!(&mut first, &mut second) };
    assert!(tokio::time::timeout(Duration::from_millis(200), both).await.is_err());
    held.release().unwrap();
    assert!(is_pending(&mut second));
    drop(tokio::time::timeout(soon, first).await.unwrap().unwrap());
}

#[tokio::test]
async fn a_server_that_was_full_is_tried_again_even_if_nothing_comes_back() {
    let max = Arc::new(AtomicUsize::new(1));
    let (liar, pools, one) = (small(&max), Pools::new(config(|_| {})), customer("one", None));
    let (mut first, mut second) = (seat(&pools, &one, &liar), seat(&pools, &one, &liar));
    let held = first.lease(&carried()).await.unwrap();
    let mut waiting = second.lease(&carried());
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut waiting).await.is_err());
    max.store(2, Ordering::SeqCst);
    let waited = tokio::time::timeout(Duration::from_millis(1_500), waiting).await;
    drop((waited.unwrap().unwrap(), held));
}

#[tokio::test]
async fn a_key_follows_its_session_from_backend_to_backend() {
    let (liar, pools, one) = (Liar::honest(), Pools::new(config(|_| {})), customer("one", None));
    let (mut seat, cancels) = (seat(&pools, &one, &liar), Cancels::new(8));
    let reserved = cancels.reserve(SessionId(7), 32).unwrap();
    let key = reserved.key().clone();
    assert!(key.process_id > 0 && key.secret.len() == 32);
    assert_eq!(cancels.cancel(&key).await, CancelOutcome::Dropped(SessionId(7)), "no backend yet");
    let (first, second) = (seat.lease(&carried()).await.unwrap(), seat.lease(&carried()).await.unwrap());
    for lease in [&first, &second] {
        reserved.bind(lease);
        assert_eq!(cancels.cancel(&key).await, CancelOutcome::Delivered(SessionId(7)));
        assert_eq!(liar.cancels.lock().unwrap().pop(), Some(lease.key.clone()));
    }
    let guessed = BackendKey { secret: Box::new([0; 32]), ..key.clone() };
    assert_eq!(cancels.cancel(&guessed).await, CancelOutcome::Unknown);
    reserved.unbind();
    assert_eq!(cancels.cancel(&key).await, CancelOutcome::Dropped(SessionId(7)));
    // What was bound and is released is out of reach, said or not.
    reserved.bind(&second);
    second.release().unwrap();
    assert_eq!(cancels.cancel(&key).await, CancelOutcome::Dropped(SessionId(7)));
    assert_eq!(liar.cancels.lock().unwrap().len(), 0);
    drop(reserved);
    assert_eq!((cancels.cancel(&key).await, cancels.is_empty()), (CancelOutcome::Unknown, true));
    drop(first);
}

#[tokio::test]
async fn a_backend_that_is_being_cancelled_is_not_released() {
    let hold = Arc::new(AtomicBool::new(true));
    let held = Arc::clone(&hold);
    let liar = Liar::new(move |talk| {
        talk.peek_cancel(|| {
            while held.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        talk.login()?;
        talk.serve()
    });
    let (pools, one, cancels) = (Pools::new(config(|_| {})), customer("one", None), Cancels::new(8));
    let mut seat = seat(&pools, &one, &liar);
    let reserved = cancels.reserve(SessionId(7), 4).unwrap();
    let lease = seat.lease(&carried()).await.unwrap();
    reserved.bind(&lease);
    let key = reserved.key().clone();
    let release = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let lease = lease.release().unwrap_err();
        assert!(seat.take(&carried()).is_err());
        hold.store(false, Ordering::SeqCst);
        lease.hand_back().await.unwrap();
        assert!(seat.take(&carried()).is_ok());
    };
    let (outcome, ()) = tokio::join!(cancels.cancel(&key), release);
    assert_eq!(outcome, CancelOutcome::Delivered(SessionId(7)));
}

#[tokio::test]
async fn a_session_that_waits_is_told_of_its_cancel() {
    let cancels = Cancels::new(8);
    let reserved = cancels.reserve(SessionId(7), 4).unwrap();
    let key = reserved.key().clone();
    let waits = std::future::poll_fn(|context| {
        reserved.queue(context.waker());
        if reserved.take_cancelled() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    });
    let asks = async {
        tokio::task::yield_now().await;
        assert_eq!(cancels.cancel(&key).await, CancelOutcome::Delivered(SessionId(7)));
    };
    let both = async { tokio::join!(waits, asks) };
    tokio::time::timeout(Duration::from_secs(2), both).await.unwrap();
    assert!(!reserved.take_cancelled(), "once is enough");
    reserved.unbind();
    assert_eq!(cancels.cancel(&key).await, CancelOutcome::Dropped(SessionId(7)));
    // An old wish is none for the next wait.
    reserved.queue(Waker::noop());
    cancels.cancel(&key).await;
    reserved.unbind();
    reserved.queue(Waker::noop());
    assert!(!reserved.take_cancelled());
}
