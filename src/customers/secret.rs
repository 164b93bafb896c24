//! References to secrets and what they lead to.
//!
//! `env:NAME` is a variable of the process, `file:PATH` a file beside the customer's `config.yaml`, which nobody
//! but its owner may read. A secret written where a reference belongs is refused and not repeated.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::schema::FromText;
use crate::ids::Secret;

/// The largest secret, in bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reference {
    Env(String),
    File(PathBuf),
}

impl FromText for Reference {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("env", name)) if is_variable(name) => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(_) | None => {
                Err("it must be a reference (env:NAME or file:PATH), not the secret itself".into())
            }
        }
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Follows a reference; files are relative to `folder`. A line end behind the secret is no part of it.
///
/// # Errors
/// A sentence that names the reference.
pub fn follow(reference: &str, folder: &Path) -> Result<Secret, String> {
    Reference::from_text(reference)?.follow(folder)
}

impl Reference {
    pub(super) fn follow(&self, folder: &Path) -> Result<Secret, String> {
        match self {
            Self::Env(name) => match std::env::var(name) {
                Ok(text) if !text.is_empty() => Ok(Secret::new(text)),
                Ok(_) | Err(_) => Err(format!("environment variable {name} is not set")),
            },
            Self::File(path) => {
                let path = folder.join(path);
                read(&path).map_err(|error| format!("secret file \"{}\": {error}", path.display()))
            }
        }
    }
}

/// Opens first and then asks about what is open, so that nothing can be swapped in between.
fn read(path: &Path) -> Result<Secret, String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
        rustix::io::Errno::LOOP => "symbolic links are not followed".to_owned(),
        other => other.to_string(),
    })?;
    let file = File::from(file);
    check(&file.metadata().map_err(|error| error.to_string())?)?;
    let mut text = String::new();
    file.take(SECRET_BYTES_MAX).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let text = Secret::new(text);
    let secret = text.expose().strip_suffix('\n').unwrap_or(text.expose());
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err("it is empty".into());
    }
    Ok(Secret::new(secret.to_owned()))
}

fn check(file: &Metadata) -> Result<(), String> {
    if !file.is_file() {
        return Err("it is no regular file".into());
    }
    if file.mode() & 0o077 != 0 {
        return Err("others than its owner may read or write it; make it mode 0600".into());
    }
    if file.uid() != 0 && file.uid() != rustix::process::geteuid().as_raw() {
        return Err("it belongs to another user".into());
    }
    if file.len() >= SECRET_BYTES_MAX {
        return Err(format!("it has {SECRET_BYTES_MAX} bytes or more"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::customers::files::tests::Folder;

    #[test]
    fn a_secret_file_is_its_owners_alone() {
        let folder = Folder::new();
        let path = folder.path().join("password");
        let follow = |name: &str| follow(&format!("file:{name}"), folder.path());
        fs::write(&path, "s3cret\r\n").unwrap();
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o660, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(follow("password").is_ok(), good, "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(follow("password").unwrap().expose(), "s3cret");
        symlink(&path, folder.path().join("link")).unwrap();
        assert!(follow("link").unwrap_err().contains("symbolic links"));
        assert!(follow(".").unwrap_err().contains("regular file"));
        fs::write(&path, "\n").unwrap();
        assert!(follow("password").unwrap_err().contains("empty"));
    }

    #[test]
    fn a_secret_in_place_of_a_reference_is_refused_and_not_repeated() {
        for literal in ["hunter2", "postgres:hunter2", "env:", "env:A-B", "file:"] {
            let error = follow(literal, Path::new("/")).unwrap_err();
            assert!(error.contains("reference") && !error.contains("hunter2"), "{error}");
        }
        let error = follow("env:ONEVAULT_THIS_IS_NOT_SET", Path::new("/")).unwrap_err();
        assert_eq!(error, "environment variable ONEVAULT_THIS_IS_NOT_SET is not set");
    }
}
