//! Buffers of one worker thread, lent while bytes are under way.
//!
//! What always holds: an idle session holds none; reading goes through one scratch buffer per thread, so a
//! message that can be passed on at once is never stored.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::stream::Stream;

/// Bytes read at one time, and the most that is held back of a message that is looked into.
const SCRATCH_BYTES: usize = 64 << 10;

/// Buffers kept for the next one who asks.
const SPARE_MAX: usize = 64;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `read` with the thread's scratch buffer. It must not be asked for again inside.
pub(crate) fn with_scratch<R>(read: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => read(&mut scratch),
        Err(_) => read(&mut vec![0; SCRATCH_BYTES]),
    })
}

/// Keeps a copy of `bytes` in `buffer`, which is borrowed from the thread when it has no memory yet.
pub(crate) fn keep(buffer: &mut Vec<u8>, bytes: &[u8]) {
    if buffer.capacity() == 0 {
        *buffer = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    }
    buffer.extend_from_slice(bytes);
}

/// Gives the memory of `buffer` back; what it held is gone.
pub(crate) fn release(buffer: &mut Vec<u8>) {
    let mut returned = std::mem::take(buffer);
    if returned.capacity() == 0 || returned.capacity() > SCRATCH_BYTES.saturating_mul(2) {
        return;
    }
    returned.clear();
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAX {
            spare.push(returned);
        }
    });
}

/// Reads behind what is carried over; gives how much of `scratch` is filled, or `None` at the end.
pub(crate) fn read(
    cx: &mut Context<'_>,
    from: &mut Stream,
    carry: &mut Vec<u8>,
    scratch: &mut [u8],
) -> Poll<Option<usize>> {
    let carried = carry.len().min(SCRATCH_BYTES);
    let Some((before, free)) = scratch.split_at_mut_checked(carried) else { return Poll::Ready(None) };
    let mut buf = ReadBuf::new(free);
    match ready!(Pin::new(from).poll_read(cx, &mut buf)) {
        Ok(()) if !buf.filled().is_empty() => {
            let filled = carried.saturating_add(buf.filled().len());
            before.copy_from_slice(carry.get(..carried).unwrap_or_default());
            if carried > 0 {
                release(carry);
            }
            Poll::Ready(Some(filled))
        }
        Ok(()) | Err(_) => Poll::Ready(None),
    }
}

/// Takes up what is carried over without reading more; gives how much of `scratch` is filled.
pub(crate) fn again(carry: &mut Vec<u8>, scratch: &mut [u8]) -> usize {
    let carried = carry.len().min(SCRATCH_BYTES);
    if let (Some(to), Some(from)) = (scratch.get_mut(..carried), carry.get(..carried)) {
        to.copy_from_slice(from);
    }
    release(carry);
    carried
}
