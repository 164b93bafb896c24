//! Threads of their own for what takes long: a plan that is made, a query that runs.
//!
//! What always holds: a conversation is never held up by its query, so limits of time and cancel requests are kept even while
//! the query does not come up for air; one that nobody waits for any more ends when it does, and counts until then.

use tokio::runtime::Builder;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::fault::Fault;
use crate::protocol::sqlstate::SqlState;

/// How much nicer these threads are than the workers.
const NICE: i32 = 10;

/// Does something on a thread of its own, whose runtime ends with it; `permit` is held until then.
///
/// # Errors
/// 53300: there is no thread to be had.
pub(super) fn run<W: Future<Output = ()>>(
    permit: OwnedSemaphorePermit,
    work: impl FnOnce() -> W + Send + 'static,
) -> Result<(), Fault> {
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| no_thread(&error))?;
    let body = move || {
        be_nice();
        runtime.block_on(work());
        // What the query still has under way is not waited for.
        runtime.shutdown_background();
        drop(permit);
    };
    let thread = std::thread::Builder::new().name("console-query".to_owned()).spawn(body);
    thread.map(|_| ()).map_err(|error| no_thread(&error))
}

/// Does something on a thread of its own and answers its result.
pub(super) async fn ask<T, W>(
    permit: OwnedSemaphorePermit,
    work: impl FnOnce() -> W + Send + 'static,
) -> Result<T, Fault>
where
    T: Send + 'static,
    W: Future<Output = Result<T, Fault>>,
{
    let (mut answer, answered) = oneshot::channel();
    run(permit, move || async move {
        let done = tokio::select! {
            biased;
            done = work() => done,
            () = answer.closed() => return,
        };
        // Nobody may wait any more.
        let _ = answer.send(done);
    })?;
    answered.await.unwrap_or_else(|_| Err(broken()))
}

/// The thread ended without an answer.
pub(super) fn broken() -> Fault {
    Fault::new(SqlState::INTERNAL_ERROR, "the query engine broke down; the server's log says more")
}

fn no_thread(error: &std::io::Error) -> Fault {
    tracing::error!(%error, "no thread for a query of the console");
    Fault::new(SqlState::TOO_MANY_CONNECTIONS, "no thread for the query")
}

/// Gives way to the workers; where it is not allowed, the thread is as they are.
pub(super) fn be_nice() {
    let _ = rustix::process::setpriority_process(None, NICE);
}
