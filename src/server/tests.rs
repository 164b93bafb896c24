//! A whole server with an edge that speaks one line, on real sockets.

use std::io::{Read, Write};
use std::net::TcpStream as StdStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

use super::drain::{Asked, Asks};
use super::*;

/// Echoes bytes; `p` panics, `t` opens a transaction and `e` ends it, `s` makes the client stubborn.
struct Echo {
    stage: watch::Sender<Stage>,
    reloads: Mutex<Vec<What>>,
}

impl Edge for Echo {
    async fn serve(self: Arc<Self>, mut tcp: TcpStream, _peer: SocketAddr, _guard: Guard) {
        let mut stage = self.stage.subscribe();
        let (mut open, mut stubborn, mut byte) = (false, false, [0]);
        loop {
            let now = *stage.borrow_and_update();
            if !stubborn && (now == Stage::Now || now == Stage::AfterTransaction && !open) {
                let _ = tcp.write_all(b"!").await;
                return;
            }
            tokio::select! {
                read = tcp.read(&mut byte) => match read {
                    Ok(1) => {
                        match byte {
                            [b'p'] => panic!("on purpose"),
                            [b't'] => open = true,
                            [b'e'] => open = false,
                            [b's'] => stubborn = true,
                            _ => {}
                        }
                        let _ = tcp.write_all(&byte).await;
                    }
                    _ => return,
                },
                changed = stage.changed() => changed.unwrap(),
            }
        }
    }

    async fn refuse(self: Arc<Self>, mut tcp: TcpStream, _peer: SocketAddr, why: Refused) {
        let _ = tcp.write_all(why.to_string().as_bytes()).await;
    }

    fn drain(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    fn reload(&self, what: What) -> Result<String, String> {
        self.reloads.lock().unwrap().push(what);
        if what == What::Customers { Err("on purpose".into()) } else { Ok("all of it".into()) }
    }

    fn audit(&self) -> (bool, Value) {
        (true, Value::Null)
    }
}

impl Asks for mpsc::Receiver<Asked> {
    async fn next(&mut self) -> Asked {
        match self.recv().await {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }
}

struct Running {
    address: SocketAddr,
    http: SocketAddr,
    asks: mpsc::Sender<Asked>,
    edge: Arc<Echo>,
    thread: JoinHandle<Result<Ended, String>>,
}

impl Running {
    fn start(clients_max: usize, drain_timeout_ms: u64, watched: Vec<(What, Vec<PathBuf>)>) -> Self {
        let mut config = Config::default();
        config.listen.address = SocketAddr::from(([127, 0, 0, 1], 0));
        config.listen.workers = 2;
        config.http.address = Some(config.listen.address);
        config.limits.clients_max = clients_max;
        config.limits.drain_timeout_ms = drain_timeout_ms;
        let (ready, is_ready) = sync_channel(1);
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let plan = Plan { config, watched, metrics, ready: Some(ready) };
        let edge = Arc::new(Echo { stage: watch::channel(Stage::Serving).0, reloads: Mutex::default() });
        let (asks, asked) = mpsc::channel(4);
        let served = Arc::clone(&edge);
        let thread = std::thread::spawn(move || run_asked_by(&served, plan, || Ok(asked)));
        let (address, http) = is_ready.recv_timeout(Duration::from_secs(5)).unwrap();
        Self { address, http: http.unwrap(), asks, edge, thread }
    }

    fn connect(&self) -> StdStream {
        let tcp = StdStream::connect(self.address).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        tcp
    }

    fn ask(&self, asked: Asked) {
        self.asks.blocking_send(asked).unwrap();
    }

    fn health(&self) -> String {
        let mut tcp = StdStream::connect(self.http).unwrap();
        tcp.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).unwrap();
        answer
    }

