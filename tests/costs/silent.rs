//! A server that greets, reads everything and never acknowledges: what was published stays pending.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

const INFO: &[u8] = b"INFO {\"server_id\":\"SILENT\",\"version\":\"2.12.0\",\"proto\":1,\"headers\":true,\"max_payload\":1048576,\"jetstream\":true}\r\n";

pub(crate) struct Silent {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Silent {
    pub(crate) fn start() -> Silent {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            client.write_all(INFO).unwrap();
            // The handshake ends with a PING. Later ones get their PONG too: this server lives.
            let mut bytes = vec![0; 64 << 10];
            while let Ok(count @ 1..) = client.read(&mut bytes) {
                if bytes[..count].ends_with(b"PING\r\n") {
                    client.write_all(b"PONG\r\n").unwrap();
                }
            }
        });
        Silent { address, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// After the client hung up.
    pub(crate) fn end(self) {
        self.serving.join().unwrap();
    }
}
