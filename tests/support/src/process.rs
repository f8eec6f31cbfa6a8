//! A child process that never outlives its test.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// What the guard does when its standard input ends: the test process died without dropping its servers (a time limit, `kill -9`, an abort).
const GUARD: &str = r#"read -r _; kill -KILL "$1" 2>/dev/null; sleep 0.2; rm -rf "$2""#;

/// A running server, and the guard that ends it when we cannot.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    guard: Child,
}

impl Process {
    /// Starts `command` with its output added to `log`; the guard removes `folder` if this process dies first.
    pub(crate) fn start(command: &mut Command, log: &Path, folder: &Path) -> io::Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let mut child = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn()?;
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(child.id().to_string())
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0) // What ends our whole group, Ctrl-C for one, must not end the guard before its work is done.
            .spawn();
        match guard {
            Ok(guard) => Ok(Process { child, guard }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal. One that comes too late is not an error.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Ok(id) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(id), signal);
        }
    }

    /// Stops it (SIGSTOP). The signal works by and by, thread after thread: this returns when it has; false if it has not within `limit`.
    pub(crate) fn stop(&self, limit: Duration) -> bool {
        self.signal(Signal::SIGSTOP);
        let Ok(id) = i32::try_from(self.child.id()) else { return false };
        let start = Instant::now();
        while !matches!(waitid(Id::Pid(Pid::from_raw(id)), WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG), Ok(WaitStatus::Stopped(..))) {
            if start.elapsed() > limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// The exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end; false if it still runs after `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        while self.ended().is_none() {
            if start.elapsed() > limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The guard goes first: once the child is reaped its number may belong to somebody else.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
