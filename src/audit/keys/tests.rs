//! Keyrings that are changed, cut, swapped, interrupted: what is wrong is named, and no other key suffers.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::super::tests::Folder as AuditFolder;
use super::file::Tombstone;
use super::requests::{Request, Steps, ask, carry_out};
use super::*;
use crate::config::KeySource;

/// 2026-11-21 and 2026-12-01, in ns.
const NOVEMBER: u64 = 1_795_000_000_000_000_000;
const DECEMBER: u64 = 1_796_100_000_000_000_000;

struct Ring {
    folder: AuditFolder,
    path: PathBuf,
}

fn platform(byte: u8) -> PlatformKey {
    PlatformKey::new(Zeroizing::new([byte; 32]))
}

impl Ring {
    fn new() -> Self {
        let folder = AuditFolder::new();
        fs::create_dir(&folder.0).unwrap();
        let path = folder_of(&folder.0);
        Folder::prepare(&path).unwrap();
        Self { folder, path }
    }

    fn open(&self) -> Keyring {
        self.with(platform(1), None).unwrap()
    }

    fn with(&self, current: PlatformKey, previous: Option<PlatformKey>) -> Result<Keyring, KeyError> {
        Keyring::open(&self.path, Some(PlatformKeys::new(current, previous)))
    }

    fn file(&self, number: u32) -> PathBuf {
        self.path.join(key_name(number))
    }
}

fn tombstone() -> Tombstone {
    Tombstone { time_ns: 7, by: "an operator".into(), why: "the contract ended".into() }
}

#[test]
fn a_key_is_the_same_again_after_a_start() {
    let ring = Ring::new();
    let keyring = ring.open();
    let key = keyring.current("one_spa", NOVEMBER).unwrap();
    let (mask, seed) = (keyring.mask_key("one_spa").unwrap(), keyring.make_signer().unwrap());
    assert_eq!((key.number(), key.customer(), key.month()), (1, "one_spa", 202_611));
    assert_eq!(keyring.current("one_spa", NOVEMBER).unwrap().number(), 1);
    let again = ring.open();
    assert_eq!(again.current("one_spa", NOVEMBER).unwrap().derive(b"x"), key.derive(b"x"));
    assert_eq!(again.by_number(1).unwrap().derive(b"x"), key.derive(b"x"));
    assert_ne!(key.derive(b"x"), key.derive(b"y"));
    assert_eq!(
        (again.mask_key("one_spa").unwrap(), again.signers().unwrap().remove(0)),
        (mask.clone(), seed)
    );
    assert_ne!(again.mask_key("one_barn").unwrap(), mask);
    assert!(!format!("{key:?} {keyring:?}").contains("secret"));
}

#[test]
fn each_customer_and_month_has_a_key_of_its_own() {
    let ring = Ring::new();
    let keyring = ring.open();
    let of = |customer, time| keyring.current(customer, time).unwrap();
    let keys =
        [of("one_spa", NOVEMBER), of("one_barn", NOVEMBER), of("one_spa", DECEMBER), of(OWN, NOVEMBER)];
    let secrets: std::collections::HashSet<_> = keys.iter().map(|key| *key.derive(b"journal")).collect();
    assert_eq!((secrets.len(), keys[2].number(), keys[2].month()), (4, 3, 202_612));
    assert_eq!(of("one_spa", NOVEMBER).number(), 1, "a clock that went back finds the old month's key");
    assert_eq!(Keyring::list(&ring.path).unwrap().len(), 4);
}

#[test]
fn files_are_for_the_owner_and_show_no_key() {
    let ring = Ring::new();
    let keyring = ring.open();
    keyring.current("one_spa", NOVEMBER).unwrap();
    assert_eq!(fs::metadata(ring.file(1)).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&ring.path).unwrap().permissions().mode() & 0o777, 0o700);
    let bytes = fs::read(ring.file(1)).unwrap();
    let secret = keyring.known.lock().unwrap().opened[&1].secret.clone();
    assert!(!bytes.windows(8).any(|window| secret.windows(8).any(|part| part == window)));
    // Whose and when can be read by who has no key.
    let listed = Keyring::list(&ring.path).unwrap().remove(0).unwrap();
    assert_eq!((listed.label.customer.as_str(), listed.label.month), ("one_spa", 202_611));
}

