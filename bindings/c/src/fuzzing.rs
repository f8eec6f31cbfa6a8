//! The fuzz target of this crate: every call with arguments that nobody chose, short of dangling pointers (P7). Its two drivers are those of `src/fuzzing` in the
//! core: libFuzzer, and the test that replays `fuzz/seeds/c_arguments`.
//!
//! The calls go to the exported functions, as C's would. An array that C would give lives in a block of exactly its size, so that AddressSanitizer, which
//! libFuzzer runs with, sees a read behind its end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a target fails by panicking")]

use std::ffi::{CString, c_char};
use std::mem::offset_of;
use std::ptr;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::config::{ackbus_config, ackbus_config_clone, ackbus_config_free, ackbus_config_get, ackbus_config_new, ackbus_config_set, ackbus_config_set_topic};
use crate::error::{ACKBUS_ERR_INTERNAL, ACKBUS_OK, ackbus_error, ackbus_error_free, ackbus_error_message, ackbus_error_status, ackbus_status};
use crate::handle::Call;
use crate::layout::Plain;
use crate::message::{ackbus_header, ackbus_message};
use crate::packed::{ackbus_packed, ackbus_publisher_publish_packed};
use crate::poll::ackbus_publisher_poll;
use crate::publish::{ackbus_publisher_publish, ackbus_publisher_publish_batch, ackbus_publisher_publish_msg};
use crate::publisher::{ackbus_publisher, ackbus_publisher_connect};
use crate::report::{ackbus_report, ackbus_reports_data, ackbus_reports_free};
use crate::text::ackbus_str;

// SAFETY: `repr(C)`, made of integers and raw pointers. Only here does anybody read what C reads.
unsafe impl Plain for ackbus_report {}

/// Longer than any text is read.
const WILD: usize = (1 << 20) + 1;

/// The target.
pub fn c_arguments(data: &[u8]) {
    // One publisher for all inputs, and its reports are counted.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut input = Input(data);
    let accepted = match input.byte() % 5 {
        0 => config(&mut input),
        1 => one(&mut input),
        2 => batch(&mut input),
        3 => packed(&mut input),
        _ => plain(&mut input),
    };
    reports(accepted);
}

/// The fuzzer's bytes, taken piece by piece.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// A length, and as many bytes, if there are so many, in a block of their own.
    fn block(&mut self) -> Box<[u8]> {
        let len = usize::from(self.byte()).min(self.0.len());
        let (block, rest) = self.0.split_at(len);
        self.0 = rest;
        block.into()
    }

    /// A C string, or NULL.
    fn c_text(&mut self) -> Option<CString> {
        let bytes = self.block();
        (self.byte() != 0xff).then(|| CString::new(bytes.split(|&byte| byte == 0).next().unwrap_or_default()).expect("no NUL inside"))
    }
}

fn pointer(text: &Option<CString>) -> *const c_char {
    text.as_ref().map_or(ptr::null(), |text| text.as_ptr())
}

/// Looks at what a call returned. What was in the error's place before must not matter.
fn done(call: impl FnOnce(*mut *mut ackbus_error) -> ackbus_status) -> ackbus_status {
    let mut error: *mut ackbus_error = ptr::without_provenance_mut(1);
    let status = call(&raw mut error);
    assert_ne!(status, ACKBUS_ERR_INTERNAL, "a panic inside");
    assert_eq!(status == ACKBUS_OK, error.is_null());
    if !error.is_null() {
        // SAFETY: an error that the library gave a moment ago.
        let (same, text) = unsafe { (ackbus_error_status(error), ackbus_error_message(error)) };
        assert_eq!(status, same);
        assert!(!shown(text).is_empty(), "an error says what was wrong");
        // SAFETY: as above, and this is its last use.
        unsafe { ackbus_error_free(error) };
    }
    status
}

