//! One driver at work.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::books::Books;

/// A driver that runs. It is killed when this value is dropped; and it ends by itself when its standard input does, so it outlives no runner.
#[derive(Debug)]
pub struct Driver {
    child: Child,
    input: Option<ChildStdin>,
    pub books: Arc<Books>,
    complaints: Arc<Mutex<String>>,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Driver {
    /// # Errors
    /// When the program cannot be run.
    pub fn start(program: &Path, arguments: &[String]) -> Result<Self, String> {
        let started = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| format!("cannot run {}: {error}", program.display()))?;
        let (books, complaints) = (Arc::new(Books::default()), Arc::new(Mutex::new(String::new())));
        let mut readers = Vec::new();
        if let Some(output) = child.stdout.take() {
            let books = Arc::clone(&books);
            readers.push(thread::spawn(move || {
                for line in BufReader::with_capacity(1 << 16, output).lines().map_while(Result::ok) {
                    books.line(&line);
                }
                books.closed();
            }));
        }
        if let Some(mut errors) = child.stderr.take() {
            let complaints = Arc::clone(&complaints);
            readers.push(thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = errors.read(&mut buffer) {
                    let mut text = complaints.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    // The beginning says most; the rest is read so that the driver never waits.
                    if text.len() < 20_000 {
                        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
                    }
                }
            }));
        }
        Ok(Driver { input: child.stdin.take(), child, books, complaints, readers })
    }

    /// One command. A driver that is gone is noticed elsewhere.
    pub fn tell(&mut self, what: &str, value: u64) {
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{{\"do\":\"{what}\",\"value\":{value}}}").and_then(|()| input.flush());
        }
    }

    pub fn signal(&self, signal: Signal) {
        let _ = kill(self.pid(), signal);
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0))
    }

    /// Waits for its end. `None`: it did not end within the limit, and was killed.
    pub fn end(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    for reader in self.readers.drain(..) {
                        let _ = reader.join();
                    }
                    return Some(status);
                }
                _ if start.elapsed() > limit => {
                    self.kill();
                    return None;
                }
                _ => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// What it wrote to its standard error.
    pub fn complaints(&self) -> String {
        self.complaints.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.kill();
    }
}

/// In words: how it ended if not well. One that could never connect may say so with an exit code.
pub fn misfortune(status: Option<ExitStatus>, was_open: bool) -> Option<String> {
    match status {
        None => Some("it did not end".into()),
        Some(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => Some(format!("signal {signal}")),
            (None, Some(0)) => None,
            (None, Some(_)) if !was_open => None,
            (None, code) => Some(format!("exit code {}", code.unwrap_or(-1))),
        },
    }
}