#[test]
fn another_platform_key_is_told_apart_from_damage() {
    let ring = Ring::new();
    ring.open().current("one_spa", NOVEMBER).unwrap();
    assert!(
        matches!(ring.with(platform(2), None), Err(KeyError::OtherPlatform(file)) if file == ring.file(1))
    );
    assert!(matches!(Keyring::open(&ring.path, None), Err(KeyError::NoPlatform(_))));
    ring.with(platform(2), Some(platform(1))).unwrap().by_number(1).unwrap();
}

#[test]
fn every_changed_or_cut_byte_is_found_and_the_file_is_named() {
    let ring = Ring::new();
    let keyring = ring.open();
    for customer in ["one_spa", "one_barn"] {
        keyring.current(customer, NOVEMBER).unwrap();
    }
    keyring.retire("one_barn").unwrap();
    keyring.shred("one_barn", &tombstone()).unwrap();
    for number in [1, 2] {
        let path = ring.file(number);
        let good = fs::read(&path).unwrap();
        let is_named = |what: &str| match ring.open().by_number(number) {
            Err(KeyError::Damaged { file, .. }) => assert_eq!(file, path, "{what}"),
            other => panic!("{what}: {other:?}"),
        };
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, &bytes).unwrap();
            is_named(&format!("byte {at} of key {number}"));
        }
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).unwrap();
            is_named(&format!("key {number} cut to {length}"));
        }
        fs::write(&path, [&good[..], b"x"].concat()).unwrap();
        is_named("longer");
        fs::write(&path, &good).unwrap();
    }
    fs::remove_file(ring.file(1)).unwrap();
    assert!(matches!(ring.open().by_number(1), Err(KeyError::Missing(file)) if file == ring.file(1)));
}

/// Makes a file's checksum fit again, as somebody would who changes it.
fn reseal(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len() - 4);
    bytes.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
}

#[test]
fn a_key_put_under_another_number_customer_or_month_does_not_open() {
    let ring = Ring::new();
    let keyring = ring.open();
    keyring.current("one_spa", NOVEMBER).unwrap();
    keyring.current("one_spb", NOVEMBER).unwrap();
    let (first, second) = (fs::read(ring.file(1)).unwrap(), fs::read(ring.file(2)).unwrap());
    fs::write(ring.file(2), &first).unwrap();
    assert!(matches!(ring.open().by_number(2), Err(KeyError::Damaged { .. })), "swapped whole");
    // Number, month, creation, purpose, customer: each with a checksum that fits.
    for (at, byte) in [(12, 2), (16, 0), (20, !first[20]), (9, 2), (100, b'x')] {
        let mut bytes = first.clone();
        bytes[at] = byte;
        reseal(&mut bytes);
        let number = if at == 12 { 2 } else { 1 };
        fs::write(ring.file(number), &bytes).unwrap();
        assert!(matches!(ring.open().by_number(number), Err(KeyError::Damaged { .. })), "byte {at}");
        fs::write(ring.file(1), &first).unwrap();
        fs::write(ring.file(2), &second).unwrap();
    }
    ring.open().by_number(2).unwrap();
}

#[test]
fn a_spoilt_file_does_not_stop_new_records_nor_does_its_number_come_again() {
    let ring = Ring::new();
    ring.open().current("one_spa", NOVEMBER).unwrap();
    fs::write(ring.file(1), b"rubbish").unwrap();
    let keyring = ring.open();
    assert_eq!(keyring.current("one_spa", NOVEMBER).unwrap().number(), 2);
    assert!(matches!(keyring.by_number(1), Err(KeyError::Damaged { .. })));
    assert!(matches!(&Keyring::list(&ring.path).unwrap()[..], [Err(KeyError::Damaged { .. }), Ok(_)]));
}

