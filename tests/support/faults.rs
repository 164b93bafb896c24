//! System calls of one thread of a running OneVault that fail or hang, as those on a broken disk do.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::vault::Vault;

/// Until it is dropped, what it says happens to the calls (`strace` does it, to nothing but that thread).
pub(crate) struct Fault(Child);

impl Fault {
    /// Calls that concern `files`, or all of them where none are named. `how` is in the words of `strace --inject`: `error=EIO`,
    /// `delay_enter=1s`. None where processes may not be traced.
    pub(crate) fn on(
        vault: &Vault,
        thread: &str,
        (calls, files): (&str, &[&str]),
        how: &str,
    ) -> Option<Self> {
        let thread = thread_of(vault.pid(), thread);
        let mut strace = Command::new("strace");
        strace.args(["-q", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
        strace.args(["-e", &format!("inject={calls}:{how}"), "-p", &thread.to_string()]);
        for file in files {
            strace.arg("-P").arg(vault.dir.0.join(file));
        }
        let child = strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut fault = Self(child.inspect_err(|error| eprintln!("no strace: {error}")).ok()?);
        let begun = Instant::now();
        while !is_traced(vault.pid(), thread) {
            if fault.0.try_wait().unwrap().is_some() || begun.elapsed() > Duration::from_secs(10) {
                eprintln!("processes may not be traced here");
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(fault)
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(i32::try_from(self.0.id()).unwrap()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

fn thread_of(pid: u32, name: &str) -> u32 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut threads = tasks.map(|task| task.unwrap().path());
    let is_named = |path: &std::path::PathBuf| {
        fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let thread = threads.find(is_named).unwrap_or_else(|| panic!("no thread {name}"));
    thread.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

fn is_traced(pid: u32, thread: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
}
