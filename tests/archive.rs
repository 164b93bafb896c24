//! The archive in a store that speaks S3 (moto), and its files as others read them. `scripts/test-tools python` brings both.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use onevault::audit::archive::check::check;
use onevault::audit::archive::file::{Keys, Secret};
use onevault::audit::archive::name::{Day, Name, covering, gaps};
use onevault::audit::archive::place::{Local, Place, Remote};
use onevault::audit::archive::sealer::{Sealer, Taken};
use onevault::audit::arrow::Leaf;
use onevault::audit::join::Whole;
use onevault::audit::keys::KeyError;
use onevault::audit::row::{Column, Row, Value};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::archived::{Life, whole_after};
use crate::support::moto::{Moto, make_bucket};
use crate::support::vault::House;
use crate::support::{TemporaryDir, cache, eventually, root};

const KEY: [u8; 32] = [0x5a; 32];

struct OneKey;

impl Keys for OneKey {
    fn file_key(&self, _: u32) -> Result<Secret, KeyError> {
        Ok(Secret::new(KEY))
    }

    fn number_for(&self, _: &str, _: u64) -> Result<u32, KeyError> {
        Ok(9)
    }
}

/// A server that speaks S3, and a road to it that can be cut.
struct Store {
    _server: Moto,
    port: u16,
    is_cut: Arc<AtomicBool>,
    ambush: Arc<Mutex<Option<Ambush>>>,
}

/// Whoever sends such a request for the so-many-th time is killed: before the store sees it, or before its answer is seen.
struct Ambush {
    method: &'static str,
    count: u32,
    is_answer: bool,
    pid: Pid,
}

impl Store {
    fn start() -> Self {
        let server = Moto::start(&cache());
        let behind = server.port;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_cut = Arc::new(AtomicBool::new(false));
        let ambush = Arc::<Mutex<Option<Ambush>>>::default();
        let (cut, lurking) = (Arc::clone(&is_cut), Arc::clone(&ambush));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (cut, lurking) = (Arc::clone(&cut), Arc::clone(&lurking));
                std::thread::spawn(move || relay(client.unwrap(), behind, &cut, &lurking));
            }
        });
        eventually("moto answers", || make_bucket(port, "evidence").is_some());
        Self { _server: server, port, is_cut, ambush }
    }

    fn place(&self) -> Remote {
        let backoff = BackoffConfig { init_backoff: Duration::from_millis(10), ..BackoffConfig::default() };
        let retry = RetryConfig { backoff, max_retries: 1, retry_timeout: Duration::from_secs(20) };
        let store = AmazonS3Builder::new()
            .with_bucket_name("evidence")
            .with_region("us-east-1")
            .with_endpoint(format!("http://127.0.0.1:{}", self.port))
            .with_access_key_id("test")
            .with_secret_access_key("test")
            .with_client_options(
                ClientOptions::new().with_allow_http(true).with_timeout(Duration::from_secs(20)),
            )
            .with_retry(retry)
            .build()
            .unwrap();
        Remote::over(Arc::new(store), Key::from("vault/one")).unwrap()
    }
}

/// Carries bytes to and fro until one side ends or the road is cut, or the client falls into the ambush.
fn relay(client: TcpStream, behind: u16, is_cut: &Arc<AtomicBool>, ambush: &Arc<Mutex<Option<Ambush>>>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", behind)) else { return };
    let asked = Arc::new(AtomicBool::new(false));
    let watches = |is_answer: bool| {
        let (ambush, asked) = (Arc::clone(ambush), Arc::clone(&asked));
        move |bytes: &[u8]| {
            let mut lurking = ambush.lock().unwrap();
            let Some(found) = lurking.as_mut() else { return };
            if !is_answer && bytes.starts_with(found.method.as_bytes()) {
                found.count -= 1;
                asked.store(found.count == 0, Ordering::SeqCst);
            }
            if found.count == 0 && found.is_answer == is_answer && asked.load(Ordering::SeqCst) {
                let _ = kill_process(found.pid, Signal::KILL);
                *lurking = None;
            }
        }
    };
    let carry = |mut from: TcpStream, mut to: TcpStream, is_cut: Arc<AtomicBool>, watch: Watch| {
        let mut bytes = [0; 16 << 10];
        loop {
            match from.read(&mut bytes) {
                Ok(count) if count > 0 && !is_cut.load(Ordering::Relaxed) => {
                    watch(&bytes[..count]);
                    if to.write_all(&bytes[..count]).is_err() {
                        break;
                    }
                }
                _ => break,
            }
        }
        let _ = from.shutdown(std::net::Shutdown::Both);
        let _ = to.shutdown(std::net::Shutdown::Both);
    };
    let (from, to, cut) = (client.try_clone().unwrap(), server.try_clone().unwrap(), Arc::clone(is_cut));
    let (request, answer): (Watch, Watch) = (Box::new(watches(false)), Box::new(watches(true)));
    std::thread::spawn(move || carry(from, to, cut, request));
    carry(server, client, Arc::clone(is_cut), answer);
}

/// Sees what is carried before it is.
type Watch = Box<dyn Fn(&[u8]) + Send>;

fn record(index: u64) -> (Leaf, Row<'static>) {
    let mut row = Row::default();
    row.set(Column::Record, Value::Number(index));
    row.set(Column::Time, Value::Number(1_772_323_200_000_000_000 + index * 1_000_000));
    row.set(Column::Rows, Value::Number(2));
    row.set(Column::Customer, Value::Bytes(b"one_spa".into()));
    (Leaf { index, check: [1, 2, 3, 4], key: 9 }, row)
}

