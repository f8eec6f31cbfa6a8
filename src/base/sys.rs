//! What the operating system offers and the standard library does not: the fork guard, the signal masks of our threads, the wake file descriptor.
//!
//! The one file of the core with unsafe code. Signal masks and eventfd come from nix, which makes them safe; only `pthread_atfork` remains.
#![allow(unsafe_code, reason = "pthread_atfork has no safe wrapper; every block below says why it is sound")]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal};

// ---- fork (P8, T8) -------------------------------------------------------------------------------------------------------------------------------------

static WATCHING: AtomicBool = AtomicBool::new(false);
static CONNECTED: AtomicBool = AtomicBool::new(false);
static FORKED: AtomicBool = AtomicBool::new(false);
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Runs in the child, between `fork` and its return, when other threads' locks may be held for ever: atomics only.
extern "C" fn in_forked_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    if CONNECTED.load(Ordering::Relaxed) {
        FORKED.store(true, Ordering::Relaxed);
    }
}

/// Counts forks from now on, see [`forks`]. Cheap to call again.
///
/// No `Once`: a child forked while another thread is inside one would hang at its next call. Two threads that race here register the handler twice, which
/// does no harm.
///
/// # Errors
/// The system has no memory for the handler.
pub(crate) fn watch_forks() -> io::Result<()> {
    if !WATCHING.load(Ordering::Acquire) {
        // SAFETY: the handler touches only static atomics, so it is async-signal-safe, and it lives as long as the process: the library is linked with
        // `-z nodelete` (T9).
        let failure = unsafe { libc::pthread_atfork(None, None, Some(in_forked_child)) };
        if failure != 0 {
            return Err(io::Error::from_raw_os_error(failure));
        }
        WATCHING.store(true, Ordering::Release);
    }
    Ok(())
}

/// Says that the process connects: from now on its children are [`forked`]. Each connect calls it before it starts a thread.
///
/// A process that only loaded the library, or set a log sink, may fork and connect in its children.
///
/// # Errors
/// As [`watch_forks`]; the connect must then fail, since it could not be guarded.
pub(crate) fn arm_fork_guard() -> io::Result<()> {
    watch_forks()?;
    CONNECTED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Whether this process was forked from one that had connected. Every call on a publisher asks it first.
///
/// One relaxed load; a process id by system call costs 231 ns (X7). `vfork`, `posix_spawn` and a bare `clone` do not set it: what they start must `exec`.
#[inline]
#[must_use]
pub fn forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// How many forks lie between this process and the one that called [`watch_forks`]: what was made under another number belongs to an ancestor, and so do its
/// locks and threads.
#[inline]
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

// ---- signals (P7, T26) ---------------------------------------------------------------------------------------------------------------------------------

/// Signals that an instruction of the thread itself raises. Blocking them would turn a crash into undefined behaviour.
const SYNCHRONOUS: [Signal; 7] = [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP, Signal::SIGABRT, Signal::SIGSYS];

/// Every other signal, real-time ones included (libc keeps its own two out).
fn asynchronous() -> SigSet {
    let mut set = SigSet::all();
    for signal in SYNCHRONOUS {
        set.remove(signal);
    }
    set
}

/// The mask of the I/O and the log thread: every asynchronous signal is blocked. A server that dies in mid-write then raises EPIPE and no SIGPIPE, and the
/// host's handlers run on the host's threads. Dispositions are never touched.
pub(crate) fn block_all_signals_but_synchronous() {
    set_mask(asynchronous());
}

/// The mask of the report thread: as above, with SIGPIPE left open, whatever the connecting thread had.
///
/// User code runs there, and a process it spawns inherits the mask across `exec`: with SIGPIPE blocked, `producer | head` would never end. The child still
/// inherits the others blocked, SIGTERM and SIGINT among them, unless its launcher resets the mask as Rust's `Command` does. After `posix_spawn`, `fork` and
/// `exec`, or Python's `subprocess`, reset it yourself or spawn from a thread of your own.
pub(crate) fn block_for_report_thread() {
    let mut set = asynchronous();
    set.remove(Signal::SIGPIPE);
    set_mask(set);
}

fn set_mask(set: SigSet) {
    // Only a bad `how` can fail, and nix sends SIG_SETMASK.
    let _ = set.thread_set_mask();
}

/// Starts a thread whose first act is `mask`. Signals are blocked while it is born, so none of the host's can land on it before.
///
/// # Errors
/// The system refuses the thread.
pub(crate) fn spawn<T: Send + 'static>(name: &str, mask: fn(), body: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    let host = SigSet::thread_get_mask()?;
    asynchronous().thread_block()?;
    let born = thread::Builder::new().name(name.to_owned()).spawn(move || {
        mask();
        body()
    });
    set_mask(host);
    born
}

