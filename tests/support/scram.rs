//! SCRAM-SHA-256 from both sides, written a second time so that the tested one has something to be compared with.
//!
//! Source: RFC 5802, RFC 7677, sasl-authentication#SASL-SCRAM-SHA-256

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::unique;

fn hmac(key: &[u8], data: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes()).as_ref().to_vec()
}

pub(crate) fn sha256(data: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, data).as_ref().to_vec()
}

fn salted(password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
    let mut key = vec![0; 32];
    let iterations = NonZeroU32::new(iterations).unwrap();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password.as_bytes(), &mut key);
    key
}

fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(a, b)| a ^ b).collect()
}

fn attribute<'a>(message: &'a str, name: &str) -> &'a str {
    message.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
}

/// What a server keeps: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
pub(crate) fn verifier(password: &str, salt: &[u8], iterations: u32) -> String {
    let salted = salted(password, salt, iterations);
    let (stored, server) = (sha256(&hmac(&salted, "Client Key")), hmac(&salted, "Server Key"));
    let (salt, stored, server) = (BASE64.encode(salt), BASE64.encode(stored), BASE64.encode(server));
    format!("SCRAM-SHA-256${iterations}:{salt}${stored}:{server}")
}

/// The client's side.
pub(crate) struct Client {
    password: String,
    /// `n,,`, `y,,` or `p=tls-server-end-point,,`.
    gs2: String,
    /// The hash of the server's certificate, when bound to it.
    binding: Vec<u8>,
    bare: String,
    expected: Vec<u8>,
}

impl Client {
    pub(crate) fn new(password: &str, gs2: &str, binding: &[u8]) -> Self {
        Self {
            password: password.to_owned(),
            gs2: gs2.to_owned(),
            binding: binding.to_vec(),
            bare: format!("n=,r={}", BASE64.encode(format!("{:>32}", unique("nonce")))),
            expected: Vec::new(),
        }
    }

    pub(crate) fn first(&self) -> String {
        format!("{}{}", self.gs2, self.bare)
    }

    pub(crate) fn last(&mut self, server_first: &str) -> String {
        let salt = BASE64.decode(attribute(server_first, "s")).unwrap();
        let salted = salted(&self.password, &salt, attribute(server_first, "i").parse().unwrap());
        let binding = BASE64.encode([self.gs2.as_bytes(), &self.binding].concat());
        let without_proof = format!("c={binding},r={}", attribute(server_first, "r"));
        let transcript = format!("{},{server_first},{without_proof}", self.bare);
        let key = hmac(&salted, "Client Key");
        let proof = xor(&key, &hmac(&sha256(&key), &transcript));
        self.expected = hmac(&hmac(&salted, "Server Key"), &transcript);
        format!("{without_proof},p={}", BASE64.encode(proof))
    }

    /// Whether the server knew the password too.
    pub(crate) fn server_is_proven(&self, server_final: &str) -> bool {
        !self.expected.is_empty() && attribute(server_final, "v") == BASE64.encode(&self.expected)
    }
}

/// The server's side, honest by itself; a liar changes what it says.
pub(crate) struct Server {
    pub(crate) password: String,
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
    client_bare: String,
    first: String,
}

impl Server {
    pub(crate) fn new(password: &str) -> Self {
        Self {
            password: password.to_owned(),
            salt: b"salt of a script".to_vec(),
            iterations: 4096,
            client_bare: String::new(),
            first: String::new(),
        }
    }

    /// Answers client-first; `nonce` is added to the client's.
    pub(crate) fn first(&mut self, client_first: &str, nonce: &str) -> String {
        self.client_bare = client_first.splitn(3, ',').nth(2).unwrap_or_default().to_owned();
        let nonce = format!("{}{nonce}", attribute(&self.client_bare, "r"));
        self.first = format!("r={nonce},s={},i={}", BASE64.encode(&self.salt), self.iterations);
        self.first.clone()
    }

    /// Answers client-final with `v=...`, or nothing when the proof is wrong.
    pub(crate) fn last(&self, client_final: &str) -> Option<String> {
        let (without_proof, proof) = client_final.rsplit_once(",p=")?;
        let salted = salted(&self.password, &self.salt, self.iterations);
        let transcript = format!("{},{},{without_proof}", self.client_bare, self.first);
        let key = hmac(&salted, "Client Key");
        let expected = xor(&key, &hmac(&sha256(&key), &transcript));
        let signature = BASE64.encode(hmac(&hmac(&salted, "Server Key"), &transcript));
        (BASE64.decode(proof).ok()? == expected).then(|| format!("v={signature}"))
    }
}
