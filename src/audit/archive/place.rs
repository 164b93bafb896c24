//! Where the archive's files are kept: a folder, or a store that speaks S3, Google's or Azure's language.
//!
//! What always holds: a file is there under its name whole or not at all, and its size was compared before [`Place::put`]
//! answers; in a folder it was synced, and nobody but its owner can read it. Doing anything twice does no harm.
//! What these functions do may take minutes; they are for a thread of their own.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig, WriteMultipart,
};
use tokio::runtime::Runtime;

use super::name::Name;
use crate::config;

/// Larger files are sent in parts of this size.
const PART_BYTES: usize = 8 << 20;
/// Parts under way at one time.
const PARTS_AT_ONCE: usize = 2;
/// One request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Dialling.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Trying one request again and again.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
/// Answers of a store that may be listed: more than three names an hour for a hundred years.
const NAMES_MAX: usize = 3_000_000;

/// Keeps files under their names.
pub trait Place: Send {
    /// The files of a log with their sizes, in no order. What is not named as the archive names files is passed over.
    ///
    /// # Errors
    /// What the place says.
    fn list(&self, log: &str) -> io::Result<Vec<(Name, u64)>>;

    /// Keeps a whole file, which may be moved away; one with the same name is replaced.
    ///
    /// # Errors
    /// What the place says, also when it has another size then.
    fn put(&self, name: &Name, file: &Path) -> io::Result<()>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// What the place says.
    fn open(&self, name: &Name) -> io::Result<File>;

    /// Deletes a file; one that is not there is deleted.
    ///
    /// # Errors
    /// What the place says.
    fn delete(&self, name: &Name) -> io::Result<()>;
}

/// The archive's folder of an audit log without a setting.
#[must_use]
pub fn default_folder(audit: &config::Audit) -> PathBuf {
    audit.directory.join("archive")
}

/// The archive as configured.
///
/// # Errors
/// A setting that cannot be used, or a folder that cannot be made.
pub fn open(audit: &config::Audit) -> io::Result<Box<dyn Place>> {
    let Some(url) = audit.archive.url.as_deref() else {
        return Ok(Box::new(Local::open(&default_folder(audit))?));
    };
    match url.strip_prefix("file://") {
        Some(path) => Ok(Box::new(Local::open(Path::new(path))?)),
        None => Ok(Box::new(Remote::open(&audit.archive)?)),
    }
}

/// The archive as configured, for reading: nothing is made.
///
/// # Errors
/// A setting that cannot be used.
pub fn open_to_read(audit: &config::Audit) -> io::Result<Box<dyn Place>> {
    match audit.archive.url.as_deref().map(|url| (url, url.strip_prefix("file://"))) {
        None => Ok(Box::new(Local { folder: default_folder(audit) })),
        Some((_, Some(path))) => Ok(Box::new(Local { folder: path.into() })),
        Some((_, None)) => Ok(Box::new(Remote::open(&audit.archive)?)),
    }
}

/// The store behind the archive as configured and where in it files lie, for readers of Parquet.
///
/// # Errors
/// A setting that cannot be used.
pub fn store(audit: &config::Audit) -> io::Result<(Arc<dyn ObjectStore>, Key)> {
    let folder = match audit.archive.url.as_deref() {
        None => default_folder(audit),
        Some(url) => match url.strip_prefix("file://") {
            Some(path) => PathBuf::from(path),
            None => return remote_store(&audit.archive),
        },
    };
    let store = LocalFileSystem::new_with_prefix(folder).map_err(io::Error::other)?;
    Ok((Arc::new(store), Key::default()))
}

/// A folder.
#[derive(Debug)]
pub struct Local {
    folder: PathBuf,
}

impl Local {
    /// Opens the folder, and makes it if it is not there.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(folder: &Path) -> io::Result<Self> {
        make_folder(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.folder.join(name.to_string())
    }
}