// ---- wake fd -------------------------------------------------------------------------------------------------------------------------------------------

/// A level-triggered flag that `poll`, `epoll` and event loops can wait for: readable from [`raise`](Self::raise) until [`clear`](Self::clear), however often
/// either is called. Non-blocking and close-on-exec. A forked child shares it with its parent, so a child must not clear it (P8).
#[derive(Debug)]
pub(crate) struct WakeFd(EventFd);

impl WakeFd {
    /// A lowered flag.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(WakeFd(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
    }

    /// Makes it readable.
    pub(crate) fn raise(&self) {
        // The one error, EAGAIN, says that the counter is at its end: raised already.
        let _ = self.0.write(1);
    }

    /// Makes it unreadable.
    pub(crate) fn clear(&self) {
        // One read takes the whole counter; EAGAIN says that it was clear.
        let _ = self.0.read();
    }
}

impl AsRawFd for WakeFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// For tests of process-wide state: runs `test` of `module` again in a process of its own, and returns true there and false here.
#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests")]
pub(crate) fn alone(module: &str, test: &str) -> bool {
    const MARK: &str = "ACKBUS_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let (_crate, path) = module.split_once("::").expect("a module path begins with the crate");
    let name = format!("{path}::{test}");
    let binary = std::env::current_exe().expect("a test binary knows its path");
    let out = std::process::Command::new(binary).args(["--exact", &name, "--nocapture"]).env(MARK, "1").output().expect("the test binary starts again");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("1 passed"), "{name}:\n{text}\n{}", String::from_utf8_lossy(&out.stderr));
    false
}

/// Gives SIGPIPE the disposition of a C program, in which it kills. For a test process of its own.
#[cfg(test)]
pub(crate) fn default_sigpipe() {
    // SAFETY: sets a disposition without a handler; nothing of Rust's relies on the one before in a test process that is alone.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Forks, runs `child` in the child and returns its exit code, or `None` if it panicked, was killed, or hung for ten seconds.
#[cfg(test)]
pub(crate) fn in_child(child: impl FnOnce() -> u8) -> Option<u8> {
    use std::time::{Duration, Instant};
    // SAFETY: the child runs the closure alone and leaves by `_exit`; glibc makes malloc usable after a fork.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed: {}", io::Error::last_os_error());
    if pid == 0 {
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).map_or(255, i32::from);
        // SAFETY: ends the child without running the parent's exit handlers.
        unsafe { libc::_exit(code) }
    }
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let mut status = 0;
        // SAFETY: `pid` is our own child, not yet waited for, and `status` is a valid place for the result.
        if unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } == pid {
            return libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)).and_then(|code| u8::try_from(code).ok()).filter(|&code| code != 255);
        }
        if Instant::now() > end {
            // SAFETY: `pid` is our own child, not yet waited for, so its id cannot have been given to another process.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, &raw mut status, 0);
            }
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
mod tests {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    #[test]
    fn only_children_of_a_connected_process_are_forked() {
        if !alone(module_path!(), "only_children_of_a_connected_process_are_forked") {
            return;
        }
        assert_eq!(in_child(|| u8::from(forked())), Some(0), "not watched yet");
        watch_forks().unwrap();
        let here = forks();
        assert_eq!(in_child(|| u8::from(forked()) + 2 * u8::from(forks() != here)), Some(2), "watched, not connected: the number tells, the guard is down");

        arm_fork_guard().unwrap();
        arm_fork_guard().unwrap();
        assert_eq!(in_child(|| u8::from(forked())), Some(1), "connected");
        assert_eq!(in_child(|| in_child(|| u8::from(forked())).unwrap_or(9)), Some(1), "a grandchild");
        assert!(!forked(), "the parent goes on");
        assert_eq!(forks(), here);
    }

