//! Real sockets on the loopback and rustls as the client, against the greeter.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::config::{self, TlsVersion};
use crate::ids::BackendKey;
use crate::protocol::startup::Version;
use crate::protocol::write;

mod certificates;

const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

/// A folder of its own with a development certificate; removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("onevault-tls-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn made(&self, name: &str, names: &[&str]) -> development::Development {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        development::ensure(&self.0.join(name), &names).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn greeter(certificates: &[config::Certificate]) -> Greeter {
    Greeter::new(Arc::new(Certificates::load(certificates, TlsVersion::V1_2).unwrap()), false)
}

fn client_config(authorities: &[&Path], alpn: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

async fn handshake(
    tcp: TcpStream,
    config: ClientConfig,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

fn startup() -> Vec<u8> {
    let mut out = Vec::new();
    write::startup_message(&mut out, Version::V3_0, [("user", "ada"), ("database", "spa")]);
    out
}

fn ssl_request() -> Vec<u8> {
    let mut out = Vec::new();
    write::ssl_request(&mut out);
    out
}

/// Runs a greeting against a client, both in this task.
async fn meet<F, C, T>(greeter: &Greeter, timeout_ms: u64, client: C) -> (Result<Greeted, GreetError>, T)
where
    C: FnOnce(TcpStream) -> F,
    F: Future<Output = T>,
{
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = async {
        let (tcp, peer) = listener.accept().await.unwrap();
        greeter.greet(tcp, peer, Instant::now() + Duration::from_millis(timeout_ms)).await
    };
    #[expect(clippy::disallowed_methods, reason = "the test is the client")]
    let client = async { client(TcpStream::connect(address).await.unwrap()).await };
    tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(served, client) }).await.unwrap()
}

