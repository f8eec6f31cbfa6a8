//! The test support by lines of JSON, so that tests in any language can drive it.

mod faults;
mod request;
mod streams;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use async_nats::ConnectOptions;
use serde_json::{Map, Value, json};

use crate::{Certs, Cluster, Credentials, Liar, Link, Options, Proxy, Reader, Server, Service, Subscription};
use request::{JetStream, Login, Request, Tls};

/// The fields of an answer.
type Fields = Map<String, Value>;
/// What a request came to: the fields of its answer, or what was wrong.
type Outcome = Result<Fields, String>;

/// Servers, proxies, liars and subscriptions by their numbers, which count from 1. All of it is gone when this value is dropped.
#[derive(Debug, Default)]
pub struct Control {
    // Fields drop in this order: who has a connection goes before whom it leads to.
    subscriptions: Vec<Subscription>,
    services: Vec<Option<Service>>,
    proxies: Vec<Proxy>,
    liars: Vec<Liar>,
    servers: Vec<Entry>,
}

/// One server, and the client that looks into its streams.
#[derive(Debug)]
struct Entry {
    reader: Option<Reader>,
    server: Place,
    base: Options,
    login: Option<Login>,
    tls: Option<Tls>,
    certs: Option<Certs>,
    credentials: Option<Credentials>,
}

/// Where the server lives.
#[derive(Debug)]
enum Place {
    Alone(Box<Server>),
    Member(Arc<Cluster>, usize),
}

impl Control {
    /// Answers one request with one line of JSON, without a line end. What goes wrong is an answer too.
    #[must_use]
    pub fn answer(&mut self, line: &str) -> String {
        // The support panics, because in a Rust test that is how a failure is told.
        let outcome = match serde_json::from_str::<Request>(line) {
            Ok(request) => catch_unwind(AssertUnwindSafe(|| self.handle(request))).unwrap_or_else(|panic| Err(text_of(panic.as_ref()))),
            Err(error) => Err(format!("this is no request: {error}")),
        };
        let mut answer = Fields::new();
        answer.insert("ok".into(), outcome.is_ok().into());
        match outcome {
            Ok(fields) => answer.extend(fields),
            Err(text) => drop(answer.insert("error".into(), text.into())),
        }
        Value::Object(answer).to_string()
    }

