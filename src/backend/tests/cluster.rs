//! A real PostgreSQL for the tests of this library.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use super::*;
use crate::backend::wire::Conversation;
use crate::protocol::report::ServerReport;
use crate::protocol::write;

/// `scripts/cluster`: lives as long as its standard input.
pub(crate) struct Cluster {
    watch: Child,
    port: u16,
    password: String,
    ca: PathBuf,
}

impl Cluster {
    /// One for all tests that leave the others' sessions alone. It ends with the process.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    pub(crate) fn start() -> Self {
        Self::of("15")
    }

    /// One of this version.
    pub(crate) fn of(version: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/cluster");
        let mut watch =
            Command::new(script).arg(version).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut facts = String::new();
        BufReader::new(watch.stdout.take().unwrap()).read_line(&mut facts).unwrap();
        let fact = |name: &str| {
            let found = facts.split_whitespace().find_map(|fact| fact.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_else(|| panic!("PostgreSQL did not start: {facts}")).to_owned()
        };
        Self { port: fact("port").parse().unwrap(), password: fact("password"), ca: fact("ca").into(), watch }
    }

    /// A session of the superuser.
    pub(crate) async fn session(&self, database: &str, settings: &[(&str, &str)]) -> Backend {
        let to = destination(self.server(SslMode::Disable), database);
        dial(&to, &super::settings(settings)).await.unwrap()
    }

    pub(crate) fn server(&self, ssl_mode: SslMode) -> Server {
        Server {
            host: "localhost".into(),
            role: RoleName::parse("postgres").unwrap(),
            password: Secret::new(self.password.clone()),
            ssl_root_cert: Some(self.ca.clone()),
            ..server(self.port, ssl_mode)
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
    }
}

/// What a server answered to some messages, up to its `ReadyForQuery`.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// The first value of each row.
    pub(crate) rows: Vec<String>,
    /// The tag of each statement that completed.
    pub(crate) completed: Vec<String>,
    /// Code and message.
    pub(crate) error: Option<(String, String)>,
    pub(crate) status: u8,
}

/// Sends messages, of which only the last is answered by `ReadyForQuery`.
pub(crate) async fn exchange(backend: &mut Backend, messages: &[u8]) -> Result<Reply, String> {
    let Backend { stream, parameters, .. } = backend;
    let mut conversation = Conversation::new(stream, 1 << 20);
    conversation.send(messages).await.unwrap();
    let mut reply = Reply::default();
    loop {
        let message = conversation.next().await.map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match message.tag {
            b'D' => reply.rows.push(text(message.body().get(6..).unwrap_or_default())),
            b'S' => {
                let mut parts = message.body().split(|&byte| byte == 0);
                parameters.update(parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            }
            b'C' => reply.completed.push(text(message.body().trim_ascii_end()).replace('\0', "")),
            b'E' => {
                let report = ServerReport::parse(message.body());
                reply.error = report.code.map(|code| (code.to_string(), text(report.message)));
            }
            b'Z' => {
                reply.status = message.body()[0];
                return Ok(reply);
            }
            _ => {}
        }
    }
}

/// Runs SQL and gives the first value of each row, or the error's code.
pub(crate) async fn ask(backend: &mut Backend, sql: &str) -> Result<Vec<String>, String> {
    let mut request = Vec::new();
    write::query(&mut request, sql);
    let reply = exchange(backend, &request).await?;
    reply.error.map_or(Ok(reply.rows), |(code, _)| Err(code))
}
