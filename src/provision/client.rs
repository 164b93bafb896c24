//! A connection for our own SQL: tokio-postgres over plain TCP or rustls.
//!
//! Always holds: the connection is driven by whoever waits for an answer, so it needs no task of its own; every
//! wait has a limit. Refuses to know what the SQL means.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::auth::scram::tls_server_end_point;
use crate::backend::tls::{TlsSettingsError, configuration};
use crate::customers::SslMode;

use super::address::ServerAddress;

/// Dialling, TLS and login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// One statement; `CREATE DATABASE` copies files and may wait for a checkpoint.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);

/// Parameters of a statement.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Why a statement or a login failed.
#[derive(Debug)]
pub(super) struct SqlFailure {
    /// The server's SQLSTATE; absent when the server did not answer.
    pub(super) code: Option<String>,
    /// In words.
    pub(super) text: String,
}

impl From<SqlFailure> for String {
    fn from(failure: SqlFailure) -> Self {
        failure.text
    }
}

impl From<tokio_postgres::Error> for SqlFailure {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(db) = error.as_db_error() {
            let hint = db.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            let detail = db.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
            let code = db.code().code();
            return Self {
                code: Some(code.to_owned()),
                text: format!("{}{detail}{hint} [{code}]", db.message()),
            };
        }
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        Self { code: None, text }
    }
}

/// A logged-in connection.
pub(super) struct Sql {
    client: Client,
    driver: Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>,
}

impl Sql {
    /// Logs in as `user` at `database`.
    pub(super) async fn connect(server: &ServerAddress, login: Login<'_>) -> Result<Self, SqlFailure> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&server.host)
            .port(server.port)
            .user(login.user)
            .dbname(login.database)
            .application_name("onevault provision")
            .connect_timeout(CONNECT_TIMEOUT)
            // Nothing a user of the server made can stand in the way of a name we use.
            .options("-c search_path=pg_catalog -c client_min_messages=warning");
        if let Some(password) = login.password {
            config.password(password);
        }
        let dialled = async {
            match tls_config(server)? {
                None => {
                    config.ssl_mode(tokio_postgres::config::SslMode::Disable);
                    let (client, connection) = config.connect(NoTls).await?;
                    Ok(Self { client, driver: Box::pin(connection) })
                }
                Some(tls) => {
                    config.ssl_mode(tokio_postgres::config::SslMode::Require);
                    let (client, connection) = config.connect(Rustls(tls)).await?;
                    Ok(Self { client, driver: Box::pin(connection) })
                }
            }
        };
        let failed = |text: String| SqlFailure { code: None, text };
        match tokio::time::timeout(CONNECT_TIMEOUT, dialled).await {
            Ok(result) => result,
            Err(_) => Err(failed(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
        }
    }

    /// Runs one statement and takes its rows.
    pub(super) async fn rows(
        &mut self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, SqlFailure> {
        drive(&mut self.driver, self.client.query(sql, parameters)).await
    }

    /// Runs one statement that answers one row with one boolean; no row reads as `false`.
    pub(super) async fn is(&mut self, sql: &str, parameters: Parameters<'_>) -> Result<bool, SqlFailure> {
        let rows = self.rows(sql, parameters).await?;
        match rows.first().map(|row| row.try_get::<_, Option<bool>>(0)) {
            Some(value) => Ok(value?.unwrap_or(false)),
            None => Ok(false),
        }
    }

    /// Runs statements that answer nothing.
    pub(super) async fn run(&mut self, sql: &str) -> Result<(), SqlFailure> {
        drive(&mut self.driver, self.client.batch_execute(sql)).await
    }
}

/// Who logs in, and where.
#[derive(Clone, Copy)]
pub(super) struct Login<'a> {
    pub(super) user: &'a str,
    pub(super) password: Option<&'a str>,
    pub(super) database: &'a str,
}

/// Waits for an answer and moves the connection's bytes meanwhile.
async fn drive<T>(
    driver: &mut Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, SqlFailure> {
    let ended = |text: String| SqlFailure { code: None, text };
    tokio::select! {
        // The answer first: an error of the server ends the connection as well, and the answer says why.
        biased;
        result = answer => Ok(result?),
        result = driver.as_mut() => match result {
            Ok(()) => Err(ended("the server closed the connection".into())),
            Err(error) => Err(error.into()),
        },
        () = tokio::time::sleep(STATEMENT_TIMEOUT) => {
            Err(ended(format!("no answer within {} s", STATEMENT_TIMEOUT.as_secs())))
        }
    }
}

/// A name as SQL takes it: in double quotes, each inner one doubled.
pub(super) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL takes it under `standard_conforming_strings`; a backslash makes it an escape string.
pub(super) fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

fn tls_config(server: &ServerAddress) -> Result<Option<Arc<ClientConfig>>, SqlFailure> {
    let failed = |error: TlsSettingsError| SqlFailure { code: None, text: error.to_string() };
    match server.ssl_mode {
        SslMode::Disable => Ok(None),
        mode @ (SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => {
            let made = configuration(mode, server.ssl_root_cert.as_deref()).map_err(failed)?;
            Ok(Some(Arc::new(made)))
        }
    }
}

/// Makes TLS connections for tokio-postgres.
#[derive(Clone)]
struct Rustls(Arc<ClientConfig>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Rustls {
    type Stream = Encrypted<S>;
    type TlsConnect = Handshake;
    type Error = rustls::pki_types::InvalidDnsNameError;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Handshake, Self::Error> {
        let name = ServerName::try_from(domain)?.to_owned();
        Ok(Handshake { connector: TlsConnector::from(Arc::clone(&self.0)), name })
    }
}

/// One handshake to come.
struct Handshake {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let handshake = self.connector.connect(self.name, stream);
        Box::pin(async move { Ok(Encrypted(handshake.await?)) })
    }
}

/// A stream under TLS; SCRAM binds to the certificate it was given.
struct Encrypted<S>(TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> tokio_postgres::tls::TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        let shown = self.0.get_ref().1.peer_certificates().and_then(<[_]>::first);
        shown
            .and_then(|certificate| tls_server_end_point(certificate))
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_leave_their_quotes() {
        assert_eq!(quote_identifier("a\"; DROP ROLE x; --"), "\"a\"\"; DROP ROLE x; --\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("a\\'"), " E'a\\\\'''");
    }
}
