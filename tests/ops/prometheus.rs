//! A Prometheus on 127.0.0.1 that scrapes one target, and the target.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// What must happen at all, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves one text over HTTP, whatever is asked for.
pub(crate) struct Served {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    pub(crate) fn start(content_type: &'static str, text: impl Fn() -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let thread = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                // A client that hangs up is no matter of ours.
                let _ = answer(stream, content_type, &text());
            }
        });
        Served { address, over, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes it.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, content_type: &str, text: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len())
}

/// The program, until it is dropped.
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
    directory: Arc<TempDir>,
}

impl Prometheus {
    /// Scrapes that target every second, and evaluates these rules as often.
    pub(crate) fn start(program: &Path, target: SocketAddr, rules: &Path) -> Self {
        let directory = Arc::new(TempDir::new().unwrap());
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{:?}]\nscrape_configs:\n- job_name: shop\n  static_configs: [{{targets: ['{target}']}}]\n",
            rules.to_str().unwrap()
        );
        std::fs::write(directory.path().join("prometheus.yml"), config).unwrap();
        // It cannot be asked for a free port, so it gets one that was free a moment ago. Should another have taken it meanwhile, it ends, and gets the next.
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let log = std::fs::File::create(directory.path().join("log")).unwrap();
            let child = Command::new(program)
                .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--enable-feature=exemplar-storage"])
                .arg(format!("--web.listen-address={address}"))
                .current_dir(directory.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap();
            let mut prometheus = Prometheus { child, address, directory: Arc::clone(&directory) };
            if prometheus.is_ready() {
                return prometheus;
            }
        }
        panic!("five ports in a row were taken: {}", std::fs::read_to_string(directory.path().join("log")).unwrap_or_default());
    }

    /// Waits until it answers; false: it has ended.
    fn is_ready(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.request("/-/ready").is_ok_and(|body| body.contains("Ready")) {
                return true;
            }
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("not ready after {PATIENCE:?}: {}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Waits until `found` finds it.
    pub(crate) fn until<T>(&self, what: &str, mut found: impl FnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            if start.elapsed() > PATIENCE {
                panic!("waited {PATIENCE:?} in vain until {what}; its targets: {}; its log: {}", self.get("/api/v1/targets"), self.log());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What it answers; null while it does not.
    pub(crate) fn get(&self, path: &str) -> Value {
        self.request(path).ok().and_then(|body| serde_json::from_str(&body).ok()).unwrap_or_default()
    }

    fn request(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // Version 1.0: so the answer comes in one piece and ends with the connection.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
    }

    /// The value of the one series that an expression gives.
    pub(crate) fn value(&self, expression: &str) -> Option<String> {
        let query: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={query}"));
        let [only] = answer["data"]["result"].as_array()?.as_slice() else { return None };
        only["value"][1].as_str().map(str::to_owned)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