#[test]
fn a_rotation_goes_on_where_it_was_interrupted_and_keeps_the_data_keys() {
    let ring = Ring::new();
    let old = ring.open();
    let wanted: Vec<_> = (0..4_u32)
        .map(|number| *old.current(&format!("customer{number}"), NOVEMBER).unwrap().derive(b"x"))
        .collect();
    let before = fs::read(ring.file(1)).unwrap();
    // Interrupted: the first two only.
    let rotating = ring.with(platform(2), Some(platform(1))).unwrap();
    fs::rename(ring.file(4), ring.path.join("away")).unwrap();
    fs::rename(ring.file(3), ring.path.join("away3")).unwrap();
    assert_eq!(rotating.rotate().unwrap().rewrapped, 2);
    fs::rename(ring.path.join("away"), ring.file(4)).unwrap();
    fs::rename(ring.path.join("away3"), ring.file(3)).unwrap();
    let both = ring.with(platform(2), Some(platform(1))).unwrap();
    // A key that is made meanwhile is wrapped by the new platform key.
    both.current("customer9", NOVEMBER).unwrap();
    let rotated = both.rotate().unwrap();
    assert_eq!((rotated.rewrapped, rotated.were_current), (2, 3));
    assert_ne!(fs::read(ring.file(1)).unwrap(), before);
    let new = ring.with(platform(2), None).unwrap();
    for (number, wanted) in (1..).zip(&wanted) {
        assert_eq!(*new.by_number(number).unwrap().derive(b"x"), *wanted);
    }
    assert!(matches!(ring.with(platform(1), None), Err(KeyError::OtherPlatform(_))));
}

#[test]
fn a_shredded_customer_loses_its_keys_and_no_other_does() {
    let ring = Ring::new();
    let keyring = ring.open();
    for time in [NOVEMBER, DECEMBER] {
        keyring.current("one_spa", time).unwrap();
        keyring.current("one_barn", time).unwrap();
    }
    let mask = keyring.mask_key("one_spa").unwrap();
    let old_file = fs::File::open(ring.file(1)).unwrap();
    assert!(keyring.shred("one_spa", &tombstone()).unwrap().is_empty(), "only what was retired goes");
    let generation = keyring.generation();
    assert_eq!(keyring.retire("one_spa").unwrap(), [1, 3, 5]);
    assert_ne!(keyring.generation(), generation);
    keyring.by_number(1).unwrap();
    let next = keyring.current("one_spa", DECEMBER).unwrap().number();
    assert_eq!(next, 6, "nothing new under a key that retires");
    assert_eq!(keyring.shred("one_spa", &tombstone()).unwrap(), [1, 3, 5]);
    for keyring in [&keyring, &ring.open()] {
        for number in [1, 3, 5] {
            assert!(matches!(keyring.by_number(number), Err(KeyError::Shredded(_))), "{number}");
        }
        for number in [2, 4, 6] {
            keyring.by_number(number).unwrap();
        }
        assert_ne!(keyring.mask_key("one_spa").unwrap(), mask);
    }
    let listed = Keyring::list(&ring.path).unwrap().remove(0).unwrap();
    assert_eq!(listed.state, State::Shredded(tombstone()));
    // Who still had the old file open finds zeros in it.
    let mut left = Vec::new();
    io::Read::read_to_end(&mut &old_file, &mut left).unwrap();
    assert!(left.iter().all(|byte| *byte == 0), "{left:?}");
    assert!(keyring.retire(OWN).is_err(), "the vault's own log stays readable");
}