fn text(text: &[u8]) -> Whole<'static> {
    Whole { text: text.to_vec().into(), ..Whole::default() }
}

fn take(sealer: &mut Sealer, index: u64, whole: &Whole<'_>) -> Taken {
    let (leaf, row) = record(index);
    sealer.take("one_spa", leaf, &row, whole).unwrap()
}

/// Everything that is in the place, checked whole: how many records in how many files.
fn checked(place: &impl Place) -> (u64, usize) {
    let names: Vec<Name> = place.list("one_spa").unwrap().into_iter().map(|(name, _)| name).collect();
    let pieces = covering(&names);
    assert_eq!(gaps(&pieces), []);
    let records = pieces.iter().map(|piece| {
        check(piece.name, place.open(piece.name).unwrap(), Arc::new(OneKey), |_| Some([1, 2, 3, 4])).unwrap()
    });
    (records.sum(), names.len())
}

#[test]
fn an_archive_in_s3_survives_a_cut_road_and_restarts_and_is_merged() {
    let (store, spool) = (Store::start(), TemporaryDir::new("spool"));
    let sealer = || Sealer::open(Box::new(store.place()), Arc::new(OneKey), &spool.0).unwrap();
    let mut first = sealer();
    // Larger than what is sent in one part, and not to be made smaller.
    let mut seed = 1_u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from(seed >> 58).unwrap() + b'0'
    };
    let large: Vec<u8> = (0..14 << 20).map(|_| noise()).collect();
    take(&mut first, 0, &text(&large));
    take(&mut first, 1, &text(b"SELECT 1"));
    first.finish_round().unwrap();
    assert_eq!(checked(&store.place()), (2, 1));

    take(&mut first, 2, &text(b"SELECT 1"));
    store.is_cut.store(true, Ordering::Relaxed);
    assert!(first.finish_round().is_err() && first.waiting_bytes() > 0);
    store.is_cut.store(false, Ordering::Relaxed);
    first.finish_round().unwrap();
    take(&mut first, 3, &text(b"lost with the process, and handed out again"));
    drop(first);

    let mut second = sealer();
    assert_eq!(take(&mut second, 2, &text(b"SELECT 1")), Taken::Known);
    assert_eq!(take(&mut second, 3, &text(b"again")), Taken::New);
    second.finish_round().unwrap();
    assert_eq!(checked(&store.place()), (4, 3));
    let tomorrow = Day::of(1_772_323_200_000_000_000 + 86_400_000_000_000);
    assert_eq!(second.merge("one_spa", tomorrow, &|_| Some([1, 2, 3, 4])).unwrap(), 2);
    assert_eq!(checked(&store.place()), (4, 1));
}

#[test]
fn duckdb_and_pyarrow_read_a_file_with_its_key() {
    let folder = TemporaryDir::new("auditor");
    let place = Local::open(&folder.0.join("archive")).unwrap();
    let mut sealer = Sealer::open(Box::new(place), Arc::new(OneKey), &folder.0.join("spool")).unwrap();
    for index in 0..5_000 {
        take(&mut sealer, index, &text(b"SELECT abalance"));
    }
    sealer.finish_round().unwrap();
    let place = Local::open(&folder.0.join("archive")).unwrap();
    let (name, _) = place.list("one_spa").unwrap().remove(0);
    let path = folder.0.join("archive").join(name.to_string());
    let hex: String = KEY.iter().map(|byte| format!("{byte:02x}")).collect();
    let output = Command::new(cache().join("python/bin/python"))
        .arg(root().join("tests/drivers/archive_round.py"))
        .args([path.as_os_str(), hex.as_ref()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = "pyarrow 5000 ['SELECT abalance'] 10000\nduckdb 5000 ['SELECT abalance'] 10000\n";
    assert_eq!(said, expected, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_kill_at_any_request_to_s3_loses_and_doubles_nothing() {
    let store = Store::start();
    let mut house = House::with("killed_s3", |options| {
        let archive = json!({
            "url": "s3://evidence/vault", "endpoint": format!("http://127.0.0.1:{}", store.port),
            "region": "us-east-1", "interval_s": 1, "journal_keep_h": 0,
        });
        options.environment("AWS_ACCESS_KEY_ID", "test").environment("AWS_SECRET_ACCESS_KEY", "test").with(
            json!({ "audit": {
                "checkpoint_interval_ms": 100, "archive": archive, "digest": { "interval_s": 1 },
            } }),
        )
    });
    let mut life = Life::default();
    // Each file is listed for, put, its size asked for, and read back.
    for (method, count) in [("GET", 1), ("PUT", 1), ("PUT", 2), ("HEAD", 1), ("GET", 2)] {
        for is_answer in [false, true] {
            let pid = Pid::from_raw(i32::try_from(house.vault.pid()).unwrap()).unwrap();
            life.work(&house);
            *store.ambush.lock().unwrap() = Some(Ambush { method, count, is_answer, pid });
            life.killed(&mut house, &format!("{method} {count}, answer {is_answer}"));
            *store.ambush.lock().unwrap() = None;
            whole_after(&mut house, &life);
        }
    }
    life.ended(&mut house);
}