/// A text that the library hands out: UTF-8, and a NUL byte behind it.
fn shown(text: ackbus_str) -> String {
    // SAFETY: a view that the library gave, and that still stands.
    let call = unsafe { Call::from_c() };
    let bytes = call.slice::<u8>(text.data.cast(), text.len + 1, "a text").expect("a text");
    assert_eq!(bytes.last(), Some(&0), "it ends with NUL");
    String::from_utf8(bytes[..text.len].to_vec()).expect("it is UTF-8")
}

/// Options and topic rules.
fn config(input: &mut Input<'_>) -> usize {
    let mut config = ackbus_config_new();
    while !input.0.is_empty() {
        let (kind, key, value) = (input.byte(), input.c_text(), input.c_text());
        // A handle of another type is told from a config, and NULL is.
        let target: *mut ackbus_config = match kind / 32 {
            6 => ptr::null_mut(),
            7 => publisher().cast(),
            _ => config,
        };
        match kind % 4 {
            // SAFETY: handles of the library, C strings or NULL.
            0 => drop(done(|error| unsafe { ackbus_config_set(target, pointer(&key), pointer(&value), error) })),
            1 => {
                let pattern = input.c_text();
                // SAFETY: as above.
                done(|error| unsafe { ackbus_config_set_topic(target, pointer(&pattern), pointer(&key), pointer(&value), error) });
            }
            2 => {
                let mut buffer = vec![0x55_u8; usize::from(input.byte())].into_boxed_slice();
                let mut len = usize::MAX;
                let (at, cap) = (buffer.as_mut_ptr().cast(), buffer.len());
                // SAFETY: as above, and a buffer with its size.
                let status = done(|error| unsafe { ackbus_config_get(target, pointer(&key), at, cap, &raw mut len, error) });
                if status == ACKBUS_OK && cap > 0 {
                    assert_eq!(buffer[len], 0, "it ends with NUL");
                } else {
                    assert!(buffer.iter().all(|&byte| byte == 0x55), "after an error nothing is written");
                }
            }
            _ => {
                // SAFETY: handles of the library; the old one is not used again.
                unsafe {
                    let copy = ackbus_config_clone(config);
                    ackbus_config_free(config);
                    config = copy;
                }
            }
        }
    }
    // SAFETY: the last use of it.
    unsafe { ackbus_config_free(config) };
    0
}

/// What a message points to; kept for as long as it is used.
#[derive(Default)]
struct Owned {
    blocks: Vec<Box<[u8]>>,
    headers: Vec<Box<[ackbus_header]>>,
}

impl Owned {
    /// A pointer and a length: of a block, NULL, or with a length that must be refused before the pointer is looked at.
    fn view(&mut self, input: &mut Input<'_>, wild: usize) -> (*const u8, usize) {
        match input.byte() {
            255 => (ptr::null(), usize::from(input.byte())),
            254 => (ptr::without_provenance(16), wild.saturating_add(usize::from(input.byte()))),
            _ => {
                self.blocks.push(input.block());
                let block = &self.blocks[self.blocks.len() - 1];
                (block.as_ptr(), block.len())
            }
        }
    }

    fn text(&mut self, input: &mut Input<'_>) -> ackbus_str {
        let (data, len) = self.view(input, WILD);
        ackbus_str { data: data.cast(), len }
    }

    /// The words of an `ackbus_message`, one for each field of eight bytes.
    fn message(&mut self, input: &mut Input<'_>) -> Vec<u64> {
        let topic = self.text(input);
        let (payload, payload_len) = self.view(input, isize::MAX as usize + 1);
        let count = usize::from(input.byte() % 4);
        let headers: Box<[ackbus_header]> = (0..count).map(|_| ackbus_header { name: self.text(input), value: self.text(input) }).collect();
        let (at, count) = match input.byte() {
            255 => (ptr::null(), count),
            254 => (ptr::without_provenance(16), usize::MAX - count),
            253 => (headers.as_ptr().wrapping_byte_add(1), count),
            _ => (headers.as_ptr(), count),
        };
        self.headers.push(headers);
        let texts = [self.text(input), self.text(input), self.text(input)];
        let mut words = vec![0, topic.data as u64, topic.len as u64, payload as u64, payload_len as u64, at as u64, count as u64];
        words.extend(texts.iter().flat_map(|text| [text.data as u64, text.len as u64]));
        // Sequences, times and the tag, most of them 0.
        for _ in 0..6 {
            words.push(if input.byte() > 128 { input.word() } else { 0 });
        }
        words.push(u64::from(input.byte()) << (8 * (input.byte() & 1)));
        for text in [self.text(input), self.text(input)] {
            words.extend([text.data as u64, text.len as u64]);
        }
        assert_eq!(words.len() * 8, size_of::<ackbus_message>());
        words
    }
}

