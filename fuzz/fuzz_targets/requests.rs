#![no_main]
//! What commands leave for the process that writes the log, whatever it is, is answered; what is recorded names a log.

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use onevault::audit::fuzzing::{act, wish};
use onevault::audit::keeping::Wish;
use onevault::audit::keys::requests::Request;
use onevault::ids::CustomerId;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = PathBuf::from(format!("/dev/shm/onevault-fuzz-requests-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
});

fuzz_target!(|bytes: &[u8]| {
    for (kind, customer, _) in act(&FOLDER, bytes).unwrap() {
        assert!(["log_read", "log_export", "admin_action"].contains(&kind));
        assert!(customer.is_empty() || CustomerId::parse(&customer).is_ok());
    }
    if let Ok(found) = wish(&FOLDER, bytes) {
        if let Wish::Hold { customer, .. } | Wish::Review { customer, .. } | Wish::Release { customer, .. } =
            &found
        {
            assert!(customer == "_" || CustomerId::parse(customer).is_ok());
        }
        let again = serde_json::to_vec(&found).unwrap();
        assert_eq!(wish(&FOLDER, &again), Ok(found));
    }
    let _ = serde_json::from_slice::<Request>(bytes);
});
