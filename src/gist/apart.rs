//! The process that reads texts: this program again, asked through two pipes.
//!
//! What always holds: it has none of this process's environment, files and sockets, can open none, and has at most
//! [`MEMORY_BYTES_MAX`]; one that does not answer in [`ANSWER_IN`] is killed; when it ended, the next question starts another. What it
//! answers is bounded and checked. It ends when its pipe does, so it does not outlive who asks.
//!
//! A question and an answer are each a length (`u32`, little-endian) and so many bytes: the text, and [`Gist`] as JSON or `null`.
//! Where [`isolate`] was not called, in tests of this library and programs that use it, the parser reads here instead.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};

use super::kept::Asked;
use super::{Gist, TEXT_BYTES_MAX, parser};

/// The program's command that [`serve`]s.
pub const COMMAND: &str = "read-texts";

/// A text is read in this time.
const ANSWER_IN: Duration = Duration::from_secs(5);
/// An answer is not longer, in bytes: names may be quoted, and quoted again.
const ANSWER_BYTES_MAX: usize = 8 * TEXT_BYTES_MAX;
/// Address space of the process, in bytes; most of it is never touched.
const MEMORY_BYTES_MAX: u64 = 3 << 30;
/// The reading thread's stack: what parses a text of [`TEXT_BYTES_MAX`] recurses at most so deep.
const STACK_BYTES: usize = 1 << 30;
/// Files that it may have open: its pipes, and what the parser needs for itself.
const FILES_MAX: u64 = 16;
/// How much nicer it is than the workers.
const NICE: i32 = 10;

static ISOLATED: AtomicBool = AtomicBool::new(false);
static READER: Mutex<Option<Reader>> = Mutex::new(None);

/// From now on texts are read in a process of their own. For `onevault` itself, which knows [`COMMAND`].
pub fn isolate() {
    ISOLATED.store(true, Ordering::Release);
}

/// Asks about a text. Questions wait for each other.
pub(super) fn ask(text: &str) -> Result<Option<Gist>, Asked> {
    let mut reader = READER.lock().unwrap_or_else(PoisonError::into_inner);
    if !ISOLATED.load(Ordering::Acquire) {
        return Ok(parser::read(text));
    }
    // One that ended since, by somebody's hand, is no fault of this text.
    for is_last in [false, true] {
        let is_new = reader.is_none();
        if is_new {
            *reader = Some(Reader::start().map_err(|error| {
                tracing::error!(%error, "no process that reads statements: which tables they touch is not known");
                Asked::NotHeard
            })?);
        }
        let Some(asked) = reader.as_mut() else { break };
        match asked.ask(text) {
            Ok(answer) => return Ok(answer),
            Err(error) => {
                // Its end is awaited when it is dropped.
                *reader = None;
                if is_new || is_last {
                    let bytes = text.len();
                    tracing::warn!(%error, bytes, "a statement was too much for the parser: its tables are not known");
                    return Err(Asked::Ended);
                }
            }
        }
    }
    Err(Asked::NotHeard)
}

/// A process that reads, and the ends of its pipes.
struct Reader {
    process: Child,
    questions: ChildStdin,
    answers: ChildStdout,
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Reader {
    fn start() -> io::Result<Self> {
        // This very program, also when another one lies in its place by now.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("onevault").arg(COMMAND).env_clear().current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn()?;
        let (questions, answers) = (process.stdin.take(), process.stdout.take());
        let (Some(questions), Some(answers)) = (questions, answers) else {
            return Err(io::Error::other("its pipes are not there"));
        };
        rustix::io::ioctl_fionbio(&questions, true)?;
        rustix::io::ioctl_fionbio(&answers, true)?;
        Ok(Self { process, questions, answers })
    }

    fn ask(&mut self, text: &str) -> io::Result<Option<Gist>> {
        let until = Instant::now().checked_add(ANSWER_IN).unwrap_or_else(Instant::now);
        let mut question = u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        question.extend_from_slice(text.as_bytes());
        let mut rest = question.as_slice();
        while !rest.is_empty() {
            wait(self.questions.as_fd(), PollFlags::OUT, until)?;
            let written = no_matter(self.questions.write(rest))?;
            rest = rest.get(written.unwrap_or(0)..).unwrap_or_default();
        }
        let mut head = [0; 4];
        self.fill(&mut head, until)?;
        let bytes = usize::try_from(u32::from_le_bytes(head)).unwrap_or(usize::MAX);
        if bytes > ANSWER_BYTES_MAX {
            return Err(io::Error::other("its answer is too long"));
        }
        let mut answer = vec![0; bytes];
        self.fill(&mut answer, until)?;
        Ok(serde_json::from_slice(&answer)?)
    }

    fn fill(&mut self, mut rest: &mut [u8], until: Instant) -> io::Result<()> {
        while !rest.is_empty() {
            wait(self.answers.as_fd(), PollFlags::IN, until)?;
            match no_matter(self.answers.read(rest))? {
                Some(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Some(read) => rest = rest.get_mut(read..).unwrap_or_default(),
                None => {}
            }
        }
        Ok(())
    }
}

/// Waits until a pipe is ready.
fn wait(pipe: BorrowedFd<'_>, flags: PollFlags, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).map_err(io::Error::other)?;
    match poll(&mut [PollFd::from_borrowed_fd(pipe, flags)], Some(&left)) {
        Ok(0) => Err(ErrorKind::TimedOut.into()),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Nothing where the pipe was not ready after all.
fn no_matter(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The process's whole work: answers questions from standard input until it ends.
#[must_use]
pub fn serve() -> ExitCode {
    let thread = std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(|| confine().and_then(|()| answer(&mut io::stdin().lock(), &mut io::stdout().lock())));
    match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => ExitCode::SUCCESS,
        Ok(_) | Err(_) => ExitCode::FAILURE,
    }
}

/// Takes from this process what reading does not need.
fn confine() -> io::Result<()> {
    let at_most = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::As, at_most(MEMORY_BYTES_MAX))?;
    setrlimit(Resource::Nofile, at_most(FILES_MAX))?;
    // No file is written, and no core with what somebody asked.
    setrlimit(Resource::Fsize, at_most(0))?;
    setrlimit(Resource::Core, at_most(0))?;
    // Where that is not allowed it is as the others are.
    let _ = setpriority_process(None, NICE);
    Ok(())
}

fn answer(questions: &mut impl Read, answers: &mut impl Write) -> io::Result<()> {
    let mut head = [0; 4];
    loop {
        match questions.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let bytes = usize::try_from(u32::from_le_bytes(head)).unwrap_or(usize::MAX);
        if bytes > TEXT_BYTES_MAX {
            return Err(io::Error::other("a question is too long"));
        }
        let mut text = vec![0; bytes];
        questions.read_exact(&mut text)?;
        let gist = std::str::from_utf8(&text).ok().and_then(parser::read);
        let answer = serde_json::to_vec(&gist)?;
        let head = u32::try_from(answer.len()).unwrap_or(u32::MAX).to_le_bytes();
        answers.write_all(&head)?;
        answers.write_all(&answer)?;
        answers.flush()?;
    }
}
