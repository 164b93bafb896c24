//! A bare byte relay, the yardstick of `scripts/bench`: what any proxy on this runtime costs that looks at nothing.
//!
//! `relay --listen ADDRESS --to ADDRESS [--workers N] [--tls CHAIN.pem KEY.pem]`. Like OneVault it has one
//! current-thread runtime per worker and keeps a connection on one of them. With `--tls` it answers an `SSLRequest` and
//! ends TLS on the client's side. It knows nothing of messages, logins or customers, and runs until it is killed.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Bytes read at one time, as in OneVault.
const BUFFER_BYTES: usize = 64 << 10;
/// Connections on their way to one worker.
const WAITING_MAX: usize = 1024;

struct Arguments {
    listen: SocketAddr,
    to: SocketAddr,
    workers: usize,
    tls: Option<(String, String)>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(Arguments { listen, to, workers, tls }) = arguments()? else { return Ok(()) };
    let tls = tls.map(|(chain, key)| acceptor(&chain, &key)).transpose()?;
    let mut threads = Vec::new();
    for _ in 0..workers.max(1) {
        let (jobs, incoming) = channel(WAITING_MAX);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let tls = tls.clone();
        std::thread::spawn(move || runtime.block_on(work(incoming, to, tls)));
        threads.push(jobs);
    }
    let listener = std::net::TcpListener::bind(listen)?;
    for jobs in threads.iter().cycle() {
        let (tcp, _) = listener.accept()?;
        tcp.set_nonblocking(true)?;
        jobs.blocking_send(tcp)?;
    }
    Ok(())
}

/// None: there are no arguments, as when every bench is run only to see that it starts.
fn arguments() -> Result<Option<Arguments>, Box<dyn Error>> {
    let (mut listen, mut to, mut workers, mut tls) = (None, None, 1, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or("a value is missing");
        match word.as_str() {
            "--listen" => listen = Some(value()?.parse()?),
            "--to" => to = Some(value()?.parse()?),
            "--workers" => workers = value()?.parse()?,
            "--tls" => tls = Some((value()?, value()?)),
            "--bench" => {}
            unknown => return Err(format!("unknown argument {unknown}").into()),
        }
    }
    Ok(listen.zip(to).map(|(listen, to)| Arguments { listen, to, workers, tls }))
}

fn acceptor(chain: &str, key: &str) -> Result<TlsAcceptor, Box<dyn Error>> {
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key)?)))
}

/// One worker's life.
async fn work(mut incoming: Receiver<std::net::TcpStream>, to: SocketAddr, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    while let Some(tcp) = incoming.recv().await {
        let tls = tls.clone();
        connections.spawn(async move {
            // A connection that ends with an error is an ended connection.
            let _ = relay(tcp, to, tls).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn relay(tcp: std::net::TcpStream, to: SocketAddr, tls: Option<TlsAcceptor>) -> io::Result<()> {
    let mut client = TcpStream::from_std(tcp)?;
    client.set_nodelay(true)?;
    #[expect(clippy::disallowed_methods, reason = "the yardstick dials by itself")]
    let mut server = TcpStream::connect(to).await?;
    server.set_nodelay(true)?;
    if let Some(tls) = tls {
        let mut ssl_request = [0; 8];
        client.read_exact(&mut ssl_request).await?;
        client.write_all(b"S").await?;
        let mut client = tls.accept(client).await?;
        copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER_BYTES, BUFFER_BYTES).await?;
    } else {
        copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER_BYTES, BUFFER_BYTES).await?;
    }
    Ok(())
}
