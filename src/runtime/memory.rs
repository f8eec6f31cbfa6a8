//! The in-memory backend's thread: rounds, and no socket.

use std::sync::Arc;

use crate::base::error::Result;
use crate::bus::lane::Lane;
use crate::bus::shared::Shared;
use crate::handler::Handler;
use crate::runtime::ages::Ages;
use crate::runtime::rounds::{Drive, Round, rounds};
use crate::wire::memory::MemoryWire;

pub(crate) struct MemoryDriver {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    handler: Handler,
    wire: MemoryWire,
}

impl MemoryDriver {
    pub(crate) fn new(shared: &Arc<Shared>, random: u64) -> Self {
        let lane = Arc::clone(shared.lanes.first());
        MemoryDriver {
            shared: Arc::clone(shared),
            handler: Handler::new(Arc::clone(shared), Arc::clone(&lane), random),
            wire: MemoryWire::new(Arc::clone(&shared.rules)),
            lane,
        }
    }
}

impl Drive for MemoryDriver {
    async fn run(&mut self) -> Result<()> {
        let MemoryDriver { shared, lane, handler, wire } = self;
        let mut ages = Ages::new(&shared.clock);
        rounds(&shared.clock, lane, |_| {
            ages.tell(shared, lane, handler);
            let any = wire.deliver(handler);
            let next = handler.turn(wire);
            if handler.may_end() {
                return Round::Done(Ok(()));
            }
            if any || next <= handler.now() { Round::Busy } else { Round::Idle(next) }
        })
        .await
    }

    fn into_handler(self) -> Handler {
        self.handler
    }
}