    fn handle(&mut self, request: Request) -> Outcome {
        match request {
            Request::Start { config, jetstream, tls, credentials, login, name, hub, leaf_of } => {
                let place = self.place(name, hub, leaf_of)?;
                return self.start(place, &config, jetstream, tls, credentials, login);
            }
            Request::Cluster { size, config, linked } => return self.start_cluster(size, &config, linked),
            Request::WaitWanted { server, subject } => self.server(server)?.wait_wanted(&subject),
            Request::WaitAlone { server } => self.server(server)?.wait_alone(),
            Request::CutOff { server } => self.member(server).map(|(cluster, index)| cluster.cut_off(index))?,
            Request::ConnectAgain { server } => self.member(server).map(|(cluster, index)| cluster.connect_again(index))?,
            Request::Answer { server, subject, payload } => {
                let service = self.reader(server)?.answer(&subject, payload.as_bytes());
                return Ok(fields(json!({ "service": add(&mut self.services, Some(service)) })));
            }
            Request::EndAnswers { service } => drop(numbered(&mut self.services, service, "service")?.take()),
            Request::Stop { server } => self.server(server)?.terminate(),
            Request::Kill { server } => self.server(server)?.kill(),
            Request::Pause { server } => self.server(server)?.pause(),
            Request::Resume { server } => self.server(server)?.resume(),
            Request::Restart { server } => self.server(server)?.restart(),
            Request::Reload { server, config } => {
                let entry = self.entry(server)?;
                entry.server.get().reload(entry.base.clone().config(config));
            }
            Request::LameDuck { server } => self.server(server)?.lame_duck(),
            Request::Log { server } => return Ok(fields(json!({ "log": self.server(server)?.log() }))),
            Request::CreateStream { server, config } => return self.reader(server)?.put_stream("CREATE", &config),
            Request::UpdateStream { server, config } => return self.reader(server)?.put_stream("UPDATE", &config),
            Request::DeleteStream { server, stream } => return self.reader(server)?.delete(&stream),
            Request::PurgeStream { server, stream } => return self.reader(server)?.purge(&stream),
            Request::StreamInfo { server, stream } => return self.reader(server)?.info(&stream),
            Request::Leader { server, stream } => return self.leader(server, &stream),
            Request::StepDown { server, stream } => return self.reader(server)?.step_down(&stream),
            Request::Read { server, stream } => return self.reader(server)?.read(&stream),
            Request::WaitStored { server, stream, count, timeout_ms } => {
                return self.reader(server)?.wait_stored(&stream, count, Duration::from_millis(timeout_ms));
            }
            Request::Publish { server, subject, payload } => {
                return Ok(fields(json!({ "seq": self.reader(server)?.publish(&subject, payload.as_bytes()) })));
            }
            Request::Subscribe { server, subject } => {
                let subscription = self.reader(server)?.subscribe(&subject);
                return Ok(fields(json!({ "subscription": add(&mut self.subscriptions, subscription) })));
            }
            Request::Received { subscription, count, timeout_ms } => {
                let subscription = numbered(&mut self.subscriptions, subscription, "subscription")?;
                return Ok(streams::received(subscription, count, Duration::from_millis(timeout_ms)));
            }
            Request::Proxy { server } => {
                let proxy = Proxy::start(self.server(server)?.address());
                let url = proxy.url();
                return Ok(fields(json!({ "proxy": add(&mut self.proxies, proxy), "url": url })));
            }
            Request::Hold { proxy } => self.proxy(proxy)?.hold(),
            Request::HoldReplies { proxy } => self.proxy(proxy)?.hold_replies(),
            Request::HoldPublishes { proxy } => self.proxy(proxy)?.hold_publishes(),
            Request::Discard { proxy } => self.proxy(proxy)?.discard(),
            Request::KeepBytes { proxy, keep } => self.proxy(proxy)?.keep_bytes(keep),
            Request::Link { proxy, delay_ms, bytes_per_second, slice } => {
                self.proxy(proxy)?.link(Link { delay: Duration::from_millis(delay_ms), bytes_per_second, slice });
            }
            Request::Inject { proxy, text } => self.proxy(proxy)?.inject(text.as_bytes()),
            Request::Release { proxy } => self.proxy(proxy)?.resume(),
            Request::Cut { proxy } => self.proxy(proxy)?.reset(),
            Request::Refuse { proxy } => self.proxy(proxy)?.refuse(),
            Request::Accept { proxy } => self.proxy(proxy)?.accept(),
            Request::AcceptSilently { proxy, silently } => self.proxy(proxy)?.accept_silently(silently),
            Request::Retarget { proxy, server } => {
                let address = self.server(server)?.address();
                self.proxy(proxy)?.retarget(address);
            }
            Request::OnReply { proxy, action, from, count, percent, seed } => {
                faults::on_reply(self.proxy(proxy)?, action, faults::pick(from, count, percent, seed)?)?;
            }
            Request::PassReplies { proxy } => self.proxy(proxy)?.no_filter(),
            Request::OnPublish { proxy, action, from, count, percent, seed } => {
                faults::on_publish(self.proxy(proxy)?, action, faults::pick(from, count, percent, seed)?);
            }
            Request::PassPublishes { proxy } => self.proxy(proxy)?.no_filter_up(),
            Request::Connections { proxy } => return Ok(fields(json!({ "connections": self.proxy(proxy)?.connections() }))),
            Request::Liar { script } => return self.start_liar(&script),
            Request::Reset {} => *self = Control::default(),
        }
        Ok(Fields::new())
    }

    /// Options for a server's place among others.
    fn place(&mut self, name: Option<String>, hub: bool, leaf_of: Option<usize>) -> Result<Options, String> {
        let mut options = Server::options();
        if let Some(name) = name {
            options = options.name(&name);
        }
        if hub {
            options = options.hub();
        }
        match leaf_of {
            Some(number) => Ok(options.leaf_of(self.server(number)?)),
            None => Ok(options),
        }
    }

    fn start(&mut self, place: Options, config: &str, jetstream: Option<JetStream>, tls: Option<Tls>, credentials: bool, login: Option<Login>) -> Outcome {
        let certs = tls.map(|_| Certs::new());
        let credentials = credentials.then(Credentials::new);
        let mut base = match jetstream {
            Some(JetStream::Has(false)) => place.without_jetstream(),
            Some(JetStream::With(text)) => place.jetstream(text),
            Some(JetStream::Has(true)) | None => place,
        };
        base = match (tls, &certs) {
            (Some(Tls::Server), Some(certs)) => base.tls(certs),
            (Some(Tls::Mutual), Some(certs)) => base.tls_verify(certs),
            (Some(Tls::First), Some(certs)) => base.tls_first(certs),
            _ => base,
        };
        if let Some(credentials) = &credentials {
            base = base.credentials(credentials);
        }
        let server = base.clone().config(config).try_start()?;
        let mut answer = fields(json!({ "url": server.url(), "address": server.address().to_string() }));
        if let Some(certs) = &certs {
            answer.extend(fields(json!({ "ca_file": certs.ca, "cert_file": certs.client_cert, "key_file": certs.client_key })));
        }
        if let Some(credentials) = &credentials {
            answer.insert("credentials_file".into(), credentials.file().display().to_string().into());
        }
        let entry = Entry { reader: None, server: Place::Alone(Box::new(server)), base, login, tls, certs, credentials };
        answer.insert("server".into(), add(&mut self.servers, entry).into());
        Ok(answer)
    }