/// A struct of another version: cut or longer, in a block of exactly its size.
fn resized(mut words: Vec<u64>, input: &mut Input<'_>) -> Box<[u64]> {
    let len = match input.byte() {
        0..200 => words.len(),
        more => usize::from(more - 200),
    };
    words.resize(len.max(1), 0xaaaa_aaaa_aaaa_aaaa);
    words[0] = words.len() as u64 * 8;
    words.into()
}

/// `ackbus_publisher_publish_msg`.
fn one(input: &mut Input<'_>) -> usize {
    let mut owned = Owned::default();
    let words = owned.message(input);
    let mut words = resized(words, input);
    // Sizes that no struct has; the struct must not be looked at then.
    match input.byte() {
        250 => words[0] = 0,
        251 => words[0] -= 1,
        252 => words[0] = 4097,
        253 => words[0] = u64::MAX,
        _ => {}
    }
    let at: *const ackbus_message = if input.byte() == 255 { ptr::null() } else { words.as_ptr().cast() };
    let mut id = 0;
    // SAFETY: a struct as large as it says, with pointers to what is owned, or with lengths that are refused.
    let status = done(|error| unsafe { ackbus_publisher_publish_msg(publisher(), at, &raw mut id, error) });
    assert_eq!(status == ACKBUS_OK, id > 0);
    usize::from(status == ACKBUS_OK)
}

/// `ackbus_publisher_publish_batch`.
fn batch(input: &mut Input<'_>) -> usize {
    let mut owned = Owned::default();
    let count = usize::from(input.byte() % 5);
    let shape = input.byte();
    let mut words = Vec::new();
    for _ in 0..count {
        let message = owned.message(input);
        words.extend(resized(message, &mut Input(&[shape])));
    }
    let words = words.into_boxed_slice();
    let mut ids = vec![0_u64; count].into_boxed_slice();
    let mut accepted = usize::MAX;
    let told = if input.byte() == 255 { usize::MAX } else { count };
    let at: *const ackbus_message = if input.byte() == 255 || count == 0 { ptr::null() } else { words.as_ptr().cast() };
    // SAFETY: as many structs as are told, or more than memory has, each as large as it says.
    let status = done(|error| unsafe { ackbus_publisher_publish_batch(publisher(), at, told, ids.as_mut_ptr(), &raw mut accepted, error) });
    accepted_prefix(status, &ids, accepted)
}

fn accepted_prefix(status: ackbus_status, ids: &[u64], accepted: usize) -> usize {
    assert!(accepted <= ids.len(), "{accepted} of {} were accepted", ids.len());
    assert!(status != ACKBUS_OK || accepted == ids.len());
    assert!(ids[..accepted].is_sorted_by(|a, b| a < b) && !ids[..accepted].contains(&0) && ids[accepted..].iter().all(|&id| id == 0), "{ids:?}");
    accepted
}

