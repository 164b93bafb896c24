//! A database server that follows a script, on threads of its own; honest where the script says nothing.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::messages::*;
use super::scram::Server;
use super::unique;
use super::vault::Customer;

/// What the role of a customer of a liar proves.
pub(crate) const PASSWORD: &str = "secret of a liar";

/// Listens until its owner is dropped.
pub(crate) struct Liar {
    pub(crate) port: u16,
    /// Connections so far that asked for a session.
    pub(crate) sessions: Arc<AtomicUsize>,
    /// Connections that the other side has closed.
    pub(crate) closed: Arc<AtomicUsize>,
    /// Secrets of the cancel requests that came.
    pub(crate) cancels: Arc<Mutex<Vec<Vec<u8>>>>,
    over: Arc<AtomicBool>,
}

/// One connection, as the server sees it. Every step is `None` once the other side is gone.
pub(crate) struct Talk {
    tcp: TcpStream,
    pub(crate) process_id: i32,
    /// Number of the session, from 0.
    pub(crate) number: usize,
    pub(crate) startup: Vec<u8>,
}

pub(crate) fn authentication(kind: u32, data: &[u8]) -> Vec<u8> {
    message(b'R', &[&kind.to_be_bytes()[..], data].concat())
}

pub(crate) fn error(fields: &[(char, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (letter, value) in fields {
        body.push(u8::try_from(*letter).unwrap());
        body.extend(cstr(value));
    }
    body.push(0);
    message(b'E', &body)
}

pub(crate) fn complete(tag: &str) -> Vec<u8> {
    message(b'C', &cstr(tag))
}

pub(crate) fn ready(status: u8) -> Vec<u8> {
    message(b'Z', &[status])
}

pub(crate) fn parameter(name: &str, value: &str) -> Vec<u8> {
    message(b'S', &[cstr(name), cstr(value)].concat())
}

/// A row of one text value.
pub(crate) fn row(value: &str) -> Vec<u8> {
    message(b'D', &[&[0, 1], &length(value.len())[..], value.as_bytes()].concat())
}

/// What a `SELECT` of one text answers, without `ReadyForQuery`.
pub(crate) fn answer(value: &str) -> Vec<u8> {
    let column = [&cstr("a")[..], &[0; 6], &25_u32.to_be_bytes(), &[0xff; 6], &[0, 0]].concat();
    all(&[message(b'T', &[&[0, 1], &column[..]].concat()), row(value), complete("SELECT 1")])
}

impl Liar {
    pub(crate) fn new(script: impl Fn(&mut Talk) -> Option<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let liar = Self {
            port: listener.local_addr().unwrap().port(),
            sessions: Arc::default(),
            closed: Arc::default(),
            cancels: Arc::default(),
            over: Arc::default(),
        };
        let (sessions, closed) = (Arc::clone(&liar.sessions), Arc::clone(&liar.closed));
        let (cancels, over, script) = (Arc::clone(&liar.cancels), Arc::clone(&liar.over), Arc::new(script));
        std::thread::spawn(move || {
            for tcp in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (sessions, closed) = (Arc::clone(&sessions), Arc::clone(&closed));
                let (cancels, script) = (Arc::clone(&cancels), Arc::clone(&script));
                std::thread::spawn(move || {
                    let Some(mut talk) = Talk::begin(tcp.unwrap(), &sessions, &cancels) else { return };
                    let _ = script(&mut talk);
                    // Whatever the script did, wait for the other side to go.
                    while talk.exact(1).is_some() {}
                    closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        liar
    }

    /// A server that does everything right.
    pub(crate) fn honest() -> Self {
        Self::new(|talk| {
            talk.login()?;
            talk.serve()
        })
    }

    /// The customer whose database this is; its login `app` has the password [`PASSWORD`].
    pub(crate) fn customer(&self) -> Customer {
        let id = unique("liar");
        let database = json!([{ "name": "app" }]);
        let server: Value = Customer::server(self.port, "liar");
        Customer::at(&id, &server, database)
            .login("app", &super::scram::verifier(PASSWORD, b"a salt", 4096))
            .secret("password", PASSWORD)
    }

    pub(crate) fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Talk {
    /// Reads the first packet; a cancel request is noted and ends the connection.
    fn begin(tcp: TcpStream, sessions: &AtomicUsize, cancels: &Mutex<Vec<Vec<u8>>>) -> Option<Self> {
        static NEXT: AtomicI32 = AtomicI32::new(1000);
        tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        tcp.set_nodelay(true).unwrap();
        let process_id = NEXT.fetch_add(1, Ordering::SeqCst);
        let mut talk = Self { tcp, process_id, number: 0, startup: Vec::new() };
        talk.startup = talk.packet()?;
        if let Some(key) = talk.startup.strip_prefix(&80_877_102_u32.to_be_bytes()) {
            cancels.lock().unwrap().push(key.to_vec());
            let _ = talk.tcp.shutdown(Shutdown::Both);
            return None;
        }
        talk.number = sessions.fetch_add(1, Ordering::SeqCst);
        Some(talk)
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) -> Option<()> {
        self.tcp.write_all(bytes).ok()
    }

    /// Ends the connection.
    pub(crate) fn leave(&mut self) -> Option<()> {
        self.tcp.shutdown(Shutdown::Both).ok()
    }

    pub(crate) fn exact(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.tcp.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// What follows a length.
    pub(crate) fn packet(&mut self) -> Option<Vec<u8>> {
        let length = u32::from_be_bytes(self.exact(4)?.try_into().unwrap());
        self.exact(usize::try_from(length).unwrap() - 4)
    }

    /// A message: its type and its body.
    pub(crate) fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
        let tag = self.exact(1)?[0];
        Some((tag, self.packet()?))
    }

    /// The next message of a client's or `DISCARD ALL`: what else OneVault itself asks is answered, honestly.
    pub(crate) fn asked(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            match self.hear()? {
                (b'Q', body) if body.starts_with(b"/* onevault */") => {
                    self.say(&all(&[complete("SET"), ready(b'I')]))?;
                }
                (b'P', body) if body.starts_with(b"_ov_examine\0") => self.examined()?,
                other => return Some(other),
            }
        }
    }

    /// Nothing was left behind: six times no, and no settings.
    fn examined(&mut self) -> Option<()> {
        let mut syncs = 0;
        while syncs < 2 {
            syncs += usize::from(self.hear()?.0 == b'S');
        }
        let no = [&length(1)[..], b"f"].concat().repeat(6);
        let found = message(b'D', &[&[0, 8][..], &no, &[0xff; 8]].concat());
        let (parsed, bound, closed) = (message(b'1', b""), message(b'2', b""), message(b'3', b""));
        self.say(&all(&[parsed, bound, found, complete("SELECT 1"), ready(b'I'), closed, ready(b'I')]))
    }

    /// SCRAM up to the proof of both sides, and `AuthenticationOk`.
    pub(crate) fn prove(&mut self) -> Option<()> {
        let mut scram = Server::new(PASSWORD);
        self.challenge(&mut scram, "suffix")?;
        let (_, last) = self.hear()?;
        let proof = scram.last(std::str::from_utf8(&last).unwrap()).expect("the proof is right");
        self.say(&all(&[authentication(12, proof.as_bytes()), authentication(0, b"")]))
    }

    /// SCRAM as far as the challenge.
    pub(crate) fn challenge(&mut self, scram: &mut Server, nonce: &str) -> Option<()> {
        self.say(&authentication(10, b"SCRAM-SHA-256\0\0"))?;
        let (_, first) = self.hear()?;
        let message = String::from_utf8(first.get(18..)?.to_vec()).unwrap();
        self.say(&authentication(11, scram.first(&message, nonce).as_bytes()))
    }

    /// What precedes the first `ReadyForQuery`, and that one.
    pub(crate) fn greeting(&self) -> Vec<u8> {
        let key = [self.process_id.to_be_bytes(), self.process_id.to_be_bytes()].concat();
        all(&[
            parameter("server_version", "15.0"),
            parameter("client_encoding", "UTF8"),
            message(b'K', &key),
            ready(b'I'),
        ])
    }

    /// A whole login.
    pub(crate) fn login(&mut self) -> Option<()> {
        self.prove()?;
        let greeting = self.greeting();
        self.say(&greeting)
    }

    /// Answers each query with its own text, until the client goes.
    pub(crate) fn serve(&mut self) -> Option<()> {
        loop {
            self.serve_one()?;
        }
    }

    /// Answers up to the next `ReadyForQuery`; gives the query's text.
    pub(crate) fn serve_one(&mut self) -> Option<String> {
        loop {
            match self.asked()? {
                (b'Q', body) => {
                    let text = String::from_utf8_lossy(&body[..body.len() - 1]).into_owned();
                    let said = if text == "DISCARD ALL" { complete(&text) } else { answer(&text) };
                    self.say(&all(&[said, ready(b'I')]))?;
                    return Some(text);
                }
                (b'S', _) => {
                    self.say(&ready(b'I'))?;
                    return Some(String::new());
                }
                (b'X', _) => return None,
                _ => {}
            }
        }
    }
}
