//! Several servers that form one cluster.

use std::time::Duration;

use crate::port::Port;
use crate::proxy::Proxy;
use crate::reader::Reader;
use crate::server::{Options, Server};
use crate::wait_for;

/// The first election of a fresh cluster, and the recovery of streams, on a busy machine.
const FORM_LIMIT: Duration = Duration::from_secs(60);

/// Servers that are connected by routes on 127.0.0.1. Clients connect to any of them.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<Server>,
    links: Vec<Link>,
    _routes: Vec<Port>,
}

/// What one server calls another by, in a cluster whose members can be cut off.
#[derive(Debug)]
struct Link {
    ends: [usize; 2],
    proxy: Proxy,
}

impl Cluster {
    /// `size` servers with JetStream; returns when they have a leader.
    ///
    /// # Panics
    /// When they do not form a cluster within a minute.
    #[must_use]
    pub fn start(size: usize) -> Self {
        Cluster::start_with(size, Options::default())
    }

    /// The same with options that hold for each of them.
    ///
    /// # Panics
    /// When they do not form a cluster within a minute.
    #[must_use]
    pub fn start_with(size: usize, options: Options) -> Self {
        Cluster::form(size, options, false)
    }

    /// The same, and each member can be [cut off](Cluster::cut_off) from the others.
    ///
    /// # Panics
    /// When they do not form a cluster within a minute.
    #[must_use]
    pub fn start_linked(size: usize, options: Options) -> Self {
        Cluster::form(size, options, true)
    }

    fn form(size: usize, options: Options, linked: bool) -> Self {
        let routes: Vec<Port> = (0..size).map(|_| Port::take().expect("a free port")).collect();
        // All routes are known before the first server starts, so the servers know how many they are and no smaller group elects a leader.
        let direct: Vec<String> = routes.iter().map(|route| format!("\"nats://{}\"", route.address())).collect();
        let mut links = Vec::new();
        // Servers tell each other where the others are. They must not find a way past their links.
        let nowhere = Port::take().expect("a free port");
        let advertise = if linked { format!(", advertise: \"{}\"", nowhere.address()) } else { String::new() };
        let servers: Vec<Server> = (0..size)
            .map(|index| {
                let mut server = Server::prepare(options.clone(), &format!("n{}", index + 1)).expect("a folder and ports for a server");
                let urls = if linked {
                    let ours = (0..size).filter(|&other| other != index);
                    let from = links.len();
                    links.extend(ours.map(|other| Link { ends: [index, other], proxy: Proxy::start(routes[other].address()) }));
                    links[from..].iter().map(|link| format!("\"{}\"", link.proxy.url())).collect()
                } else {
                    direct.clone()
                };
                let listen = routes[index].address();
                server.join_cluster(format!("cluster {{ name: \"ackbus-test\", listen: \"{listen}\", routes: [{}]{advertise} }}\n", urls.join(", ")));
                server.launch().unwrap_or_else(|text| panic!("{text}"));
                server
            })
            .collect();
        let cluster = Cluster { servers, links, _routes: routes.into_iter().chain([nowhere]).collect() };
        cluster.wait_ready();
        cluster
    }

    /// Cuts one server off from all others, as a broken network does: nothing arrives, and no connection ends. Its clients stay with it.
    ///
    /// # Panics
    /// When the cluster was not started [linked](Cluster::start_linked).
    pub fn cut_off(&self, index: usize) {
        self.links_of(index).for_each(Proxy::hold);
    }

    /// Ends that. What was under way arrives.
    ///
    /// # Panics
    /// As [`Cluster::cut_off`] does.
    pub fn connect_again(&self, index: usize) {
        self.links_of(index).for_each(Proxy::resume);
    }

    fn links_of(&self, index: usize) -> impl Iterator<Item = &Proxy> {
        assert!(!self.links.is_empty(), "the cluster was not started with links");
        self.links.iter().filter(move |link| link.ends.contains(&index)).map(|link| &link.proxy)
    }

    /// The servers, `n1` first.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// All URLs, separated by commas.
    #[must_use]
    pub fn url(&self) -> String {
        self.servers.iter().map(Server::url).collect::<Vec<_>>().join(",")
    }

    /// The same for the user of an [account](Options::account).
    #[must_use]
    pub fn url_of(&self, user: &str) -> String {
        self.servers.iter().map(|server| server.url_of(user)).collect::<Vec<_>>().join(",")
    }

    /// The index of the server that leads the stream, as soon as there is one. `reader` is connected to this cluster.
    ///
    /// # Panics
    /// When there is none within a minute.
    #[must_use]
    pub fn leader(&self, reader: &Reader, stream: &str) -> usize {
        wait_for(&format!("a leader of stream {stream}"), FORM_LIMIT, || {
            let leader = reader.stream_info(stream)?.cluster?.leader?;
            self.servers.iter().position(|server| server.name() == leader)
        })
    }

    /// Makes the stream's leader resign, and returns as soon as it has. The election of the next one goes on.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn step_down(&self, reader: &Reader, stream: &str) {
        let reply = reader.request(&format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}"), b"");
        assert!(String::from_utf8_lossy(&reply).contains("\"success\":true"), "step-down of {stream}: {}", String::from_utf8_lossy(&reply));
    }

    /// Ends all of them with SIGKILL.
    pub fn kill(&self) {
        self.servers.iter().for_each(Server::kill);
    }

    /// Starts all of them again with the same stores and ports, after a SIGTERM if they run; returns when they have a leader. One alone is restarted by
    /// [`Server::restart`], which waits for it until it has caught up: it needs the others for that.
    ///
    /// # Panics
    /// When they do not form a cluster within a minute.
    pub fn restart(&self) {
        self.servers.iter().for_each(Server::terminate);
        for server in &self.servers {
            server.launch().unwrap_or_else(|text| panic!("{text}"));
        }
        self.wait_ready();
    }

    fn wait_ready(&self) {
        for server in &self.servers {
            server.wait_ready(FORM_LIMIT).unwrap_or_else(|text| panic!("{}: {text}", server.name()));
        }
    }
}
