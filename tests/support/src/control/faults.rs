//! Requests about what a proxy does to single frames.

use std::time::Duration;

use super::request::FrameAction;
use crate::{Action, Proxy, choose};

type Pick = Box<dyn FnMut() -> bool + Send>;

/// Which frames of their kind are met. Without anything it is the first.
pub(super) fn pick(from: Option<u64>, count: Option<u64>, percent: Option<f64>, seed: Option<u64>) -> Result<Pick, String> {
    match (percent, from.is_some() || count.is_some()) {
        (Some(_), true) => Err("there are both a percent and a from or count; allowed: one way to choose".into()),
        (None, _) if seed.is_some() => Err("there is a seed without a percent".into()),
        (Some(percent), false) if !(0.0..=100.0).contains(&percent) => Err(format!("{percent} percent; allowed: 0 to 100")),
        (Some(percent), false) => Ok(Box::new(choose::percent(percent, seed.unwrap_or(1)))),
        (None, _) => Ok(Box::new(choose::from(from.unwrap_or(1), count.unwrap_or(1)))),
    }
}

pub(super) fn on_reply(proxy: &Proxy, action: FrameAction, pick: Pick) -> Result<(), String> {
    if matches!(action, FrameAction::ZeroSeqDuplicate { .. }) {
        return Err("zero_seq_duplicate answers a publish; a reply cannot be answered".into());
    }
    proxy.filter(choose::acks(pick, move |frame| done_to(frame, &action)));
    Ok(())
}

pub(super) fn on_publish(proxy: &Proxy, action: FrameAction, pick: Pick) {
    proxy.filter_up(choose::publishes(pick, move |frame| done_to(frame, &action)));
}

fn done_to(frame: &[u8], action: &FrameAction) -> Action {
    match action {
        FrameAction::Drop => Action::Drop,
        FrameAction::Duplicate => Action::Duplicate,
        FrameAction::Cut => Action::Reset,
        FrameAction::Tear { bytes } => Action::Cut(*bytes),
        FrameAction::Delay { ms } => Action::Delay(Duration::from_millis(*ms)),
        // The frame's length is in its first line: a replacement is as long as what it replaces.
        FrameAction::Replace { find, with } => Action::Replace(String::from_utf8_lossy(frame).replace(find, with).into_bytes()),
        FrameAction::Corrupt => Action::Replace(choose::corrupt(frame)),
        FrameAction::ZeroSeqDuplicate { stream } => choose::zero_seq_duplicate(frame, stream),
    }
}
