//! Reach: from a server's name to an open socket.
//!
//! Addresses are tried one after the other. A race of addresses belongs here: it needs the time of the round, which `Dialing::poll` has.

use std::fmt::Display;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use crate::base::error::{Error, Result, Status};
use crate::config::servers::ServerUrl;
use crate::runtime::network::{Later, Network};

/// On the way to one server.
pub(super) struct Reach<N: Network> {
    server: ServerUrl,
    step: Step<N::Socket>,
    /// Why the last address could not be opened.
    last: Error,
}

enum Step<S> {
    Resolving(Later<Vec<SocketAddr>>),
    Opening(Later<S>, std::vec::IntoIter<SocketAddr>),
}

fn failed(server: &ServerUrl, what: impl Display) -> Error {
    Error::new(Status::ConnectFailed, format!("{server}: {what}"))
}

impl<N: Network> Reach<N> {
    pub(super) fn new(network: &N, server: &ServerUrl) -> Self {
        Reach { step: Step::Resolving(network.resolve(&server.host, server.port)), last: failed(server, "the name has no address"), server: server.clone() }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, network: &N) -> Poll<Result<N::Socket>> {
        loop {
            let rest = match &mut self.step {
                Step::Resolving(resolving) => match resolving.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(addresses)) => addresses.into_iter(),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(failed(&self.server, format_args!("the name cannot be resolved: {error}")))),
                },
                Step::Opening(opening, rest) => match opening.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(socket)) => return Poll::Ready(Ok(socket)),
                    Poll::Ready(Err(error)) => {
                        self.last = failed(&self.server, error);
                        std::mem::take(rest)
                    }
                },
            };
            let mut rest = rest;
            match rest.next() {
                Some(address) => self.step = Step::Opening(network.open(address), rest),
                None => return Poll::Ready(Err(self.last.clone())),
            }
        }
    }
}
