//! What goes by its age from a store that speaks S3 (moto), with the road to it cut at each request. `scripts/test-tools python`
//! brings the store.

#[path = "../../../../tests/support/moto.rs"]
mod moto;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Mutex;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{ClientOptions, RetryConfig};

use self::moto::{Moto, make_bucket};
use super::super::super::archive::name::Name;
use super::super::super::archive::place::{Place, Remote};
use super::super::super::gate::{lock, now_ns};
use super::ages::{DAY_NS, Scene, policies};
use super::*;

/// At which request the road is cut: the so-many-th of a method, before the store sees it or before its answer is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    method: &'static str,
    count: u32,
    is_answer: bool,
}

/// A store, and the road to it.
struct Store {
    _server: Moto,
    port: u16,
    cut: Arc<Mutex<Option<Cut>>>,
}

impl Store {
    fn start() -> Self {
        let tools = std::env::var_os("ONEVAULT_TEST_CACHE").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/test-cache"),
            PathBuf::from,
        );
        let server = Moto::start(&tools);
        let behind = server.port;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::<Mutex<Option<Cut>>>::default();
        let own = Arc::clone(&cut);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let cut = Arc::clone(&own);
                std::thread::spawn(move || carry(client.unwrap(), behind, &cut));
            }
        });
        wait(|| make_bucket(port, "aged"));
        Self { _server: server, port, cut }
    }

    fn place(&self, prefix: &str) -> Remote {
        let store = AmazonS3Builder::new()
            .with_bucket_name("aged")
            .with_region("us-east-1")
            .with_endpoint(format!("http://127.0.0.1:{}", self.port))
            .with_access_key_id("test")
            .with_secret_access_key("test")
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .build();
        Remote::over(Arc::new(store.unwrap()), Key::from(prefix)).unwrap()
    }
}

/// Carries one connection, until either side ends or it is cut.
fn carry(client: TcpStream, behind: u16, cut: &Arc<Mutex<Option<Cut>>>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", behind)) else { return };
    let (mut asks, mut asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let own = Arc::clone(cut);
    let requests = std::thread::spawn(move || {
        let mut bytes = [0; 16 << 10];
        while let Ok(count) = asks.read(&mut bytes) {
            let mut here = lock(&own);
            let is_meant = |cut: &&mut Cut| bytes[..count].starts_with(cut.method.as_bytes());
            if let Some(cut) = here.as_mut().filter(is_meant) {
                cut.count = cut.count.saturating_sub(1);
            }
            let is_cut = here.is_some_and(|cut| cut.count == 0 && !cut.is_answer);
            drop(here);
            if count == 0 || is_cut || asked.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = (asked.shutdown(Shutdown::Both), asks.shutdown(Shutdown::Both));
    });
    let (mut answers, mut answered) = (server, client);
    let mut bytes = [0; 16 << 10];
    while let Ok(count) = answers.read(&mut bytes) {
        let is_cut = lock(cut).is_some_and(|cut| cut.count == 0);
        if count == 0 || is_cut || answered.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = (answers.shutdown(Shutdown::Both), answered.shutdown(Shutdown::Both));
    let _ = requests.join();
}

impl Scene {
    /// Puts the archive's files into a store.
    fn give(&self, remote: &Remote) {
        for log in ["one_spa", "_"] {
            for (name, _) in self.place().list(log).unwrap() {
                remote.put(&name, &self.audit.directory.join("archive").join(name.to_string())).unwrap();
            }
        }
    }

    /// Makes the folder what the store is.
    fn fetch(&self, remote: &Remote) {
        let _ = fs::remove_dir_all(self.audit.directory.join("archive"));
        let (place, path) = (self.place(), self.folder.0.join("fetched"));
        for log in ["one_spa", "_"] {
            for (name, _) in remote.list(log).unwrap() {
                let mut file = remote.open(&name).unwrap();
                std::io::copy(&mut file, &mut fs::File::create(&path).unwrap()).unwrap();
                place.put(&name, &path).unwrap();
            }
        }
    }

    fn sweep_in(&self, remote: &Remote, days: u64) -> Result<u64, String> {
        let now = now_ns() + days * DAY_NS;
        let own = (&self.audit, &self.keyring);
        let gone = retention::run_in(remote, own, &policies(), now, &mut |_| Ok(()))?;
        Ok(gone.iter().map(|gone| gone.records).sum())
    }
}

fn names(remote: &Remote) -> Vec<Name> {
    remote.list("one_spa").unwrap().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_store_that_fails_at_any_request_while_records_go_by_their_age_loses_none_that_stay() {
    let store = Store::start();
    let at = |method, count, is_answer| Cut { method, count, is_answer };
    // A class of a file: it is read, put anew, its size asked for, read back; then the old one goes.
    let thin = [
        at("GET", 1, true),
        at("GET", 3, false),
        at("PUT", 1, false),
        at("PUT", 1, true),
        at("HEAD", 1, false),
        at("GET", 4, false),
        at("DELETE", 1, false),
        at("DELETE", 1, true),
    ];
    // Whole days.
    let whole = [at("DELETE", 1, false), at("DELETE", 1, true), at("DELETE", 2, false)];
    let tries = thin.map(|cut| (cut, 20, 6)).into_iter().chain(whole.map(|cut| (cut, 8 * 366, 12)));
    for (number, (cut, days, aged)) in tries.enumerate() {
        let scene = Scene::new();
        let remote = store.place(&format!("try{number}"));
        scene.give(&remote);
        assert_eq!(scene.verify().unwrap().aged, 0);
        *lock(&store.cut) = Some(cut);
        let first = scene.sweep_in(&remote, days);
        let left = lock(&store.cut).take();
        // With one file only there is no second to delete.
        assert!(first.is_err() || left.is_some_and(|left| left.count > 0), "{cut:?}: {first:?}");
        scene.fetch(&remote);
        let counts = scene.verify().unwrap_or_else(|told| panic!("{cut:?}: {told}"));
        assert_eq!(counts.records, 12, "{cut:?}");
        // What was decided is done by the next sweep, and by none after that.
        scene.sweep_in(&remote, days).unwrap();
        scene.fetch(&remote);
        let counts = scene.verify().unwrap();
        assert_eq!((counts.records, counts.aged, counts.signed), (12, aged, 12), "{cut:?}");
        let there = names(&remote);
        assert_eq!(scene.sweep_in(&remote, days), Ok(0), "{cut:?}");
        assert_eq!(names(&remote), there, "{cut:?}");
        assert_eq!(count(&scene.audit, &scene.keyring), Ok(usize::try_from(12 - aged).unwrap()), "{cut:?}");
    }
}
