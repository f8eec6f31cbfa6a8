//! An allocator that counts: how often each thread asked for memory, and how much of it the process holds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU64, AtomicUsize, Ordering};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

/// Threads that a test process ever has, and the system's header before each block.
const MOST_THREADS: usize = 4096;
const HEADER: usize = 8;

struct OfThread {
    id: AtomicI32,
    allocations: AtomicU64,
}

static THREADS: [OfThread; MOST_THREADS] = [const { OfThread { id: AtomicI32::new(0), allocations: AtomicU64::new(0) } }; MOST_THREADS];
static BORN: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicI64 = AtomicI64::new(0);

thread_local! {
    /// This thread's place in [`THREADS`], once it has one. Needs neither memory nor a destructor.
    static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
}

fn note() {
    let place = PLACE.get().unwrap_or_else(|| {
        let place = BORN.fetch_add(1, Ordering::Relaxed).min(MOST_THREADS - 1);
        // SAFETY: has no preconditions.
        THREADS[place].id.store(unsafe { libc::gettid() }, Ordering::Relaxed);
        PLACE.set(Some(place));
        place
    });
    THREADS[place].allocations.fetch_add(1, Ordering::Relaxed);
}

/// What the block really takes, with what the system rounds up.
fn taken(block: *mut u8) -> i64 {
    // SAFETY: NULL, or a block of the system allocator that is not yet freed.
    let usable = unsafe { libc::malloc_usable_size(block.cast()) };
    if usable == 0 { 0 } else { (usable + HEADER) as i64 }
}

// SAFETY: every call is passed on to the system's allocator as it came; what is added touches statics only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        let block = unsafe { System.alloc(layout) };
        HELD.fetch_add(taken(block), Ordering::Relaxed);
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as above.
        let block = unsafe { System.alloc_zeroed(layout) };
        HELD.fetch_add(taken(block), Ordering::Relaxed);
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        let before = taken(block);
        // SAFETY: as above.
        let block = unsafe { System.realloc(block, layout, size) };
        HELD.fetch_add(taken(block) - before, Ordering::Relaxed);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.fetch_sub(taken(block), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) };
    }
}

/// How often the calling thread has asked for memory so far.
pub(crate) fn allocations_here() -> u64 {
    PLACE.get().map_or(0, |place| THREADS[place].allocations.load(Ordering::Relaxed))
}

/// The same of the living threads with this name. At least one must have asked.
pub(crate) fn allocations_of(name: &str) -> u64 {
    let counts: Vec<u64> = THREADS
        .iter()
        .take(BORN.load(Ordering::Relaxed))
        .filter(|thread| {
            let comm = fs::read_to_string(format!("/proc/self/task/{}/comm", thread.id.load(Ordering::Relaxed)));
            comm.is_ok_and(|comm| comm.trim_end() == name)
        })
        .map(|thread| thread.allocations.load(Ordering::Relaxed))
        .collect();
    assert!(!counts.is_empty(), "no thread {name} has ever asked for memory");
    counts.iter().sum()
}

/// Bytes that the process holds, as the system counts them.
pub(crate) fn held() -> i64 {
    HELD.load(Ordering::Relaxed)
}