    fn end(self) -> Ended {
        self.ask(Asked::End);
        self.thread.join().unwrap().unwrap()
    }
}

fn echo(tcp: &mut StdStream, byte: u8) -> u8 {
    tcp.write_all(&[byte]).unwrap();
    read(tcp).unwrap()
}

fn read(tcp: &mut StdStream) -> Option<u8> {
    let mut byte = [0];
    tcp.read_exact(&mut byte).ok().map(|()| byte[0])
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn silent_clients_keep_nobody_out_and_a_panic_hurts_only_its_own() {
    let running = Running::start(1000, 1000, Vec::new());
    let silent: Vec<StdStream> = (0..100).map(|_| running.connect()).collect();
    let mut talking: Vec<StdStream> = (0..4).map(|_| running.connect()).collect();
    for tcp in &mut talking {
        assert_eq!(echo(tcp, b'x'), b'x');
    }
    let mut panics = running.connect();
    panics.write_all(b"p").unwrap();
    assert_eq!(read(&mut panics), None);
    for tcp in &mut talking {
        assert_eq!(echo(tcp, b'y'), b'y');
    }
    drop(silent);
    eventually("places given back", || running.health().contains("\"clients\":4"));
    drop(talking);
    assert_eq!(running.end(), Ended::Clean);
}

#[test]
fn one_client_too_many_is_told_so_and_the_place_is_free_again() {
    let running = Running::start(2, 1000, Vec::new());
    let (mut first, mut second) = (running.connect(), running.connect());
    assert_eq!((echo(&mut first, b'1'), echo(&mut second, b'2')), (b'1', b'2'));
    let mut told = String::new();
    running.connect().read_to_string(&mut told).unwrap();
    assert_eq!(told, "sorry, too many clients already");
    drop(first);
    eventually("a place", || {
        let mut tcp = running.connect();
        let _ = tcp.write_all(b"3");
        read(&mut tcp) == Some(b'3')
    });
    drop(second);
    assert_eq!(running.end(), Ended::Clean);
}

#[test]
fn a_drain_waits_for_transactions_and_takes_nobody_new() {
    let running = Running::start(10, 10_000, Vec::new());
    assert!(running.health().starts_with("HTTP/1.1 200"));
    let (mut idle, mut busy) = (running.connect(), running.connect());
    assert_eq!((echo(&mut idle, b'x'), echo(&mut busy, b't')), (b'x', b't'));
    running.ask(Asked::End);
    assert_eq!(read(&mut idle), Some(b'!'), "ended at once");
    assert!(running.health().starts_with("HTTP/1.1 503"));
    assert!(StdStream::connect(running.address).is_err(), "nobody listens any more");
    assert_eq!(echo(&mut busy, b'x'), b'x', "its transaction goes on");
    assert_eq!(echo(&mut busy, b'e'), b'e');
    assert_eq!(read(&mut busy), Some(b'!'));
    assert_eq!(running.thread.join().unwrap(), Ok(Ended::Clean));
}

#[test]
fn a_drain_ends_after_its_timeout_or_when_asked_again() {
    for (drain_timeout_ms, asked_twice) in [(100, false), (60_000, true)] {
        let running = Running::start(10, drain_timeout_ms, Vec::new());
        let mut busy = running.connect();
        assert_eq!(echo(&mut busy, b't'), b't');
        let since = Instant::now();
        running.ask(Asked::End);
        if asked_twice {
            running.ask(Asked::Reload);
            running.ask(Asked::End);
        }
        assert_eq!(read(&mut busy), Some(b'!'));
        assert_eq!(running.thread.join().unwrap(), Ok(Ended::Clean));
        assert!(since.elapsed() < Duration::from_secs(3));
    }
}

#[test]
fn a_session_that_does_not_end_is_cut_off() {
    let running = Running::start(10, 50, Vec::new());
    let mut stubborn = running.connect();
    assert_eq!(echo(&mut stubborn, b's'), b's');
    assert_eq!(running.end(), Ended::Forced { clients: 1 });
    assert_eq!(read(&mut stubborn), None);
}

#[test]
fn changed_files_and_a_hangup_lead_to_reloads() {
    let dir = std::env::temp_dir().join(format!("onevault-server-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let (customers, certificate) = (dir.join("customers"), dir.join("certs/server.pem"));
    std::fs::create_dir_all(customers.join("one_spa")).unwrap();
    std::fs::create_dir_all(dir.join("certs")).unwrap();
    std::fs::write(&certificate, "a").unwrap();
    let watched = vec![
        (What::Customers, vec![customers.clone()]),
        (What::Certificates, vec![certificate.clone(), dir.join("nowhere/x.pem")]),
    ];
    let running = Running::start(10, 50, watched);
    let seen = |running: &Running| std::mem::take(&mut *running.edge.reloads.lock().unwrap());

    running.ask(Asked::Reload);
    let mut all = Vec::new();
    eventually("everything on SIGHUP", || {
        all.extend(seen(&running));
        all == [What::Configuration, What::Customers, What::Certificates]
    });
    for (path, what) in
        [(customers.join("one_spa/config.yaml"), What::Customers), (certificate, What::Certificates)]
    {
        replace(&path);
        eventually("its own reload", || seen(&running).contains(&what));
        std::thread::sleep(Duration::from_millis(400));
        seen(&running);
        assert!(std::fs::read(&path).is_ok());
        std::thread::sleep(Duration::from_millis(400));
        assert!(seen(&running).is_empty(), "reading is no change");
    }
    assert_eq!(running.end(), Ended::Clean, "a failed reload does not end anything");
    std::fs::remove_dir_all(&dir).unwrap();
}

/// As editors and secret stores do it.
fn replace(path: &Path) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, "b").unwrap();
    std::fs::rename(&beside, path).unwrap();
}
