//! What a lease and its end cost; it prints figures and promises nothing.
//!
//! `CARGO_PROFILE_TEST_OPT_LEVEL=3 cargo test --lib backend::tests::cost -- --ignored --nocapture --test-threads=1`

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use super::liar::Liar;
use super::*;
use crate::backend::pool::Seat;

const ROUNDS: u32 = 200_000;

fn seat(pools: &Pools, customer: &Customer, liar: &Liar) -> Seat {
    let to = destination(server(liar.port, SslMode::Disable), "app");
    pools.seat_at(customer, None, &to, (&Settings::default(), PoolMode::Transaction))
}

/// Leases and releases one backend again and again, as a session does between transactions.
async fn pairs(seat: &mut Seat, together: &Barrier) -> f64 {
    let want = Carried::default();
    let own = seat.lease(&want).await.unwrap();
    // Each thread has one of its own.
    together.wait();
    own.release().unwrap();
    together.wait();
    let started = Instant::now();
    for _ in 0..ROUNDS {
        black_box(seat.take(&want).ok().unwrap()).release().unwrap();
    }
    started.elapsed().as_secs_f64() / f64::from(ROUNDS) * 1e9
}

fn on_a_thread_of_its_own(work: impl Future<Output = f64>) -> f64 {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
#[ignore = "prints figures"]
fn a_lease_and_its_end() {
    let (liar, pools, one) = (Liar::honest(), Pools::new(config(|_| {})), customer("one", None));
    let alone =
        on_a_thread_of_its_own(async { pairs(&mut seat(&pools, &one, &liar), &Barrier::new(1)).await });
    println!("one thread: {alone:.0} ns a pair");
    for same in [true, false] {
        let together = Barrier::new(2);
        let took: Vec<f64> = std::thread::scope(|scope| {
            let run = |at: usize| {
                let (pools, liar, together) = (&pools, &liar, &together);
                scope.spawn(move || {
                    let one = customer(if same || at == 0 { "one" } else { "two" }, None);
                    on_a_thread_of_its_own(async move { pairs(&mut seat(pools, &one, liar), together).await })
                })
            };
            [run(0), run(1)].map(|thread| thread.join().unwrap()).into()
        });
        let whose = if same { "the same customer" } else { "two customers" };
        println!("two threads that do nothing else, {whose}: {took:.0?} ns a pair");
    }
}

#[test]
#[ignore = "prints figures"]
fn a_lease_among_ten_thousand_customers() {
    let (liar, pools) = (Liar::honest(), Pools::new(config(|c| c.limits.backends_max = 100)));
    let customers: Vec<_> = (0..10_000).map(|at| customer(&format!("c{at}"), Some(4))).collect();
    let mut seats: Vec<_> = customers.iter().map(|customer| seat(&pools, customer, &liar)).collect();
    let first = seats.first_mut().unwrap();
    let took = on_a_thread_of_its_own(pairs(first, &Barrier::new(1)));
    println!("ten thousand customers at one server: {took:.0} ns a pair");
}
