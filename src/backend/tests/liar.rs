//! A database server that follows a script, on a thread of its own; honest where the script says nothing.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::PASSWORD;
use crate::auth::scram::{Binding, ServerExchange, Verifier};
use crate::ids::BackendKey;
use crate::protocol::startup::{Request, parse};
use crate::protocol::write;

/// Listens until its owner is dropped; each connection runs the script on a thread.
pub(super) struct Liar {
    pub(super) port: u16,
    /// Connections so far, cancel requests included.
    pub(super) connections: Arc<AtomicUsize>,
    /// Connections that the other side has closed.
    pub(super) closed: Arc<AtomicUsize>,
    /// Cancel requests that came.
    pub(super) cancels: Arc<Mutex<Vec<BackendKey>>>,
}

/// One connection, seen by the server.
pub(super) struct Talk {
    tcp: TcpStream,
    pub(super) process_id: i32,
    pub(super) parameters: Vec<(String, String)>,
    cancels: Arc<Mutex<Vec<BackendKey>>>,
}

impl Liar {
    pub(super) fn new(script: impl Fn(&mut Talk) -> Option<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let liar = Self {
            port: listener.local_addr().unwrap().port(),
            connections: Arc::default(),
            closed: Arc::default(),
            cancels: Arc::default(),
        };
        let (connections, closed, cancels) =
            (Arc::clone(&liar.connections), Arc::clone(&liar.closed), Arc::clone(&liar.cancels));
        let script = Arc::new(script);
        static NEXT: AtomicI32 = AtomicI32::new(1000);
        std::thread::spawn(move || {
            for tcp in listener.incoming() {
                let tcp = tcp.unwrap();
                tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                tcp.set_nodelay(true).unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let process_id = NEXT.fetch_add(1, Ordering::SeqCst);
                let cancels = Arc::clone(&cancels);
                let mut talk = Talk { tcp, process_id, parameters: Vec::new(), cancels };
                let (script, closed) = (Arc::clone(&script), Arc::clone(&closed));
                std::thread::spawn(move || {
                    let _ = script(&mut talk);
                    // Whatever the script did, wait for the other side to go.
                    while talk.message().is_some() {}
                    closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        liar
    }

    /// A server that does everything right.
    pub(super) fn honest() -> Self {
        Self::new(|talk| {
            talk.login()?;
            talk.serve()
        })
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits until so many connections are closed, or fails after two seconds.
    pub(super) async fn until_closed(&self, count: usize) {
        for _ in 0..200 {
            if self.closed.load(Ordering::SeqCst) >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} of {count} connections are closed", self.closed.load(Ordering::SeqCst));
    }
}

impl Talk {
    pub(super) fn send(&mut self, bytes: &[u8]) -> Option<()> {
        self.tcp.write_all(bytes).ok()
    }

    /// Says something in messages.
    pub(super) fn say(&mut self, body: impl FnOnce(&mut Vec<u8>)) -> Option<()> {
        let mut out = Vec::new();
        body(&mut out);
        self.send(&out)
    }

    /// Agrees to TLS, shakes hands with this configuration if the other side does, and hangs up.
    pub(super) fn shake_hands(&mut self, config: Arc<rustls::ServerConfig>) -> Option<()> {
        self.packet()?;
        self.send(b"S")?;
        let mut tls = rustls::ServerConnection::new(config).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut self.tcp).ok()?;
        }
        self.tcp.shutdown(std::net::Shutdown::Both).ok()
    }

    fn exact(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.tcp.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// A packet without a type, its length included.
    pub(super) fn packet(&mut self) -> Option<Vec<u8>> {
        let mut packet = self.exact(4)?;
        let length = u32::from_be_bytes(packet.clone().try_into().unwrap());
        packet.extend(self.exact(usize::try_from(length).unwrap() - 4)?);
        Some(packet)
    }

    /// Runs `meanwhile` if what comes is a cancel request, before it is answered.
    pub(super) fn peek_cancel(&mut self, meanwhile: impl FnOnce()) {
        let mut start = [0; 8];
        if self.tcp.peek(&mut start).is_ok() && start.starts_with(&[0, 0, 0, 16]) {
            meanwhile();
        }
    }

    /// A message: its type and its body.
    pub(super) fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let tag = self.exact(1)?[0];
        Some((tag, self.packet()?.split_off(4)))
    }

    /// Reads the startup packet. A cancel request is noted, and `None` ends the script.
    pub(super) fn startup(&mut self) -> Option<()> {
        match parse(&self.packet()?).unwrap() {
            Request::Startup(startup) => self.parameters = startup.parameters,
            Request::Cancel(key) => {
                self.cancels.lock().unwrap().push(key);
                let _ = self.tcp.shutdown(std::net::Shutdown::Both);
                return None;
            }
            other @ (Request::Ssl | Request::GssEnc) => panic!("{other:?}"),
        }
        Some(())
    }

    /// Startup, SCRAM, and what precedes `ReadyForQuery`.
    pub(super) fn login(&mut self) -> Option<()> {
        self.startup()?;
        self.finish_login()
    }

    /// What follows the startup packet.
    pub(super) fn finish_login(&mut self) -> Option<()> {
        self.scram(|last| last)?;
        let process_id = self.process_id;
        self.say(|out| {
            write::authentication_ok(out);
            write::parameter_status(out, b"server_version", b"15.0");
            write::parameter_status(out, b"TimeZone", b"UTC");
            let secret = process_id.to_be_bytes();
            write::backend_key_data(out, &BackendKey { process_id, secret: Box::new(secret) });
            write::ready_for_query(out, b'I');
        })
    }

    /// SCRAM up to the server's final message, which `last` may change.
    pub(super) fn scram(&mut self, last: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Option<()> {
        self.scram_with(Verifier::from_password(PASSWORD, 64).unwrap(), last)
    }

    pub(super) fn scram_with(
        &mut self,
        verifier: Verifier,
        last: impl FnOnce(Vec<u8>) -> Vec<u8>,
    ) -> Option<()> {
        let mut exchange = ServerExchange::new(verifier, Binding::None);
        self.say(|out| write::authentication_sasl(out, exchange.mechanisms()))?;
        let (_, body) = self.message()?;
        let first = body.split(|&byte| byte == 0).next().unwrap().len() + 5;
        let challenge = exchange.client_first(b"SCRAM-SHA-256", &body[first..]).unwrap();
        self.say(|out| write::authentication_sasl_continue(out, &challenge))?;
        let (_, body) = self.message()?;
        let end = last(exchange.client_final(&body).unwrap());
        self.say(|out| write::authentication_sasl_final(out, &end))
    }

    /// Answers every query as `DISCARD ALL`, until the client goes.
    pub(super) fn serve(&mut self) -> Option<()> {
        loop {
            let (tag, body) = self.message()?;
            if tag == b'Q' {
                assert_eq!(body, b"DISCARD ALL\0");
                self.say(|out| {
                    out.extend(b"C\0\0\0\x10DISCARD ALL\0");
                    write::ready_for_query(out, b'I');
                })?;
            }
        }
    }
}
