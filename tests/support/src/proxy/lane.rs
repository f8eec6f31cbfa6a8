//! One direction of one connection: a reader cuts what comes into frames and asks what to do with each, a writer says when the result goes out.
//!
//! Bytes are always cut into frames, also while nobody asks about them. A filter that is set in mid-connection then sees whole frames, injected bytes
//! find the gap between two of them, and a blackhole takes none in halves; it costs one search per line.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::choose;
use super::connection::Session;
use super::line::End;
use super::settings::{Gate, Settings, Side};
use super::{Action, Shared};
use crate::frames::{Splitter, Verb};

/// How many bytes may be under way in one direction before its sender has to wait, and how many a hold keeps of a client that does not wait.
const UNDER_WAY: usize = 256 << 10;
const KEPT: usize = 64 << 20;
/// How much of the time in which a slow link was idle counts.
const CREDIT: Duration = Duration::from_millis(20);

/// One direction.
pub(super) struct Lane<'a> {
    pub(super) side: Side,
    pub(super) shared: &'a Shared,
    pub(super) session: &'a Session,
}

impl Lane<'_> {
    /// Carries bytes until all that came is written. An error is one that both sides shall see.
    pub(super) async fn carry(&self, from: ReadHalf<TcpStream>, source: &Socket, to: WriteHalf<TcpStream>) -> io::Result<()> {
        let write = self.write(to);
        tokio::pin!(write);
        tokio::select! {
            biased;
            ended = &mut write => return ended,
            () = self.read(from, source) => {}
        }
        write.await
    }

    /// Reads until the direction ends, in whatever way; the end waits in line like all before it.
    async fn read(&self, mut from: ReadHalf<TcpStream>, source: &Socket) {
        let mut settings = self.shared.settings.subscribe();
        let (mut buffer, mut splitter) = (vec![0; 64 * 1024], Splitter::default());
        let line = self.session.line(self.side);
        loop {
            let held = !settings.borrow().reads(self.side);
            let _ = settings.wait_for(|settings| settings.reads(self.side)).await;
            // A client that has reset its connection takes with it what a hold kept, as it would from a network that passes nothing.
            if held && source.take_error().is_ok_and(|error| error.is_some()) {
                return line.end(End::Reset, settings.borrow().link.delay);
            }
            let keeps = settings.borrow().keeps(self.side);
            let count = tokio::select! {
                biased; // What is sent after a hold is held, even if both are seen at once.
                _ = settings.changed() => continue,
                count = async {
                    line.room(if keeps { KEPT } else { UNDER_WAY }).await;
                    from.read(&mut buffer).await
                } => count,
            };
            let now = *settings.borrow();
            match count {
                Ok(0) => {
                    line.push(splitter.rest().to_vec(), now.link.delay);
                    return line.end(End::Farewell, now.link.delay);
                }
                Ok(count) => {
                    splitter.push(&buffer[..count]);
                    if !self.sort(&mut splitter, now) {
                        return;
                    }
                }
                // The server shall take in what the client has written, and not lose it by a reset.
                Err(_) if keeps => return line.end(End::Farewell, now.link.delay),
                Err(_) => return line.end(End::Reset, now.link.delay),
            }
        }
    }

    /// Puts whole frames in line, or does to them what was asked for. False: nothing comes after them.
    fn sort(&self, splitter: &mut Splitter, settings: Settings) -> bool {
        let (line, back, delay) = (self.session.line(self.side), self.session.line(self.side.other()), settings.link.delay);
        let mut out = Vec::new();
        while let Some((verb, frame)) = splitter.next() {
            if settings.gate(self.side) == Gate::Discard {
                self.shared.discarded.fetch_add(frame.len() as u64, Ordering::Relaxed);
                continue;
            }
            let action = self.shared.judge(self.side, verb, frame);
            if matches!(verb, Verb::Sub | Verb::Unsub) && action == Action::Pass {
                self.session.interest().learn(frame);
            }
            match action {
                Action::Pass => out.extend_from_slice(frame),
                Action::Drop => {}
                Action::Duplicate => out.extend_from_slice(&frame.repeat(2)),
                Action::Replace(other) => out.extend_from_slice(&other),
                Action::Delay(time) => line.push_late(frame.to_vec(), delay + time),
                Action::Answer(bytes) => back.push(bytes, delay),
                Action::Reply(payload) => back.push(self.reply(frame, &payload).unwrap_or_default(), delay),
                Action::Reset => {
                    line.push(out, delay);
                    line.end(End::Reset, delay);
                    return false;
                }
                Action::Cut(count) => {
                    out.extend_from_slice(&frame[..count.min(frame.len())]);
                    line.push(out, delay);
                    line.end(End::Reset, delay);
                    return false;
                }
            }
        }
        line.push(out, delay);
        true
    }

    /// A message to the reply subject of a publish. None if it has none, or the client does not listen there.
    fn reply(&self, publish: &[u8], payload: &[u8]) -> Option<Vec<u8>> {
        let subject = choose::reply_subject(publish)?;
        let interest = self.session.interest();
        let mut frame = format!("MSG {subject} {} {}\r\n", interest.sid(subject)?, payload.len()).into_bytes();
        frame.extend_from_slice(payload);
        frame.extend_from_slice(b"\r\n");
        Some(frame)
    }

    async fn write(&self, mut to: WriteHalf<TcpStream>) -> io::Result<()> {
        let mut settings = self.shared.settings.subscribe();
        let line = self.session.line(self.side);
        let mut free_at = Instant::now();
        loop {
            let piece = line.next().await;
            if settings.borrow().gate(self.side) != Gate::Discard
                && let Err(error) = self.write_piece(&piece.bytes, &mut to, &mut settings, &mut free_at).await
            {
                if self.side == Side::Up {
                    return Ok(()); // The server's last words may still be on their way down.
                }
                if !settings.borrow().keep {
                    return Err(error);
                }
                // The client has gone, and the server is still to take in what was kept of it: its answers go nowhere.
                while line.next().await.end.is_none() {}
                return Ok(());
            }
            let Some(end) = piece.end else { continue };
            let _ = settings.wait_for(|settings| settings.gate(self.side) == Gate::Pass).await;
            return match end {
                End::Farewell => {
                    let _ = to.shutdown().await;
                    Ok(())
                }
                End::Reset => Err(io::ErrorKind::ConnectionReset.into()),
            };
        }
    }

    /// Writes all of it, as fast as the link and in slices as large as it allows; a hold stops it wherever it is.
    async fn write_piece(
        &self,
        bytes: &[u8],
        to: &mut WriteHalf<TcpStream>,
        settings: &mut watch::Receiver<Settings>,
        free_at: &mut Instant,
    ) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let link = settings.wait_for(|settings| settings.gate(self.side) != Gate::Hold).await.map_or_else(|_| Default::default(), |now| now.link);
            let slice = &rest[..link.slice(rest.len())];
            let written = tokio::select! {
                biased;
                _ = settings.changed() => continue,
                written = async {
                    if link.bytes_per_second.is_some() {
                        sleep_until(*free_at).await;
                    }
                    to.write(slice).await
                } => written?,
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            // Timers are late by up to a millisecond: what was lost by that is made up for.
            let now = Instant::now();
            *free_at = (*free_at).max(now.checked_sub(CREDIT).unwrap_or(now)) + link.time_for(written);
            rest = &rest[written..];
        }
        Ok(())
    }
}
