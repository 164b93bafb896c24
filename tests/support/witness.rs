//! A witness (C2SP tlog-witness) of another house: it signs what follows from what it saw before, of logs whose keys it was
//! given, and nothing else.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use onevault::proof::checkpoint::Checkpoint;
use onevault::proof::cosignature::Witness as Key;
use onevault::proof::note::{self, Verifier};
use onevault::proof::tree::{Hash, check_consistency, empty_root};
use serde_json::{Value, json};

#[derive(Default)]
struct Knows {
    keys: Vec<Verifier>,
    /// Size and root by origin.
    seen: BTreeMap<String, (u64, Hash)>,
}

pub(crate) struct Witness {
    url: String,
    key: Key,
    pair: Ed25519KeyPair,
    knows: Mutex<Knows>,
}

impl Witness {
    /// Begins to listen; it knows no log yet.
    pub(crate) fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let pair = Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap();
        let key = Key::new("witness.example", pair.public_key().as_ref().try_into().unwrap()).unwrap();
        let witness = Arc::new(Self { url, key, pair, knows: Mutex::default() });
        let serving = Arc::clone(&witness);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // Who has asked may be gone.
                let _ = serving.serve(stream.unwrap());
            }
        });
        witness
    }

    /// It signs for logs with this key, too.
    pub(crate) fn trust(&self, key: &str) {
        self.knows.lock().unwrap().keys.push(Verifier::parse(key).unwrap());
    }

    /// Its key, as configuration has it.
    pub(crate) fn key(&self) -> String {
        self.key.encoded()
    }

    /// Keys of a configuration in which it is asked, and has to stand for each log.
    pub(crate) fn config(&self) -> Value {
        json!({ "witnesses": [{ "url": self.url, "key": self.key() }], "witnesses_required": 1 })
    }

    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            if let Some(count) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = count.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, answer) = self.answer(&String::from_utf8(body).unwrap());
        let head = format!("HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: {}", answer.len());
        write!(stream, "{head}\r\n\r\n{answer}")
    }

    fn answer(&self, body: &str) -> (u16, String) {
        let refused = |status| (status, String::new());
        let (head, text) = body.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let old: u64 = lines.next().unwrap().strip_prefix("old ").unwrap().parse().unwrap();
        let proof: Vec<Hash> = lines.map(|line| STANDARD.decode(line).unwrap().try_into().unwrap()).collect();
        let mut knows = self.knows.lock().unwrap();
        let Ok((text, _)) = note::open(text, &knows.keys) else { return refused(403) };
        let shown = Checkpoint::parse(text).unwrap();
        let (size, root) = knows.seen.get(&shown.origin).copied().unwrap_or((0, empty_root()));
        if old != size {
            return (409, format!("{size}\n"));
        }
        if check_consistency((old, &root), (shown.size, &shown.root), &proof).is_err() {
            return refused(422);
        }
        knows.seen.insert(shown.origin, (shown.size, shown.root));
        let time = UNIX_EPOCH.elapsed().unwrap().as_secs();
        let signature = self.pair.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
        let encoded = self.key();
        let id = u32::from_str_radix(encoded.split('+').nth(1).unwrap(), 16).unwrap();
        let bytes = [&id.to_be_bytes()[..], &time.to_be_bytes(), signature.as_ref()].concat();
        (200, format!("\u{2014} {} {}\n", self.key.name(), STANDARD.encode(bytes)))
    }
}
