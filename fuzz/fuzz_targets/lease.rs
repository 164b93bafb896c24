#![no_main]
//! Any client with any server: each request ends once, and what is out of step never gets back in.

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use onevault::session::lease::{Answer, Event, Lease, Request, Sent};

const REQUESTS: [Request; 9] = [
    Request::Query,
    Request::Parse,
    Request::Bind,
    Request::Describe,
    Request::Execute,
    Request::Close,
    Request::Call,
    Request::Sync,
    Request::CopyEnd,
];

const ANSWERS: [Answer; 18] = [
    Answer::ParseComplete,
    Answer::BindComplete,
    Answer::CloseComplete,
    Answer::ParameterDescription,
    Answer::Described,
    Answer::Row,
    Answer::Complete,
    Answer::Suspended,
    Answer::CallResponse,
    Answer::CopyIn,
    Answer::CopyOut,
    Answer::CopyStream,
    Answer::Error,
    Answer::Ready(b'I'),
    Answer::Ready(b'T'),
    Answer::Ready(b'E'),
    Answer::Async,
    Answer::Unknown,
];

fuzz_target!(|script: &[u8]| {
    let mut lease = Lease::default();
    let mut open = HashSet::new();
    let (mut next, mut was_out_of_step) = (0_u32, false);
    for step in script {
        let index = usize::from(step & 0x3f);
        if step & 0x80 == 0 {
            next += 1;
            open.insert(next);
            let request = REQUESTS[index % REQUESTS.len()];
            if let Sent::Ignored(ended) | Sent::Skipped(ended) = lease.sent(request, next) {
                assert!(open.remove(&ended));
            }
        } else {
            lease.answered(ANSWERS[index % ANSWERS.len()], |event| match event {
                Event::Done(Request::CopyEnd, ended) => _ = open.remove(&ended),
                Event::Done(_, ended) | Event::Suspended(ended) | Event::Skipped(_, ended) => {
                    assert!(open.remove(&ended), "{ended} ended twice");
                }
                Event::Command(number) | Event::Failed(_, number) => assert!(open.contains(number)),
            });
        }
        assert!(!was_out_of_step || lease.is_out_of_step());
        was_out_of_step = lease.is_out_of_step();
        if lease.is_in_step() {
            assert_eq!((lease.owed(), lease.status()), (0, b'I'));
        }
    }
    for (_, ended) in lease.abandon() {
        assert!(open.remove(&ended));
    }
});
