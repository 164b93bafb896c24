//! A customer's folder: the names chosen for it, its password file, its `config.yaml`.
//!
//! Always holds: names and password are on disk (synced) before a server hears of them; the folder gets the
//! customer's name in one rename, with everything in it, so the catalogue never sees half a customer. Until then
//! it lies in `.creating-<id>`. Secret files are their owner's alone (0600). Refuses to know servers.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::customers::Customer;
use crate::ids::{DatabaseName, RoleName, Secret};

use super::address::ServerAddress;
use super::config_yaml;
use super::{Outcome, Place, Plan};

/// Where the role's password is, seen from the customer's folder.
pub(super) const PASSWORD_FILE: &str = "secrets/database_password";

/// What the first login needs; shown once.
#[derive(Debug)]
pub struct Credentials {
    /// The password of the first login.
    pub password: Secret,
    /// The first API token.
    pub token: Secret,
}

/// How the customer is called at the server.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) role: RoleName,
    pub(super) database: DatabaseName,
    pub(super) password: Secret,
}

impl Names {
    /// Where the customer's role logs in.
    pub(super) fn at(&self, server: &ServerAddress) -> ServerAddress {
        ServerAddress {
            user: self.role.as_str().to_owned(),
            password: Some(self.password.clone()),
            database: self.database.as_str().to_owned(),
            ..server.clone()
        }
    }
}

/// `names.json`: what a later run must know to go on.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    server: String,
    role: String,
    database: String,
}

/// The names of an existing customer, of a run that was cut short, or new ones.
pub(super) fn names(
    place: &Place,
    plan: &Plan,
    existing: Option<&Customer>,
) -> Result<(Names, Outcome), String> {
    if let Some(customer) = existing {
        let names = existing_names(place, plan, customer)?;
        let said = format!("role {}, database {}", names.role, names.database);
        return Ok((names, Outcome::Present(said)));
    }
    let folder = place.configurations_dir.join(plan.id.as_str());
    if folder.exists() {
        return Err(format!(
            "{} is there, but no customer could be read from it; run onevault check, or move it away",
            folder.display()
        ));
    }
    let staging = staging(place, plan);
    let kept = staging.join("names.json");
    let (chosen, outcome): (Chosen, fn(String) -> Outcome) = if kept.exists() {
        let text = read(&kept)?;
        (
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", kept.display()))?,
            Outcome::Present,
        )
    } else {
        (choose(place, plan, &staging)?, Outcome::Made)
    };
    let here = place.server.to_string();
    if chosen.server != here {
        return Err(format!(
            "an earlier run began at the server {}, this one is at {here}; go on there, or remove {}",
            chosen.server,
            staging.display()
        ));
    }
    let password = read(&staging.join(plan.id.as_str()).join(PASSWORD_FILE))?;
    let said = outcome(format!("role {}, database {}", chosen.role, chosen.database));
    let names = Names {
        role: RoleName::parse(&chosen.role).map_err(|error| error.to_string())?,
        database: DatabaseName::parse(&chosen.database).map_err(|error| error.to_string())?,
        password: Secret::new(password),
    };
    Ok((names, said))
}

/// An existing customer must be the one that was asked for, at the server that was asked for.
fn existing_names(place: &Place, plan: &Plan, customer: &Customer) -> Result<Names, String> {
    for (what, is, asked) in [
        ("industry", customer.industry.as_str(), plan.industry.as_str()),
        ("region", customer.region.as_str(), plan.region.as_str()),
        ("compliance", &customer.compliance.join(","), &plan.compliance.join(",")),
    ] {
        if is != asked {
            return Err(format!("customer \"{}\" exists with {what} \"{is}\", not \"{asked}\"", plan.id));
        }
    }
    let (server, database) = customer
        .database(plan.database.as_str())
        .ok_or_else(|| format!("customer \"{}\" exists without a database \"{}\"", plan.id, plan.database))?;
    if (server.host.as_str(), server.port) != (place.server.host.as_str(), place.server.port) {
        return Err(format!(
            "customer \"{}\" exists at the server {}:{}, not at {}",
            plan.id, server.host, server.port, place.server
        ));
    }
    Ok(Names { role: server.role.clone(), database, password: server.password.clone() })
}

/// New names that tell nothing, and a new password; kept in `staging`.
fn choose(place: &Place, plan: &Plan, staging: &Path) -> Result<Chosen, String> {
    let name = format!("ov_{}", hex(&random::<6>()?));
    let chosen = Chosen { server: place.server.to_string(), role: name.clone(), database: name };
    make_folder(&place.configurations_dir, 0o755)?;
    make_folder(&staging.join(plan.id.as_str()).join("secrets"), 0o700)?;
    let password = Secret::new(URL_SAFE_NO_PAD.encode(random::<32>()?));
    write_secret(&staging.join(plan.id.as_str()).join(PASSWORD_FILE), password.expose())?;
    let text = serde_json::to_string(&chosen).map_err(|error| error.to_string())?;
    // Written last: whoever finds it finds the password as well.
    write_secret(&staging.join("names.json"), &text)?;
    Ok(chosen)
}

/// Writes `config.yaml` with a first login and a first token, then gives the folder its name.
pub(super) fn publish(place: &Place, plan: &Plan, names: &Names) -> Result<Credentials, String> {
    let staging = staging(place, plan);
    let prepared = staging.join(plan.id.as_str());
    let password = Secret::new(URL_SAFE_NO_PAD.encode(random::<18>()?));
    let (text, token) = config_yaml::render(place, plan, names, &password)?;
    write_secret(&prepared.join("config.yaml"), &text)?;
    let folder = place.configurations_dir.join(plan.id.as_str());
    fs::rename(&prepared, &folder)
        .map_err(|error| format!("cannot rename {} to {}: {error}", prepared.display(), folder.display()))?;
    sync_folder(&place.configurations_dir)?;
    // What is left is only the note of the names, which config.yaml now holds.
    let _ = fs::remove_dir_all(&staging);
    Ok(Credentials { password, token })
}

fn staging(place: &Place, plan: &Plan) -> PathBuf {
    place.configurations_dir.join(format!(".creating-{}", plan.id))
}

fn make_folder(path: &Path, mode: u32) -> Result<(), String> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|error| format!("cannot make {}: {error}", path.display()))
}

/// Readable by its owner only, synced, and whole or not there.
fn write_secret(path: &Path, text: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
    let draft = path.with_extension("new");
    let _ = fs::remove_file(&draft);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&draft, path).map_err(failed)?;
    path.parent().map_or(Ok(()), sync_folder)
}

fn sync_folder(path: &Path) -> Result<(), String> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| format!("cannot sync {}: {error}", path.display()))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES], String> {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).map_err(|_| "no random numbers".to_owned())?;
    Ok(bytes)
}

/// Two digits for each byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