    fn start_cluster(&mut self, size: usize, config: &str, linked: bool) -> Outcome {
        // Two cannot elect, and more than five would only be slow.
        if !matches!(size, 3 | 5) {
            return Err(format!("a cluster of {size}; allowed: 3 or 5"));
        }
        let options = Server::options().config(config);
        let cluster = Arc::new(if linked { Cluster::start_linked(size, options) } else { Cluster::start_with(size, options) });
        let numbers: Vec<usize> = (0..size)
            .map(|index| {
                let (server, base) = (Place::Member(Arc::clone(&cluster), index), Server::options());
                add(&mut self.servers, Entry { reader: None, server, base, login: None, tls: None, certs: None, credentials: None })
            })
            .collect();
        Ok(fields(json!({ "servers": numbers, "url": cluster.url() })))
    }

    fn start_liar(&mut self, name: &str) -> Outcome {
        let scripts = Liar::scripts();
        let Some((_, script)) = scripts.iter().find(|(known, _)| *known == name) else {
            let names: Vec<&str> = scripts.iter().map(|(known, _)| *known).collect();
            return Err(format!("there is no script {name}; allowed: {}", names.join(", ")));
        };
        let liar = Liar::start(script.clone());
        let url = liar.url();
        Ok(fields(json!({ "liar": add(&mut self.liars, liar), "url": url })))
    }

    /// The number of the server that leads the stream. `server` is any member of the cluster.
    fn leader(&mut self, server: usize, stream: &str) -> Outcome {
        self.reader(server)?; // It is connected now.
        let entry = self.entry(server)?;
        let (Some(reader), Place::Member(cluster, index)) = (&entry.reader, &entry.server) else { return Err(format!("server {server} is no cluster's")) };
        Ok(fields(json!({ "server": server - index + cluster.leader(reader, stream) })))
    }

    fn member(&mut self, server: usize) -> Result<(&Cluster, usize), String> {
        match &self.entry(server)?.server {
            Place::Member(cluster, index) => Ok((cluster, *index)),
            Place::Alone(_) => Err(format!("server {server} is no cluster's")),
        }
    }

    fn entry(&mut self, number: usize) -> Result<&mut Entry, String> {
        numbered(&mut self.servers, number, "server")
    }

    fn server(&mut self, number: usize) -> Result<&Server, String> {
        Ok(self.entry(number)?.server.get())
    }

    fn proxy(&mut self, number: usize) -> Result<&Proxy, String> {
        numbered(&mut self.proxies, number, "proxy").map(|proxy| &*proxy)
    }

    fn reader(&mut self, number: usize) -> Result<&Reader, String> {
        let Entry { reader, server, login, tls, certs, credentials, .. } = self.entry(number)?;
        Ok(reader.get_or_insert_with(|| {
            let mut options = ConnectOptions::new();
            if let Some(certs) = certs {
                options = options.require_tls(true).add_root_certificates(certs.ca.clone());
                options = options.add_client_certificate(certs.client_cert.clone(), certs.client_key.clone());
            }
            if *tls == Some(Tls::First) {
                options = options.tls_first();
            }
            if let Some(credentials) = credentials {
                let text = std::fs::read_to_string(credentials.file()).expect("the credentials file");
                options = options.credentials(&text).expect("the credentials");
            }
            if let Some(login) = login {
                options = options.user_and_password(login.user.clone(), login.password.clone());
            }
            Reader::connect_with(&server.get().url(), options)
        }))
    }
}

impl Place {
    fn get(&self) -> &Server {
        match self {
            Place::Alone(server) => server,
            Place::Member(cluster, index) => &cluster.servers()[*index],
        }
    }
}

/// Adds `one`, and says which number it has.
fn add<T>(all: &mut Vec<T>, one: T) -> usize {
    all.push(one);
    all.len()
}

fn numbered<'a, T>(all: &'a mut [T], number: usize, what: &str) -> Result<&'a mut T, String> {
    let there_are = all.len();
    number.checked_sub(1).and_then(|index| all.get_mut(index)).ok_or_else(|| format!("there is no {what} {number}; there are {there_are}"))
}

fn fields(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        other => panic!("an answer has fields: {other}"),
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it failed without a word").to_owned()
}