    fn mask_of(mask: fn()) -> SigSet {
        spawn("masked", mask, || SigSet::thread_get_mask().unwrap()).unwrap().join().unwrap()
    }

    fn blocked(set: &SigSet) -> Vec<Signal> {
        Signal::iterator().filter(|&signal| set.contains(signal)).collect()
    }

    #[test]
    fn our_threads_block_what_is_the_hosts() {
        let never = [Signal::SIGKILL, Signal::SIGSTOP]; // the kernel does not let anybody block these
        let all: Vec<Signal> = Signal::iterator().filter(|signal| !SYNCHRONOUS.contains(signal) && !never.contains(signal)).collect();
        assert_eq!(blocked(&mask_of(block_all_signals_but_synchronous)), all);
        let report: Vec<Signal> = all.into_iter().filter(|&signal| signal != Signal::SIGPIPE).collect();
        assert_eq!(blocked(&mask_of(block_for_report_thread)), report);
        let newborn = blocked(&mask_of(|| ()));
        assert!(newborn.contains(&Signal::SIGTERM) && newborn.contains(&Signal::SIGPIPE), "nothing lands before the mask is set: {newborn:?}");
    }

    #[test]
    fn real_time_signals_are_blocked_too() {
        let status = spawn("masked", block_all_signals_but_synchronous, || std::fs::read_to_string("/proc/thread-self/status").unwrap()).unwrap();
        let status = status.join().unwrap();
        let line = status.lines().find(|line| line.starts_with("SigBlk:")).unwrap();
        let bits = u64::from_str_radix(line["SigBlk:".len()..].trim(), 16).unwrap();
        for signal in 35..=64 {
            assert_ne!(bits & (1 << (signal - 1)), 0, "real-time signal {signal} is open: {bits:016x}");
        }
    }

    #[test]
    fn the_report_thread_has_sigpipe_open_even_when_the_host_blocks_it() {
        let report = thread::spawn(|| {
            let mut pipe = SigSet::empty();
            pipe.add(Signal::SIGPIPE);
            pipe.thread_block().unwrap();
            let report = mask_of(block_for_report_thread);
            assert_eq!(SigSet::thread_get_mask().unwrap(), pipe, "the spawning thread keeps its mask");
            report
        });
        assert!(!report.join().unwrap().contains(Signal::SIGPIPE));
    }

    #[test]
    fn a_child_of_the_report_thread_inherits_an_open_sigpipe() {
        let masks = |mask| {
            spawn("masked", mask, || {
                in_child(|| {
                    let set = SigSet::thread_get_mask().unwrap();
                    u8::from(set.contains(Signal::SIGPIPE)) + 2 * u8::from(set.contains(Signal::SIGTERM))
                })
            })
        };
        assert_eq!(masks(block_for_report_thread).unwrap().join().unwrap(), Some(2));
        assert_eq!(masks(block_all_signals_but_synchronous).unwrap().join().unwrap(), Some(3));
    }

    fn readable(fd: &WakeFd) -> bool {
        poll(&mut [PollFd::new(fd.0.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn the_wake_fd_is_a_level() {
        let fd = WakeFd::new().unwrap();
        assert!(fd.as_raw_fd() >= 0);
        fd.clear();
        assert!(!readable(&fd), "new and cleared");
        for _ in 0..3 {
            fd.raise();
        }
        assert!(readable(&fd) && readable(&fd), "stays raised");
        fd.clear();
        assert!(!readable(&fd), "one clear takes every raise");
    }

    #[test]
    fn raising_a_full_wake_fd_does_not_wait() {
        let fd = WakeFd::new().unwrap();
        fd.0.write(u64::MAX - 1).unwrap();
        fd.raise();
        assert!(readable(&fd));
    }

    #[test]
    fn the_wake_fd_does_not_survive_exec() {
        let fd = WakeFd::new().unwrap();
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
        assert_ne!(flags & libc::O_CLOEXEC, 0);
        assert_ne!(flags & libc::O_NONBLOCK, 0);
    }
}
