//! Tests of the board.

use super::*;

fn arrival(number: u64) -> Arrival {
    let role = RoleName::parse("spa").unwrap();
    Arrival {
        number: SessionId(number),
        pool: Pool {
            customer: CustomerId::parse("one_spa").unwrap(),
            database: DatabaseName::parse("spa").unwrap(),
            role,
        },
        login: LoginName::parse("anna").unwrap(),
        client: "127.0.0.1:1".parse().unwrap(),
        local: None,
        tls: None,
        application_name: String::new(),
        mode: PoolMode::Session,
    }
}

#[test]
fn what_a_session_did_stays_in_its_pools_sum_when_it_has_ended() {
    let board = Arc::new(Board::default());
    let (one, two) = (board.enter(arrival(1)), board.enter(arrival(2)));
    one.count(&Totals { queries: 3, received: 10, ..Totals::default() });
    two.count(&Totals { queries: 4, ..Totals::default() });
    let sums = |board: &Board| board.totals().into_values().collect::<Vec<_>>();
    let expected = Totals { queries: 7, received: 10, ..Totals::default() };
    assert_eq!(sums(&board), [expected]);
    drop(one);
    assert_eq!((sums(&board), board.sessions().len()), (vec![expected], 1));
    drop(two);
    assert_eq!((sums(&board), board.sessions().len()), (vec![expected], 0));
    assert_eq!(board.growth().0.into_values().collect::<Vec<_>>(), [expected]);
}

#[test]
fn a_session_that_waits_says_since_when() {
    let board = Arc::new(Board::default());
    let seen = board.enter(arrival(1));
    assert_eq!(board.sessions()[0].waits_since(), None);
    seen.waits(Some(Instant::now() + Duration::from_millis(5)));
    assert!(board.sessions()[0].waits_since() > Some(Duration::from_millis(4)));
    seen.waits(None);
    assert_eq!(board.sessions()[0].waits_since(), None);
}

#[test]
fn a_backend_that_lies_idle_has_no_session() {
    let board = Arc::new(Board::default());
    let Arrival { pool, mode, .. } = arrival(1);
    let (host, port) = ("db".to_owned(), 5432);
    let held = board.dialled(Dialled {
        pool,
        mode,
        host,
        port,
        address: None,
        local: None,
        is_tls: false,
        process_id: 7,
    });
    board.enter(arrival(9)).takes(&held);
    let seen = board.backends().remove(0);
    assert_eq!((seen.doing(), seen.session()), (Doing::Active, Some(SessionId(9))));
    held.does(Doing::Idle, Instant::now());
    assert_eq!((seen.doing(), seen.session()), (Doing::Idle, None));
    drop(held);
    assert!(board.backends().is_empty());
}
