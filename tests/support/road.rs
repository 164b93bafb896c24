//! A road to a server, on which it is counted how often somebody has waited for an answer before saying more.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Passes on what comes to its port, until its owner is dropped.
pub(crate) struct Road {
    pub(crate) port: u16,
    trips: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Road {
    /// To a server on this machine.
    pub(crate) fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let road = Self { port, trips: Arc::default(), over: Arc::default() };
        let (trips, over) = (Arc::clone(&road.trips), Arc::clone(&road.over));
        std::thread::spawn(move || {
            for near in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(near), Ok(far)) = (near, TcpStream::connect((Ipv4Addr::LOCALHOST, server))) else {
                    continue;
                };
                // Whether the last word was the server's.
                let answered = Arc::new(AtomicBool::new(true));
                let up = (near.try_clone().unwrap(), far.try_clone().unwrap(), Arc::clone(&answered));
                let trips = Arc::clone(&trips);
                std::thread::spawn(move || {
                    carry(up.0, up.1, || {
                        if up.2.swap(false, Ordering::SeqCst) {
                            trips.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                });
                std::thread::spawn(move || carry(far, near, || answered.store(true, Ordering::SeqCst)));
            }
        });
        road
    }

    /// Trips to the server and back that something has taken.
    pub(crate) fn trips_of(&self, something: impl FnOnce()) -> usize {
        let before = self.trips.load(Ordering::SeqCst);
        something();
        self.trips.load(Ordering::SeqCst) - before
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, mut seen: impl FnMut()) {
    from.set_nodelay(true).unwrap();
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        seen();
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
