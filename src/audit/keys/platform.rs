//! The platform key: 32 bytes from outside that wrap every data key. It is read at the start and never written, but for the
//! very first start without any: then a file is made beside the audit folder.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::file::Secret;
use crate::config::KeySource;

/// A command that gives the key must end within this time.
const COMMAND_TIME: Duration = Duration::from_secs(15);
/// More is no key.
const TEXT_BYTES_MAX: u64 = 4096;

/// What wraps the data keys.
pub struct PlatformKey {
    secret: Secret,
    name: [u8; 8],
}

impl PlatformKey {
    /// Takes the 32 bytes.
    #[must_use]
    pub fn new(secret: Zeroizing<[u8; 32]>) -> Self {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        context.update(b"onevault platform key\0");
        context.update(secret.as_slice());
        let digest = context.finish();
        let name = digest.as_ref().first_chunk().copied().unwrap_or_default();
        Self { secret, name }
    }

    /// Says which key it is, and nothing about it: the first bytes of a hash.
    #[must_use]
    pub const fn name(&self) -> [u8; 8] {
        self.name
    }

    pub(super) fn secret(&self) -> &[u8] {
        self.secret.as_slice()
    }

    /// Reads the key from where the configuration says.
    ///
    /// # Errors
    /// Why there is none, in words that do not show it.
    pub fn read(source: &KeySource) -> Result<Self, String> {
        if let Some(path) = &source.file {
            return Self::from_file(path)
                .map_err(|error| format!("platform key {}: {error}", path.display()));
        }
        if let Some(name) = &source.env {
            let text = std::env::var_os(name)
                .map(|text| Zeroizing::new(std::os::unix::ffi::OsStringExt::into_vec(text)))
                .ok_or_else(|| format!("platform key: environment variable {name} is not set"))?;
            return parse(&text).map(Self::new).map_err(|what| format!("platform key in {name}: {what}"));
        }
        let Some((program, arguments)) = source.command.split_first() else {
            return Err("platform key: none is configured".into());
        };
        run(program, arguments)
            .and_then(|text| parse(&text).map_err(str::to_owned))
            .map(Self::new)
            .map_err(|what| format!("platform key from command {program}: {what}"))
    }

    fn from_file(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let metadata = file.metadata().map_err(|error| error.to_string())?;
        if metadata.mode() & 0o077 != 0 {
            return Err("others may read or write it; give it mode 0600".into());
        }
        if ![0, rustix::process::geteuid().as_raw()].contains(&metadata.uid()) {
            return Err("it belongs to another user".into());
        }
        let text = read_bounded(file).map_err(|error| error.to_string())?;
        if let Ok(raw) = <[u8; 32]>::try_from(text.as_slice()) {
            return Ok(Self::new(Zeroizing::new(raw)));
        }
        Ok(Self::new(parse(&text)?))
    }

    /// Makes a key and keeps it in a new file of its own (0600), synced.
    ///
    /// # Errors
    /// What the operating system says; [`io::ErrorKind::AlreadyExists`] when there is one.
    pub fn make(path: &Path) -> io::Result<Self> {
        let mut secret = Secret::default();
        let filled = aws_lc_rs::rand::fill(secret.as_mut_slice());
        filled.map_err(|_| io::Error::other("no random numbers"))?;
        let text = Zeroizing::new(format!("{}\n", super::super::render::hex(secret.as_slice())));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(Self::new(secret))
    }
}

impl fmt::Debug for PlatformKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlatformKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Where the key of an audit folder lies when the configuration says nothing.
#[must_use]
pub fn default_file(directory: &Path) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(".key");
    name.into()
}

fn parse(text: &[u8]) -> Result<Secret, &'static str> {
    const RULE: &str = "must be 32 bytes, written as 64 hex digits or as base64";
    let text = text.trim_ascii();
    let mut secret = Secret::default();
    if text.len() == 64 {
        for (place, pair) in secret.iter_mut().zip(text.chunks_exact(2)) {
            let digits = std::str::from_utf8(pair).map_err(|_| RULE)?;
            // A sign would be taken, too.
            let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            *place = u8::from_str_radix(digits, 16).ok().filter(|_| hex).ok_or(RULE)?;
        }
        return Ok(secret);
    }
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| RULE)?);
    let bytes: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| RULE)?;
    secret.copy_from_slice(bytes);
    Ok(secret)
}

fn read_bounded(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(TEXT_BYTES_MAX).unwrap_or(0)));
    from.take(TEXT_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

/// Standard output of a command that ends in time and well.
fn run(program: &str, arguments: &[String]) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let (told, heard) = channel();
    if let Some(output) = child.stdout.take() {
        // A grandchild may keep the pipe open, so nobody waits for the thread itself.
        std::thread::spawn(move || told.send(read_bounded(output)));
    }
    let ended = wait(&mut child, COMMAND_TIME).map_err(|error| error.to_string())?;
    let Some(success) = ended else { return Err(format!("it did not end within {COMMAND_TIME:?}")) };
    if !success {
        return Err("it failed".into());
    }
    let text = heard.recv_timeout(COMMAND_TIME).map_err(|_| "its output does not end")?;
    text.map_err(|error| error.to_string())
}

/// Whether it ended well; `None`: it had to be killed.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<bool>> {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_hex_and_base64_and_nothing_else_is() {
        let hex = "00010203".repeat(8);
        let bytes: Vec<u8> = [0, 1, 2, 3].repeat(8);
        assert_eq!(parse(format!(" {hex}\n").as_bytes()).unwrap().as_slice(), bytes);
        assert_eq!(parse(STANDARD.encode(&bytes).as_bytes()).unwrap().as_slice(), bytes);
        for bad in [
            "",
            "00",
            &hex.replace('3', "+"),
            &STANDARD.encode([7; 31]),
            hex.get(1..).unwrap(),
            &"+0".repeat(32),
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_command_gives_the_key_and_one_that_fails_does_not() {
        let source = |script: &str| KeySource {
            command: vec!["sh".into(), "-c".into(), script.into()],
            ..KeySource::default()
        };
        let key = PlatformKey::read(&source("printf '%064d' 7")).unwrap();
        assert_eq!(key.secret()[31], 7);
        assert!(PlatformKey::read(&source("printf '%064d' 7; exit 3")).unwrap_err().contains("failed"));
        assert!(PlatformKey::read(&source("echo short")).unwrap_err().contains("32 bytes"));
        let mut slow = Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(wait(&mut slow, Duration::from_millis(50)).unwrap(), None);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let path = std::env::temp_dir().join(format!("onevault-platform-{}.key", std::process::id()));
        std::fs::remove_file(&path).ok();
        let made = PlatformKey::make(&path).unwrap();
        let source = KeySource { file: Some(path.clone()), ..KeySource::default() };
        assert_eq!(PlatformKey::read(&source).unwrap().name(), made.name());
        assert!(PlatformKey::make(&path).is_err());
        std::fs::write(&path, [9; 32]).unwrap();
        assert_eq!(PlatformKey::read(&source).unwrap().secret(), [9; 32]);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
        std::fs::set_permissions(&path, mode).unwrap();
        assert!(PlatformKey::read(&source).unwrap_err().contains("0600"));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_key_is_not_shown() {
        let key = PlatformKey::new(Zeroizing::new([0xab; 32]));
        assert!(!format!("{key:?}").contains("171, 171"));
    }
}