#[test]
fn what_an_interrupted_change_left_behind_is_finished_or_wiped() {
    let ring = Ring::new();
    let keyring = ring.open();
    keyring.current("one_spa", NOVEMBER).unwrap();
    keyring.current("one_barn", NOVEMBER).unwrap();
    let wrapped = fs::read(ring.file(2)).unwrap();
    // A shred of the first that wrote its tombstone and got no further; a replacement of the second, too.
    let Ok(file) = keyring.folder.read(1) else { panic!("no file") };
    let gone = KeyFile { state: State::Shredded(tombstone()), wrapped: None, ..file };
    fs::write(ring.path.join("0000000001.key.new"), gone.encode()).unwrap();
    fs::write(ring.path.join("0000000002.key.new"), &wrapped).unwrap();
    Folder::prepare(&ring.path).unwrap();
    let after = ring.open();
    assert!(matches!(after.by_number(1), Err(KeyError::Shredded(1))));
    after.by_number(2).unwrap();
    let names = fs::read_dir(&ring.path).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().ends_with(".new")).count(), 0);
}

#[test]
fn the_first_start_makes_a_platform_key_and_a_later_one_never_does() {
    let folder = AuditFolder::new();
    fs::create_dir(&folder.0).unwrap();
    let config = folder.config();
    let made = default_file(&folder.0);
    Keyring::prepare(&config).unwrap().current("one_spa", NOVEMBER).unwrap();
    assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o600);
    Keyring::of_log(&config).unwrap().by_number(1).unwrap();
    let away = made.with_extension("away");
    fs::rename(&made, &away).unwrap();
    for opened in [Keyring::prepare(&config), Keyring::of_log(&config)] {
        let error = opened.unwrap_err();
        assert!(matches!(error, KeyError::NoPlatform(_)), "{error}");
        assert!(error.to_string().contains(&made.display().to_string()), "{error}");
    }
    let source = KeySource { file: Some(away.clone()), ..KeySource::default() };
    let config = config::Audit { platform_key: source, ..config };
    Keyring::prepare(&config).unwrap().by_number(1).unwrap();
    fs::remove_file(away).unwrap();
}

/// Says when, and keeps what it was told.
#[derive(Default)]
struct Told {
    lets_go: bool,
    forbids: Option<String>,
    may_go: Vec<Vec<u32>>,
    gone: Vec<Vec<u32>>,
}

impl Steps for Told {
    fn forbidden(&mut self, _: &Request) -> Option<String> {
        self.forbids.clone()
    }

    fn may_go(&mut self, _: &Request, keys: &[u32]) -> Result<bool, String> {
        self.may_go.push(keys.to_vec());
        Ok(self.lets_go)
    }

    fn gone(&mut self, _: &Request, keys: &[u32]) -> Result<(), String> {
        self.gone.push(keys.to_vec());
        Ok(())
    }
}

#[test]
fn a_request_waits_for_what_needs_the_keys_and_outlives_a_process() {
    let ring = Ring::new();
    let keyring = ring.open();
    keyring.current("one_spa", NOVEMBER).unwrap();
    let request = Request { customer: "one_spa".into(), reason: "asked".into(), by: "me".into() };
    let asked = ask(&ring.path, &request).unwrap();
    let mut told = Told::default();
    carry_out(&keyring, &mut told).unwrap();
    assert_eq!((told.may_go.len(), asked.answer().unwrap()), (1, None));
    keyring.by_number(1).unwrap();
    let keyring = ring.open();
    told.lets_go = true;
    carry_out(&keyring, &mut told).unwrap();
    assert_eq!((&told.may_go[1], &told.gone[..]), (&vec![1], &[vec![1]][..]));
    assert!(asked.answer().unwrap().unwrap().unwrap().contains("1 keys of one_spa"));
    assert!(matches!(keyring.by_number(1), Err(KeyError::Shredded(1))));
    carry_out(&keyring, &mut told).unwrap();
    assert_eq!(told.may_go.len(), 2, "it is done once");
    for customer in ["", OWN, "../x"] {
        let asked = ask(&ring.path, &Request { customer: customer.into(), ..request.clone() }).unwrap();
        carry_out(&keyring, &mut told).unwrap();
        assert!(asked.answer().unwrap().unwrap().is_err(), "{customer}");
    }
    fs::write(ring.path.join("requests/1.request"), b"{rubbish").unwrap();
    carry_out(&keyring, &mut told).unwrap();
    assert!(ring.path.join("requests/1.failed").exists());
    drop(ring.folder);
}