/// `ackbus_publisher_publish_packed`: all of it are numbers, so all of it comes from the input.
fn packed(input: &mut Input<'_>) -> usize {
    let slab = input.block();
    let stride = match input.byte() {
        0..200 => size_of::<ackbus_packed>(),
        more => usize::from(more - 200) * 8 + usize::from(input.byte() == 255),
    };
    let room: Box<[u8]> = input.0.into();
    // More messages than there are bytes for would be a dangling pointer, unless the stride is one that is refused.
    let usable = stride >= offset_of!(ackbus_packed, headers) && stride.is_multiple_of(8);
    let count = if usable { room.len() / stride } else { 3 };
    let mut ids = vec![0_u64; count].into_boxed_slice();
    let mut accepted = usize::MAX;
    let (at, slab_at) = (room.as_ptr().cast(), slab.as_ptr());
    // SAFETY: as many structs and bytes as are told.
    let call =
        |error| unsafe { ackbus_publisher_publish_packed(publisher(), at, count, stride, slab_at, slab.len(), ids.as_mut_ptr(), &raw mut accepted, error) };
    let status = done(call);
    accepted_prefix(status, &ids, accepted)
}

/// `ackbus_publisher_publish`.
fn plain(input: &mut Input<'_>) -> usize {
    let mut owned = Owned::default();
    let (topic, topic_len) = owned.view(input, WILD);
    let (payload, payload_len) = owned.view(input, isize::MAX as usize + 1);
    let mut id = 0;
    // SAFETY: views of what is owned, or with lengths that are refused.
    let call = |error| unsafe { ackbus_publisher_publish(publisher(), topic.cast(), topic_len, payload.cast(), payload_len, 7, &raw mut id, error) };
    let status = done(call);
    assert_eq!(status == ACKBUS_OK, id > 0);
    usize::from(status == ACKBUS_OK)
}

/// The publisher of all inputs: in memory, and polled.
fn publisher() -> *mut ackbus_publisher {
    static ADDRESS: OnceLock<usize> = OnceLock::new();
    let address = ADDRESS.get_or_init(|| {
        let config = ackbus_config_new();
        for (key, value) in [(c"servers", c"memory:"), (c"report", c"all"), (c"on_full", c"fail"), (c"log_level", c"off")] {
            // SAFETY: a handle and C strings.
            assert_eq!(done(|error| unsafe { ackbus_config_set(config, key.as_ptr(), value.as_ptr(), error) }), ACKBUS_OK);
        }
        let mut publisher = ptr::null_mut();
        // SAFETY: a handle, which is not used again.
        unsafe {
            assert_eq!(done(|error| ackbus_publisher_connect(config, &raw mut publisher, error)), ACKBUS_OK);
            ackbus_config_free(config);
        }
        publisher.expose_provenance()
    });
    ptr::with_exposed_provenance_mut(*address)
}

/// P1: exactly so many reports come, and show what C may read.
fn reports(accepted: usize) {
    let mut seen = 0;
    while seen < accepted {
        let mut batch = ptr::null_mut();
        // SAFETY: a handle, and a place for the batch.
        assert_eq!(done(|error| unsafe { ackbus_publisher_poll(publisher(), 100, 60_000, &raw mut batch, error) }), ACKBUS_OK);
        let (mut count, mut stride) = (0, 0);
        // SAFETY: a batch of the library's.
        let first = unsafe { ackbus_reports_data(batch, &raw mut count, &raw mut stride) };
        assert!(count > 0, "P1: {} reports did not come", accepted - seen);
        assert_eq!(stride, size_of::<ackbus_report>());
        // SAFETY: as many reports as the library says, until the batch is freed.
        let call = unsafe { Call::from_c() };
        for report in call.slice(first, count, "reports").expect("reports") {
            assert!(!shown(report.topic).is_empty());
            for text in [report.msg_id, report.stream, report.text, report.domain] {
                shown(text);
            }
            call.slice::<u8>(report.payload.cast(), report.payload_len, "payload").expect("a payload");
        }
        seen += count;
        // SAFETY: the last use of it.
        unsafe { ackbus_reports_free(batch) };
    }
    assert_eq!(seen, accepted, "P1: one report for each");
}

#[cfg(test)]
#[test]
fn the_seeds_are_replayed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/c_arguments");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 5, "too few seeds");
    for file in files {
        let seed = std::fs::read(&file).unwrap();
        let ran = std::thread::spawn(move || c_arguments(&seed)).join();
        assert!(ran.is_ok(), "it fails on {}", file.display());
    }
}
