//! Worker threads: each has a current-thread runtime and serves the clients it was handed.
//!
//! Always holds: a session that panics ends alone; a worker's runtime lives until the very end, because
//! backends that were dialled there may have gone to another worker's session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;

use super::{Edge, Guard, Refused};

/// Sockets on their way to one worker; when all workers have that many, accepting waits.
const WAITING_MAX: usize = 1024;
/// How long tasks that are still there at the end may take to be dropped.
const STOP: Duration = Duration::from_millis(500);
/// So many clients share a worker before the next one gets any. A worker that finds several of its clients ready at one
/// wake-up asks the kernel less often; two half-busy workers took a third more CPU for eight clients than one did.
const PACK: usize = 16;

/// A client on its way to a worker.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) tcp: std::net::TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) guard: Guard,
    /// Not to be served, but to be told why.
    pub(super) refused: Option<Refused>,
}

/// The threads.
#[derive(Debug)]
pub(super) struct Workers {
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    load: Arc<AtomicUsize>,
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

/// The runtime of one thread.
pub(super) fn runtime() -> Result<Runtime, String> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("could not start a runtime: {error}"))
}

impl Workers {
    /// Starts `count` threads; 0 means one per core.
    pub(super) fn start<E: Edge>(edge: &Arc<E>, count: usize) -> Result<Self, String> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let count = if count == 0 { cores() } else { count };
        let start = |number: usize| {
            let (jobs, incoming) = channel(WAITING_MAX);
            let (edge, runtime) = (Arc::clone(edge), runtime()?);
            let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                runtime.block_on(work(edge, incoming));
                runtime.shutdown_timeout(STOP);
            });
            let thread = thread.map_err(|error| format!("could not start a worker thread: {error}"))?;
            Ok(Worker { load: Arc::default(), jobs, thread })
        };
        Ok(Self { workers: (0..count).map(start).collect::<Result<_, String>>()? })
    }

    pub(super) fn count(&self) -> usize {
        self.workers.len()
    }

    /// Hands a client to the worker with the fewest packs of [`PACK`] clients, the first of equals; waits only when
    /// every worker's queue is full.
    pub(super) async fn hand_over(&self, mut job: Job) {
        let mut by_load: Vec<&Worker> = self.workers.iter().collect();
        by_load.sort_by_key(|worker| worker.load.load(Ordering::Relaxed).checked_div(PACK));
        for worker in &by_load {
            job.guard.at_worker(Arc::clone(&worker.load));
            match worker.jobs.try_send(job) {
                Ok(()) => return,
                Err(back) => job = back.into_inner(),
            }
        }
        if let Some(worker) = by_load.first() {
            job.guard.at_worker(Arc::clone(&worker.load));
            // Fails only when the worker has ended: then the socket closes here.
            let _ = worker.jobs.send(job).await;
        }
    }

    /// Ends the threads; sessions that are still there are dropped.
    pub(super) fn stop(self) {
        let (jobs, threads): (Vec<_>, Vec<_>) =
            self.workers.into_iter().map(|worker| (worker.jobs, worker.thread)).unzip();
        drop(jobs);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    }
}

/// One worker's life: take jobs, run them, notice their ends.
async fn work<E: Edge>(edge: Arc<E>, mut incoming: Receiver<Job>) {
    let (mut sessions, mut beside) = (JoinSet::new(), JoinSet::new());
    beside.spawn(Arc::clone(&edge).attend());
    loop {
        tokio::select! {
            job = incoming.recv() => match job {
                Some(job) => { sessions.spawn(serve(Arc::clone(&edge), job)); }
                None => break,
            },
            Some(ended) = sessions.join_next() => {
                if ended.is_err_and(|error| error.is_panic()) {
                    tracing::error!("a session panicked; it was ended, others are not affected");
                }
            }
        }
    }
}

async fn serve<E: Edge>(edge: Arc<E>, job: Job) {
    let Job { tcp, peer, guard, refused } = job;
    let tcp = match TcpStream::from_std(tcp) {
        Ok(tcp) => tcp,
        Err(error) => {
            tracing::warn!(%peer, %error, "could not take a connection over");
            return;
        }
    };
    match refused {
        None => edge.serve(tcp, peer, guard).await,
        Some(why) => {
            // Boxed: every session's task would be as large as this rare one.
            Box::pin(edge.refuse(tcp, peer, why)).await;
            drop(guard);
        }
    }
}