/// Makes a folder that is its owner's, with those above it.
pub(in crate::audit) fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(above)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => sync_folder(above),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl Place for Local {
    fn list(&self, log: &str) -> io::Result<Vec<(Name, u64)>> {
        let mut found = Vec::new();
        let mut open = vec![(self.folder.join(log), log.to_owned(), 0)];
        while let Some((folder, inside, depth)) = open.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                let Ok(part) = entry.file_name().into_string() else { continue };
                let inside = format!("{inside}/{part}");
                let kind = entry.file_type()?;
                if kind.is_dir() && depth < 3 {
                    open.push((entry.path(), inside, depth + 1));
                } else if let Some(name) = Name::parse(&inside).filter(|_| kind.is_file()) {
                    found.push((name, entry.metadata()?.len()));
                }
            }
        }
        Ok(found)
    }

    fn put(&self, name: &Name, file: &Path) -> io::Result<()> {
        let path = self.path(name);
        let folder = path.parent().unwrap_or(&self.folder);
        make_folder(folder)?;
        let bytes = fs::metadata(file)?.len();
        fs::set_permissions(file, Permissions::from_mode(0o600))?;
        match fs::rename(file, &path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy(file, &path)?,
            Err(error) => return Err(error),
        }
        sync_folder(folder)?;
        same_size(bytes, fs::metadata(&path)?.len())
    }

    fn open(&self, name: &Name) -> io::Result<File> {
        File::open(self.path(name))
    }

    fn delete(&self, name: &Name) -> io::Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => path.parent().filter(|folder| folder.is_dir()).map_or(Ok(()), sync_folder),
        }
    }
}

/// To another file system, by a name that is none of the archive's.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let unfinished = to.with_extension("new");
    let mut source = File::open(from)?;
    let mut target = File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    io::copy(&mut source, &mut target)?;
    target.sync_all()?;
    fs::rename(&unfinished, to)
}

fn same_size(sent: u64, found: u64) -> io::Result<()> {
    if sent == found {
        return Ok(());
    }
    Err(io::Error::other(format!("{sent} bytes were sent and {found} are there")))
}

/// A store of objects.
#[derive(Debug)]
pub struct Remote {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    runtime: Runtime,
}

fn shared(store: impl ObjectStore) -> Arc<dyn ObjectStore> {
    Arc::new(store)
}

fn remote_store(archive: &config::Archive) -> io::Result<(Arc<dyn ObjectStore>, Key)> {
    let url = archive.url.as_deref().unwrap_or_default();
    let inside =
        url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let prefix = Key::parse(inside.trim_matches('/')).map_err(io::Error::other)?;
    let endpoint = archive.endpoint.as_deref();
    let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let client = ClientOptions::new()
        .with_allow_http(is_plain)
        .with_timeout(REQUEST_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT);
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(10),
        ..BackoffConfig::default()
    };
    let retry = RetryConfig { backoff, max_retries: 5, retry_timeout: RETRY_TIMEOUT };
    let store: object_store::Result<Arc<dyn ObjectStore>> = match url.split_once("://").map(|(kind, _)| kind)
    {
        Some("s3") => {
            let mut builder = AmazonS3Builder::from_env().with_url(url);
            if let Some(endpoint) = endpoint {
                builder = builder.with_endpoint(endpoint);
            }
            if let Some(region) = &archive.region {
                builder = builder.with_region(region);
            }
            builder.with_client_options(client).with_retry(retry).build().map(shared)
        }
        Some("gs") => {
            let mut builder = GoogleCloudStorageBuilder::from_env().with_url(url);
            if let Some(endpoint) = endpoint {
                builder = builder.with_base_url(endpoint);
            }
            builder.with_client_options(client).with_retry(retry).build().map(shared)
        }
        Some("az") => {
            let mut builder = MicrosoftAzureBuilder::from_env().with_url(url);
            if let Some(endpoint) = endpoint {
                builder = builder.with_endpoint(endpoint.to_owned());
            }
            builder.with_client_options(client).with_retry(retry).build().map(shared)
        }
        Some(_) | None => return Err(io::Error::other("must begin with s3://, gs://, az:// or file://")),
    };
    Ok((store.map_err(io::Error::other)?, prefix))
}

