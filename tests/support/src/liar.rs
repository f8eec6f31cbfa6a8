//! A server that plays a script, whatever its clients make of it.

mod script;
mod scripts;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::background::Background;
use crate::choose;
use crate::frames::{Splitter, Verb};
use crate::interest::Interest;
use crate::port::Port;
pub use script::{Script, Step};

/// A server on 127.0.0.1 that plays one script to each connection. Dropping it ends its connections.
#[derive(Debug)]
pub struct Liar {
    port: Port,
    accepted: Arc<AtomicU64>,
    _background: Background,
}

impl Liar {
    /// Listens when it returns.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn start(script: Script) -> Self {
        let (port, background) = (Port::take().expect("a free port"), Background::start("test-liar"));
        let listener = port.listen().expect("a listening port");
        listener.set_nonblocking(true).expect("a listening port");
        let accepted = Arc::new(AtomicU64::new(0));
        background.spawn(serve(listener, script, Arc::clone(&accepted)));
        Liar { port, accepted, _background: background }
    }

    /// All scripts that are ready to be played, each with its name.
    #[must_use]
    pub fn scripts() -> Vec<(&'static str, Script)> {
        scripts::all()
    }

    /// `nats://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// The address for clients.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

async fn serve(listener: std::net::TcpListener, script: Script, accepted: Arc<AtomicU64>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let script = Arc::new(script);
    while let Ok((client, _)) = listener.accept().await {
        accepted.fetch_add(1, Ordering::Relaxed);
        let script = Arc::clone(&script);
        tokio::spawn(async move {
            let _ = client.set_nodelay(true);
            // A client that has had enough ends the play, and that is no error.
            let _ = Play { client, splitter: Splitter::default(), interest: Interest::default() }.all(&script).await;
        });
    }
}

/// One connection.
struct Play {
    client: TcpStream,
    splitter: Splitter,
    interest: Interest,
}

impl Play {
    async fn all(mut self, script: &Script) -> io::Result<()> {
        for step in script.steps() {
            match step {
                Step::Send(bytes) => self.client.write_all(bytes).await?,
                Step::Wait(verbs) => self.wait(verbs).await?,
                Step::Answer(template) => self.answer(template).await?,
                Step::Flood { bytes, limit } => {
                    let mut left = *limit;
                    while left > 0 {
                        let now = &bytes[..bytes.len().min(left)];
                        self.client.write_all(now).await?;
                        left -= now.len();
                    }
                }
                Step::Close => {
                    self.client.shutdown().await?;
                    break;
                }
                Step::Reset => return SockRef::from(&self.client).set_linger(Some(Duration::ZERO)),
            }
        }
        // It stays, and listens, until the client goes. After a farewell too: to close with bytes unread would be a reset.
        while self.frame().await.is_ok() {}
        Ok(())
    }

    /// Reads until a frame begins with one of `verbs`. Other PINGs get their PONG, so that the client goes on.
    async fn wait(&mut self, verbs: &[&str]) -> io::Result<()> {
        loop {
            let (verb, frame) = self.frame().await?;
            if verbs.iter().any(|verb| frame.starts_with(verb.as_bytes())) {
                return Ok(());
            }
            if verb == Verb::Ping {
                self.client.write_all(b"PONG\r\n").await?;
            }
        }
    }

    /// Answers publishes, and PINGs, until the client goes.
    async fn answer(&mut self, template: &[u8]) -> io::Result<()> {
        loop {
            match self.frame().await? {
                (Verb::Pub, frame) => {
                    let reply = choose::reply_subject(&frame).unwrap_or("nobody");
                    let answer = script::filled(template, reply, self.interest.sid(reply).unwrap_or("1"));
                    self.client.write_all(&answer).await?;
                }
                (Verb::Ping, _) => self.client.write_all(b"PONG\r\n").await?,
                _ => {}
            }
        }
    }

    /// The client's next frame. An error when there is none.
    async fn frame(&mut self) -> io::Result<(Verb, Vec<u8>)> {
        let mut buffer = [0; 16 * 1024];
        loop {
            if let Some((verb, frame)) = self.splitter.next() {
                let frame = frame.to_vec();
                self.interest.learn(&frame);
                return Ok((verb, frame));
            }
            match self.client.read(&mut buffer).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.splitter.push(&buffer[..count]),
            }
        }
    }
}
