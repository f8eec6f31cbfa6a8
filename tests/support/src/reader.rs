//! An independent client: what it reads is what the stream holds.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::stream::{RetentionPolicy, Stream};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, HeaderMap, ServerAddr};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use serde_json::Value;

use crate::background::Background;

/// The configuration of a stream, with the JetStream API's names.
pub use async_nats::jetstream::stream::Config as StreamConfig;
/// What the server says of a stream: configuration, state, cluster.
pub use async_nats::jetstream::stream::Info as StreamInfo;

/// One request, with its retries: a server that just started, or a stream without a leader, needs a moment.
const PATIENCE: Duration = Duration::from_secs(30);
/// The next message of a stream that has more.
const NEXT: Duration = Duration::from_secs(5);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMsg {
    /// Its place in the stream, from 1.
    pub seq: u64,
    /// The subject it was stored under.
    pub subject: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its `Nats-Msg-Id`, if it has one.
    pub msg_id: Option<String>,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl StoredMsg {
    fn new(seq: u64, subject: &str, headers: HeaderMap, payload: &[u8]) -> Self {
        let msg_id = headers.get("Nats-Msg-Id").map(|id| id.as_str().to_owned());
        StoredMsg { seq, subject: subject.to_owned(), headers, msg_id, payload: payload.to_vec() }
    }
}

/// A client of its own, built on async-nats. It reconnects by itself, and repeats what failed for up to 30 s.
#[derive(Debug)]
pub struct Reader {
    client: Client,
    context: Context,
    background: Arc<Background>,
}

impl Reader {
    /// Connects to `url`, or to one of several separated by commas. `nats://user:password@host:port` and `nats://token@host:port` are understood.
    ///
    /// # Panics
    /// When no server lets it in.
    #[must_use]
    pub fn connect(url: &str) -> Self {
        Reader::connect_with(url, ConnectOptions::new())
    }

    /// The same with options, for TLS, nkeys and credentials.
    ///
    /// # Panics
    /// When no server lets it in.
    #[must_use]
    pub fn connect_with(url: &str, options: ConnectOptions) -> Self {
        let background = Arc::new(Background::start("test-reader"));
        let servers: Vec<ServerAddr> = url.split(',').map(|one| one.parse().unwrap_or_else(|error| panic!("{one} is no server's URL: {error}"))).collect();
        // async-nats leaves what is before the @ to its caller.
        let options = match servers[0].username().map(|user| (user.to_owned(), servers[0].password().map(str::to_owned))) {
            Some((user, Some(password))) => options.user_and_password(user, password),
            Some((token, None)) => options.token(token),
            None => options,
        };
        let options = options.name("ackbus-test-reader").reconnect_delay_callback(|_| Duration::from_millis(50)).connection_timeout(PATIENCE);
        let connected = background.wait(async { options.connect(servers).await.map(|client| (jetstream::new(client.clone()), client)) });
        let (context, client) = connected.unwrap_or_else(|error| panic!("the reader cannot connect to {url}: {error}"));
        Reader { client, context, background }
    }

    /// Creates a stream in a file that takes `subjects`.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn create_stream(&self, name: &str, subjects: &[&str]) -> StreamInfo {
        let subjects = subjects.iter().map(|&subject| subject.to_owned()).collect();
        self.create_stream_with(StreamConfig { name: name.to_owned(), subjects, ..Default::default() })
    }

    /// Creates a stream.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn create_stream_with(&self, config: StreamConfig) -> StreamInfo {
        self.retry(&format!("create stream {}", config.name), || async { Ok(self.context.create_stream(&config).await?.cached_info().clone()) })
    }

    /// Changes a stream.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn update_stream(&self, config: StreamConfig) -> StreamInfo {
        self.retry(&format!("update stream {}", config.name), || async { Ok(self.context.update_stream(&config).await?) })
    }

    /// What the server says of the stream; `None` if it does not exist or nobody answers for it.
    #[must_use]
    pub fn stream_info(&self, name: &str) -> Option<StreamInfo> {
        self.background.wait(async { self.context.get_stream(name).await.ok().map(|stream| stream.cached_info().clone()) })
    }

    /// The number of messages in the stream.
    ///
    /// # Panics
    /// When there is no such stream.
    #[must_use]
    pub fn message_count(&self, name: &str) -> u64 {
        self.retry(&format!("count stream {name}"), || async { Ok(self.context.get_stream(name).await?.cached_info().state.messages) })
    }

    /// Every message of the stream, in its order.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn read_all(&self, name: &str) -> Vec<StoredMsg> {
        self.retry(&format!("read stream {name}"), || async {
            let stream = self.context.get_stream(name).await?;
            // A consumer on these would take the messages away, or is not allowed. And async-nats cannot read what consumers deliver from a stream with a blank of
            // Unicode in its name, such as NBSP: its parser takes lines apart there.
            let readable = !name.chars().any(char::is_whitespace);
            let consumable = readable && stream.cached_info().config.retention == RetentionPolicy::Limits;
            if consumable { consume(&stream).await } else { fetch_each(&stream).await }
        })
    }

    /// Deletes the stream.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn delete_stream(&self, name: &str) {
        self.background.wait(self.context.delete_stream(name)).unwrap_or_else(|error| panic!("delete stream {name}: {error}"));
    }

    /// Subscribes to a subject without JetStream; returns when the server knows of it.
    ///
    /// # Panics
    /// When there is no connection.
    #[must_use]
    pub fn subscribe(&self, subject: &str) -> Subscription {
        let subscriber = self.background.wait(async {
            let subscriber = self.client.subscribe(subject.to_owned()).await?;
            round_trip(&self.client).await?;
            Ok::<_, Failure>(subscriber)
        });
        let subscriber = subscriber.unwrap_or_else(|error| panic!("subscribe to {subject}: {error}"));
        Subscription { subscriber, client: self.client.clone(), background: Arc::clone(&self.background) }
    }

    /// Answers every request on a subject with this payload, as a service does that is no stream, until what it returns is dropped. The server knows of it
    /// when it returns.
    ///
    /// # Panics
    /// When there is no connection.
    #[must_use]
    pub fn answer(&self, subject: &str, payload: &[u8]) -> Service {
        let Subscription { mut subscriber, client, background } = self.subscribe(subject);
        let payload = payload.to_vec();
        let task = background.spawn(async move {
            while let Some(request) = subscriber.next().await {
                if let Some(inbox) = request.reply {
                    // Without a connection nobody waits for it.
                    let _ = client.publish(inbox, payload.clone().into()).await;
                }
            }
        });
        Service { task, _background: background }
    }

    /// Publishes and waits until it is stored; returns its place in the stream.
    ///
    /// # Panics
    /// When it is not stored.
    pub fn publish(&self, subject: &str, payload: &[u8]) -> u64 {
        let payload = payload.to_vec();
        let stored = self.background.wait(async { self.context.publish(subject.to_owned(), payload.into()).await?.await });
        stored.unwrap_or_else(|error| panic!("publish to {subject}: {error}")).sequence
    }

    /// Publishes without JetStream; returns when the server has it.
    ///
    /// # Panics
    /// When there is no connection.
    pub fn send(&self, subject: &str, payload: &[u8]) {
        let payload = payload.to_vec();
        let sent = self.background.wait(async {
            self.client.publish(subject.to_owned(), payload.into()).await?;
            round_trip(&self.client).await?;
            Ok::<_, Failure>(())
        });
        sent.unwrap_or_else(|error| panic!("send to {subject}: {error}"));
    }

    /// Sends a request and returns the reply's payload.
    ///
    /// # Panics
    /// When none comes.
    #[must_use]
    pub fn request(&self, subject: &str, payload: &[u8]) -> Vec<u8> {
        let payload = payload.to_vec();
        let reply = self.background.wait(self.client.request(subject.to_owned(), payload.into()));
        reply.unwrap_or_else(|error| panic!("request to {subject}: {error}")).payload.to_vec()
    }

    /// Asks the JetStream API, such as `STREAM.INFO.ORDERS`, and returns its answer. Nobody's answer, or a stream without a leader, is asked again.
    ///
    /// # Errors
    /// The server's refusal: its `error` object.
    ///
    /// # Panics
    /// When nobody answers.
    pub fn api(&self, subject: &str, body: &Value) -> Result<Value, Value> {
        const UNAVAILABLE: u64 = 10008;
        let payload = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer: Value = self.retry(subject, || async {
            let reply = self.client.request(format!("$JS.API.{subject}"), payload.clone().into()).await?;
            let answer: Value = serde_json::from_slice(&reply.payload)?;
            if answer["error"]["err_code"] == UNAVAILABLE { Err(answer["error"].to_string().into()) } else { Ok(answer) }
        });
        if answer["error"].is_null() { Ok(answer) } else { Err(answer["error"].clone()) }
    }

    fn retry<T, F: Future<Output = Result<T, Failure>>>(&self, what: &str, mut work: impl FnMut() -> F) -> T {
        let start = Instant::now();
        loop {
            match self.background.wait(work()) {
                Ok(done) => return done,
                Err(error) if start.elapsed() > PATIENCE => panic!("{what}: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }
}

/// A service that answers requests until it is dropped.
#[derive(Debug)]
pub struct Service {
    task: tokio::task::JoinHandle<()>,
    _background: Arc<Background>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Messages of a subject, as they come.
#[derive(Debug)]
pub struct Subscription {
    subscriber: async_nats::Subscriber,
    client: Client,
    background: Arc<Background>,
}

impl Subscription {
    /// The next message: subject and payload. `None` when none comes within `limit`.
    pub fn next(&mut self, limit: Duration) -> Option<(String, Vec<u8>)> {
        let message = self.background.wait(async { tokio::time::timeout(limit, self.subscriber.next()).await }).ok()??;
        Some((message.subject.to_string(), message.payload.to_vec()))
    }

    /// Everything that the server had for this subscription when this was called, and no more waiting.
    ///
    /// # Panics
    /// When there is no connection.
    pub fn rest(&mut self) -> Vec<(String, Vec<u8>)> {
        self.background.wait(round_trip(&self.client)).unwrap_or_else(|error| panic!("read a subscription: {error}"));
        let ready = std::iter::from_fn(|| self.subscriber.next().now_or_never().flatten());
        ready.map(|message| (message.subject.to_string(), message.payload.to_vec())).collect()
    }
}

/// Returns when the server has read all that the client sent, and the client all that the server had for it. The client's own `flush` waits for the socket alone.
async fn round_trip(client: &Client) -> Result<(), Failure> {
    let inbox = client.new_inbox();
    let mut echo = client.subscribe(inbox.clone()).await?;
    client.publish(inbox, Vec::new().into()).await?;
    tokio::time::timeout(PATIENCE, echo.next()).await?.ok_or("the connection ended")?;
    Ok(())
}

/// Reads with an ordered consumer, the fast way.
async fn consume(stream: &Stream) -> Result<Vec<StoredMsg>, Failure> {
    let mut all = Vec::new();
    let held = stream.cached_info().state.messages;
    if held == 0 {
        return Ok(all);
    }
    let mut messages = stream.create_consumer(OrderedConfig::default()).await?.messages().await?;
    loop {
        let message = tokio::time::timeout(NEXT, messages.next()).await?.ok_or("the consumer ended")??;
        let info = message.info()?;
        let (seq, pending) = (info.stream_sequence, info.pending);
        all.push(StoredMsg::new(seq, &message.subject, message.headers.clone().unwrap_or_default(), &message.payload));
        // A consumer beside a replica that is still catching up thinks that it is at the end (seen with 2.10).
        if pending == 0 && all.len() as u64 >= held {
            return Ok(all);
        }
    }
}

/// Reads one message after the other by its number. Leaves no trace in the stream.
async fn fetch_each(stream: &Stream) -> Result<Vec<StoredMsg>, Failure> {
    let state = &stream.cached_info().state;
    let found: Vec<Option<StoredMsg>> = stream::iter(state.first_sequence..=state.last_sequence)
        .map(|seq| async move {
            match stream.get_raw_message(seq).await {
                Ok(message) => Ok(Some(StoredMsg::new(seq, &message.subject, message.headers, &message.payload))),
                Err(error) if matches!(error.kind(), jetstream::stream::RawMessageErrorKind::NoMessageFound) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .buffered(64)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}