/// Sends `bytes` and reads what comes until the end.
async fn say(mut tcp: TcpStream, bytes: Vec<u8>) -> String {
    let _ = tcp.write_all(&bytes).await;
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The usual way in: `SSLRequest`, `S`, handshake, startup packet.
async fn enter(
    mut tcp: TcpStream,
    config: ClientConfig,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    tcp.write_all(&ssl_request()).await?;
    assert_eq!(tcp.read_u8().await?, b'S');
    let mut tls = handshake(tcp, config, name).await?;
    tls.write_all(&startup()).await?;
    Ok(tls)
}

fn shown(tls: &TlsStream<TcpStream>) -> Vec<u8> {
    tls.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn a_client_comes_in_by_ssl_request_with_its_certificate_known() {
    let folder = Folder::new();
    let made = folder.made("a", &["localhost"]);
    let greeter = greeter(std::slice::from_ref(&made.certificate));
    let config = client_config(&[&made.authority], &[b"postgresql"]);
    let (greeted, tls) = meet(&greeter, 5000, |tcp| enter(tcp, config, "localhost")).await;
    let (greeted, tls) = (greeted.unwrap(), tls.unwrap());
    let First::Startup(startup) = &greeted.request else { panic!("{greeted:?}") };
    assert_eq!((startup.get("user"), startup.get("database")), (Some("ada"), Some("spa")));
    assert_eq!(greeted.sni.as_deref(), Some("localhost"));
    assert_eq!(greeted.tls_version, Some("TLSv1.3"));
    let hash = digest::digest(&digest::SHA256, &shown(&tls));
    assert_eq!(greeted.end_point.as_deref(), Some(hash.as_ref()));
}

#[tokio::test]
async fn clear_text_behind_a_request_for_encryption_is_refused() {
    let folder = Folder::new();
    let made = folder.made("a", &["localhost"]);
    let greeter = greeter(&[made.certificate]);
    for request in [ssl_request(), GSSENC_REQUEST.to_vec()] {
        for stuffed in [&b"Q"[..], &startup()] {
            let bytes = [&request, stuffed].concat();
            let (greeted, answer) = meet(&greeter, 5000, |tcp| say(tcp, bytes)).await;
            assert!(matches!(greeted, Err(GreetError::Violation(_))), "{greeted:?}");
            assert!(answer.starts_with('E') && answer.contains("08P01"), "{answer}");
        }
    }
}

#[tokio::test]
async fn each_request_for_encryption_is_answered_once() {
    let folder = Folder::new();
    let made = folder.made("a", &["localhost"]);
    let greeter = greeter(std::slice::from_ref(&made.certificate));

    let twice = |mut tcp: TcpStream| async move {
        tcp.write_all(&GSSENC_REQUEST).await.unwrap();
        assert_eq!(tcp.read_u8().await.unwrap(), b'N');
        say(tcp, GSSENC_REQUEST.to_vec()).await
    };
    let (greeted, answer) = meet(&greeter, 5000, twice).await;
    assert!(matches!(greeted, Err(GreetError::Violation(_))), "{greeted:?}");
    assert!(answer.starts_with('E') && answer.contains("GSSENCRequest was sent twice"), "{answer}");

    let config = client_config(&[&made.authority], &[]);
    let gss_then_ssl = |mut tcp: TcpStream| async move {
        tcp.write_all(&GSSENC_REQUEST).await.unwrap();
        assert_eq!(tcp.read_u8().await.unwrap(), b'N');
        enter(tcp, config, "localhost").await
    };
    let (greeted, tls) = meet(&greeter, 5000, gss_then_ssl).await;
    assert!(greeted.is_ok() && tls.is_ok(), "{greeted:?}");

    let config = client_config(&[&made.authority], &[]);
    let inside = |mut tcp: TcpStream| async move {
        tcp.write_all(&ssl_request()).await.unwrap();
        assert_eq!(tcp.read_u8().await.unwrap(), b'S');
        let mut tls = handshake(tcp, config, "localhost").await.unwrap();
        tls.write_all(&ssl_request()).await.unwrap();
        let mut answer = Vec::new();
        tls.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let (greeted, answer) = meet(&greeter, 5000, inside).await;
    assert!(matches!(greeted, Err(GreetError::Violation(_))), "{greeted:?}");
    assert!(answer.contains("08P01"), "{answer}");
}

#[tokio::test]
async fn without_a_certificate_ssl_is_declined_once() {
    let greeter = greeter(&[]);
    let twice = |mut tcp: TcpStream| async move {
        tcp.write_all(&ssl_request()).await.unwrap();
        assert_eq!(tcp.read_u8().await.unwrap(), b'N');
        say(tcp, ssl_request()).await
    };
    let (greeted, answer) = meet(&greeter, 5000, twice).await;
    assert!(matches!(greeted, Err(GreetError::Violation(_))), "{greeted:?}");
    assert!(answer.contains("SSLRequest was sent twice"), "{answer}");
}

#[tokio::test]
async fn direct_tls_needs_our_protocol_in_alpn() {
    let folder = Folder::new();
    let made = folder.made("a", &["localhost"]);
    let greeter = greeter(std::slice::from_ref(&made.certificate));
    for (alpn, good) in [(&[&b"postgresql"[..]][..], true), (&[], false), (&[&b"h2"[..]], false)] {
        let config = client_config(&[&made.authority], alpn);
        let client = |tcp| async move {
            let mut tls = handshake(tcp, config, "localhost").await?;
            tls.write_all(&startup()).await?;
            std::io::Result::Ok(tls)
        };
        let (greeted, tls) = meet(&greeter, 5000, client).await;
        assert_eq!((greeted.is_ok(), tls.is_ok()), (good, good), "{alpn:?}: {greeted:?} {tls:?}");
        if let Err(error) = tls {
            assert!(error.to_string().contains("NoApplicationProtocol"), "told why: {error}");
        }
    }
    // Behind SSLRequest ALPN may be missing, but a wrong one is another protocol's client.
    let config = client_config(&[&made.authority], &[b"http/1.1"]);
    let (greeted, tls) = meet(&greeter, 5000, |tcp| enter(tcp, config, "localhost")).await;
    assert!(matches!(greeted, Err(GreetError::Tls(_))) && tls.is_err());
}

#[tokio::test]
async fn a_startup_packet_of_a_wrong_length_or_version_is_told_so() {
    let greeter = greeter(&[]);
    for (bytes, code) in [
        (vec![0, 0, 0x27, 0x11, 0, 3, 0, 0], "08P01"), // 10,001
        (vec![0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0], "08P01"),
        (vec![0, 0, 0, 7, 0, 3, 0], "08P01"),
        (vec![0, 0, 0, 0], "08P01"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "08P01"),
        (vec![0, 0, 0, 9, 0, 3, 0, 0, 1], "08P01"),
        (vec![0, 0, 0, 9, 0, 2, 0, 0, 0], "0A000"),
        (vec![0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff], "0A000"),
    ] {
        let (greeted, answer) = meet(&greeter, 5000, |tcp| say(tcp, bytes.clone())).await;
        assert!(matches!(greeted, Err(GreetError::Violation(_))), "{bytes:?}: {greeted:?}");
        assert!(answer.starts_with('E') && answer.contains(code), "{bytes:?}: {answer}");
    }
}

#[tokio::test]
async fn plain_sessions_are_for_loopback_when_configured() {
    let certificates = Arc::new(Certificates::load(&[], TlsVersion::V1_2).unwrap());
    let strict = Greeter::new(Arc::clone(&certificates), false);
    let (greeted, answer) = meet(&strict, 5000, |tcp| say(tcp, startup())).await;
    assert!(matches!(greeted, Err(GreetError::Violation(_))), "{greeted:?}");
    assert!(answer.contains("28000") && answer.contains("connection requires TLS"), "{answer}");

    let lenient = Greeter::new(certificates, true);
    let send = |mut tcp: TcpStream| async move { tcp.write_all(&startup()).await.map(|()| tcp) };
    let (greeted, _tcp) = meet(&lenient, 5000, send).await;
    let greeted = greeted.unwrap();
    assert!(!greeted.stream.is_tls() && greeted.end_point.is_none() && greeted.tls_version.is_none());

    // The same from elsewhere is refused, also when the address only looks like the loopback.
    for elsewhere in ["192.0.2.1:9", "[::ffff:192.0.2.1]:9", "[2001:db8::1]:9"] {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        #[expect(clippy::disallowed_methods, reason = "the test is the client")]
        let client = async { say(TcpStream::connect(address).await.unwrap(), startup()).await };
        let served = async {
            let (tcp, _) = listener.accept().await.unwrap();
            lenient.greet(tcp, elsewhere.parse().unwrap(), Instant::now() + Duration::from_secs(5)).await
        };
        let both = async { tokio::join!(served, client) };
        let (greeted, answer) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
        assert!(greeted.is_err() && answer.contains("28000"), "{elsewhere}: {answer}");
    }
}

#[tokio::test]
async fn a_cancel_request_needs_no_tls() {
    let key = BackendKey { process_id: 7, secret: Box::new([3; 32]) };
    let mut bytes = Vec::new();
    write::cancel_request(&mut bytes, &key);
    let send = |mut tcp: TcpStream| async move { tcp.write_all(&bytes).await.map(|()| tcp) };
    let (greeted, _tcp) = meet(&greeter(&[]), 5000, send).await;
    assert_eq!(greeted.unwrap().request, First::Cancel(key));
}

#[tokio::test]
async fn a_silent_client_meets_the_deadline_wherever_it_stops() {
    let folder = Folder::new();
    let made = folder.made("a", &["localhost"]);
    let greeter = greeter(std::slice::from_ref(&made.certificate));
    let half_a_hello = [0x16, 3, 1, 2, 0, 1, 0, 1];
    for bytes in [&b""[..], &[0], &ssl_request()[..7], &ssl_request(), &startup()[..9], &half_a_hello] {
        let bytes = bytes.to_vec();
        let since = Instant::now();
        let (greeted, answer) = meet(&greeter, 200, |tcp| say(tcp, bytes.clone())).await;
        assert!(matches!(greeted, Err(GreetError::Timeout)), "{bytes:?}: {greeted:?}");
        assert!(answer.is_empty() || answer == "S", "{answer}");
        assert!(since.elapsed() < Duration::from_millis(1500), "{bytes:?}");
    }
    let config = client_config(&[&made.authority], &[]);
    let silent_inside = |mut tcp: TcpStream| async move {
        tcp.write_all(&ssl_request()).await.unwrap();
        assert_eq!(tcp.read_u8().await.unwrap(), b'S');
        let mut tls = handshake(tcp, config, "localhost").await.unwrap();
        let _ = tls.read_u8().await;
    };
    let (greeted, ()) = meet(&greeter, 300, silent_inside).await;
    assert!(matches!(greeted, Err(GreetError::Timeout)), "{greeted:?}");
}

#[tokio::test]
async fn a_byte_now_and_then_does_not_move_the_deadline() {
    let greeter = greeter(&[]);
    let drip = |mut tcp: TcpStream| async move {
        for byte in startup() {
            if tcp.write_all(&[byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let since = Instant::now();
    let (greeted, ()) = meet(&greeter, 400, drip).await;
    assert!(matches!(greeted, Err(GreetError::Timeout)), "{greeted:?}");
    assert!(since.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_client_that_leaves_is_no_violation() {
    let greeter = greeter(&[]);
    for bytes in [&b""[..], &[0, 0], &startup()[..12]] {
        let leave = |mut tcp: TcpStream| async move { tcp.write_all(bytes).await.unwrap() };
        let (greeted, ()) = meet(&greeter, 5000, leave).await;
        assert!(matches!(greeted, Err(GreetError::Closed)), "{greeted:?}");
    }
}

#[tokio::test]
async fn a_hello_in_many_records_and_segments_is_understood() {
    let folder = Folder::new();
    let made = folder.made("a", &["localhost"]);
    let greeter = greeter(std::slice::from_ref(&made.certificate));
    for record_bytes in [32, 50, 100] {
        let mut config = client_config(&[&made.authority], &[b"postgresql"]);
        config.max_fragment_size = Some(record_bytes);
        let (greeted, tls) = meet(&greeter, 5000, |tcp| enter(tcp, config, "localhost")).await;
        assert!(greeted.is_ok() && tls.is_ok(), "{record_bytes}: {greeted:?} {tls:?}");
    }
    // The hello byte by byte, each in a segment of its own.
    let config = Arc::new(client_config(&[&made.authority], &[b"postgresql"]));
    let mut hello = Vec::new();
    let mut connection = rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    connection.write_tls(&mut hello).unwrap();
    let drip = |mut tcp: TcpStream| async move {
        tcp.set_nodelay(true).unwrap();
        for byte in hello {
            tcp.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        tcp.read_u8().await.unwrap()
    };
    let (greeted, first) = meet(&greeter, 5000, drip).await;
    assert_eq!(first, 0x16, "a ServerHello came back");
    assert!(greeted.is_err());
}

#[tokio::test]
async fn garbage_as_a_handshake_ends_it() {
    let folder = Folder::new();
    let made = folder.made("a", &["localhost"]);
    let greeter = greeter(&[made.certificate]);
    for garbage in
        [vec![0x16; 64], [&[0x16, 3, 1, 0, 5, 99][..], &[0; 60]].concat(), vec![0x16, 3, 1, 0xff, 0xff]]
    {
        let (greeted, answer) = meet(&greeter, 1000, |tcp| say(tcp, garbage)).await;
        assert!(greeted.is_err(), "{answer:?}");
    }
}
