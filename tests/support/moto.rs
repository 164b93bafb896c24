//! A server that speaks S3 (moto). `scripts/test-tools python` brings it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// One of one's own, which ends with this.
pub(crate) struct Moto {
    server: Child,
    /// Where it listens, on loopback; soon.
    pub(crate) port: u16,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Moto {
    /// Starts it, from where the tests' tools are.
    pub(crate) fn start(tools: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Command::new(tools.join("python/bin/moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("scripts/test-tools python");
        Self { server, port }
    }
}

/// Makes a bucket in the store behind the port; `None`: it does not answer yet.
pub(crate) fn make_bucket(port: u16, name: &str) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let head = format!("PUT /{name} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n");
    stream.write_all(format!("{head}Content-Length: 0\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(())
}