impl Remote {
    /// The store as configured. Nothing is sent yet.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn open(archive: &config::Archive) -> io::Result<Self> {
        let (store, prefix) = remote_store(archive)?;
        Self::over(store, prefix)
    }

    /// A store that was made elsewhere, with files below `prefix`.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn over(store: Arc<dyn ObjectStore>, prefix: Key) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { store, prefix, runtime })
    }

    fn key(&self, inside: &str) -> Key {
        self.prefix.parts().chain(Key::from(inside).parts()).collect()
    }

    async fn send(&self, key: &Key, file: &mut File, bytes: u64) -> io::Result<()> {
        let mut part = Vec::new();
        let mut next = |file: &mut File| -> io::Result<Vec<u8>> {
            let limit = u64::try_from(PART_BYTES).unwrap_or(u64::MAX);
            file.take(limit).read_to_end(&mut part)?;
            Ok(std::mem::take(&mut part))
        };
        if bytes <= u64::try_from(PART_BYTES).unwrap_or(u64::MAX) {
            self.store.put(key, PutPayload::from(next(file)?)).await.map_err(io::Error::other)?;
            return Ok(());
        }
        let upload = self.store.put_multipart(key).await.map_err(io::Error::other)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        loop {
            let part = next(file)?;
            if part.is_empty() {
                break;
            }
            upload.put(part.into());
            if let Err(error) = upload.wait_for_capacity(PARTS_AT_ONCE).await {
                // What cannot be taken back is without a name, and stores clear it away as they are told to.
                let _ = upload.abort().await;
                return Err(io::Error::other(error));
            }
        }
        upload.finish().await.map_err(io::Error::other)?;
        Ok(())
    }
}

impl Place for Remote {
    fn list(&self, log: &str) -> io::Result<Vec<(Name, u64)>> {
        self.runtime.block_on(async {
            let folder = self.key(log);
            let mut listed = self.store.list(Some(&folder)).take(NAMES_MAX);
            let mut found = Vec::new();
            while let Some(object) = listed.try_next().await.map_err(io::Error::other)? {
                let inside: Option<Vec<String>> = object
                    .location
                    .prefix_match(&self.prefix)
                    .map(|parts| parts.map(|part| part.as_ref().to_owned()).collect());
                if let Some(name) = inside.and_then(|parts| Name::parse(&parts.join("/"))) {
                    found.push((name, object.size));
                }
            }
            Ok(found)
        })
    }

    fn put(&self, name: &Name, file: &Path) -> io::Result<()> {
        let mut file = File::open(file)?;
        let bytes = file.metadata()?.len();
        let key = self.key(&name.to_string());
        self.runtime.block_on(async {
            self.send(&key, &mut file, bytes).await?;
            let found = self.store.head(&key).await.map_err(io::Error::other)?;
            same_size(bytes, found.size)
        })
    }

    fn open(&self, name: &Name) -> io::Result<File> {
        let key = self.key(&name.to_string());
        let mut file = unnamed_file()?;
        self.runtime.block_on(async {
            let found = self.store.get(&key).await.map_err(of_store)?;
            let size = found.meta.size;
            let mut stream = found.into_stream();
            while let Some(bytes) = stream.try_next().await.map_err(of_store)? {
                file.write_all(&bytes)?;
            }
            same_size(size, file.metadata()?.len())
        })?;
        file.rewind()?;
        Ok(file)
    }

    fn delete(&self, name: &Name) -> io::Result<()> {
        let key = self.key(&name.to_string());
        match self.runtime.block_on(self.store.delete(&key)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

fn of_store(error: object_store::Error) -> io::Error {
    let is_missing = matches!(error, object_store::Error::NotFound { .. });
    if is_missing { io::Error::new(io::ErrorKind::NotFound, error) } else { io::Error::other(error) }
}

/// A file without a name, gone when it is closed; what it holds is encrypted.
fn unnamed_file() -> io::Result<File> {
    let name = format!("onevault-{}-{:032x}", std::process::id(), rand());
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(path)?;
    Ok(file)
}

/// For a name that nobody else has.
fn rand() -> u128 {
    let mut bytes = [0; 16];
    // Without random numbers the name may be taken, and then opening it fails.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u128::from_le_bytes(bytes)
}
