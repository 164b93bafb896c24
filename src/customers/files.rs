//! The catalogue as a folder: `<id>/config.yaml` for each customer.
//!
//! What always holds: a customer is taken whole or not at all; what is wrong with one does not touch another; no two
//! customers own the same domain, token or database of a server.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Catalogue, Customer, DatabaseRule, build, schema};
use crate::config::{Fault, Problem, Problems, parse_yaml, read_text, read_typed};
use crate::ids::CustomerId;

/// The file in each customer's folder.
pub const FILE_NAME: &str = "config.yaml";

/// What a folder holds, good and bad.
#[derive(Debug)]
pub struct Survey {
    /// The customers that can be served.
    pub catalogue: Catalogue,
    /// Everything that is wrong, by file and line.
    pub problems: Vec<Problem>,
    /// Customers whose last good version stays because the file is bad.
    pub kept: Vec<CustomerId>,
}

/// What to do with references to secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum References {
    /// Follow them; one that leads nowhere is a problem.
    Follow,
    /// Leave them: secrets are empty. For commands that need none; such a catalogue cannot serve.
    Leave,
}

/// Reads all customers below `dir`, or none.
///
/// # Errors
/// Everything that is wrong in any file.
pub fn load(dir: &Path) -> Result<Catalogue, Problems> {
    load_with(dir, References::Follow)
}

/// [`load`], with a choice about secrets.
///
/// # Errors
/// Everything that is wrong in any file.
pub fn load_with(dir: &Path, references: References) -> Result<Catalogue, Problems> {
    let survey = survey_with(dir, &Catalogue::default(), references);
    if survey.problems.is_empty() { Ok(survey.catalogue) } else { Err(Problems(survey.problems)) }
}

/// Reads all customers below `dir`. One whose file is bad stays as it is in `previous`, or is left out; one that
/// has not changed stays the same object; one whose folder is gone is gone.
#[must_use]
pub fn survey(dir: &Path, previous: &Catalogue) -> Survey {
    survey_with(dir, previous, References::Follow)
}

fn survey_with(dir: &Path, previous: &Catalogue, references: References) -> Survey {
    let folders = match folders(dir) {
        Ok(folders) => folders,
        Err(problem) => {
            let customers = previous.customers.values().map(Arc::clone);
            let kept = previous.customers.keys().cloned().collect();
            return Survey { catalogue: Catalogue::new(customers), problems: vec![problem], kept };
        }
    };
    let (mut owners, mut problems, mut kept) = (Owners::default(), Vec::new(), Vec::new());
    let mut changed = Vec::new();
    for (name, folder) in folders {
        let old = previous.customer(&name);
        if let Some(old) = old {
            owners.take(old); // who was here before comes first: nobody takes what is another's
        }
        match read_customer(&name, &folder, references) {
            Err(found) => {
                problems.extend(found);
                kept.extend(old.map(|old| old.id.clone()));
            }
            Ok(read) if old.is_some_and(|old| old.fingerprint == read.customer.fingerprint) => {}
            Ok(read) => changed.push(read),
        }
    }
    for (read, claims) in owners.settle(changed, previous) {
        problems.extend(claims.into_iter().map(|claim| claim.problem(&read)));
        kept.extend(previous.customer(read.customer.id.as_str()).map(|old| old.id.clone()));
    }
    problems.sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
    Survey { catalogue: Catalogue::new(owners.customers.into_values()), problems, kept }
}

/// Each customer's folder by name, sorted. Names that start with a dot are not looked at.
fn folders(dir: &Path) -> Result<Vec<(String, PathBuf)>, Problem> {
    let problem =
        |error: std::io::Error| Problem::of_file(dir, format!("could not read the folder: {error}"));
    let mut folders = Vec::new();
    for entry in fs::read_dir(dir).map_err(problem)? {
        let entry = entry.map_err(problem)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && entry.path().is_dir() {
            folders.push((name, entry.path()));
        }
    }
    folders.sort();
    Ok(folders)
}

/// A customer as read from its folder.
struct Read {
    customer: Arc<Customer>,
    file: PathBuf,
}

fn read_customer(name: &str, folder: &Path, references: References) -> Result<Read, Vec<Problem>> {
    let file = folder.join(FILE_NAME);
    if let Err(error) = CustomerId::parse(name) {
        return Err(vec![Problem::of_file(folder, error.to_string())]);
    }
    let text = read_text(&file).map_err(|problem| vec![problem])?;
    if fs::metadata(&file).is_ok_and(|file| file.mode() & 0o002 != 0) {
        return Err(vec![Problem::of_file(&file, "everybody may write it; make it mode 0644 or less")]);
    }
    match parse(name, folder, &text, references) {
        Ok(customer) => Ok(Read { customer: Arc::new(customer), file }),
        Err(faults) => Err(faults.into_iter().map(|fault| Problem::in_file(&file, fault)).collect()),
    }
}

/// Reads one customer's `config.yaml`; `folder` is where its references lead.
///
/// # Errors
/// Every fault of this text.
pub fn parse(name: &str, folder: &Path, text: &str, references: References) -> Result<Customer, Vec<Fault>> {
    let tree = parse_yaml(text).map_err(|fault| vec![fault])?;
    let file: schema::File = read_typed(&tree)?;
    let source = build::Source { name, folder, text, tree: &tree, references };
    build::customer(&source, file)
}

/// What belongs to whom among the customers taken in so far.
#[derive(Default)]
struct Owners {
    customers: BTreeMap<CustomerId, Arc<Customer>>,
    domains: HashMap<String, CustomerId>,
    tokens: HashMap<String, CustomerId>,
    databases: HashMap<(String, u16), Owned>,
}

/// The databases of one server.
#[derive(Default)]
struct Owned {
    exact: HashMap<String, CustomerId>,
    patterns: Vec<(Extent, CustomerId)>,
}

impl Owned {
    fn owner(&self, extent: &Extent) -> Option<&CustomerId> {
        let pattern = self.patterns.iter().find(|(other, _)| other.overlaps(extent)).map(|(_, owner)| owner);
        pattern.or_else(|| match extent.after {
            None => self.exact.get(&extent.before),
            Some(_) => self.exact.iter().find(|(name, _)| extent.covers(name)).map(|(_, owner)| owner),
        })
    }

    fn add(&mut self, extent: Extent, owner: &CustomerId) {
        match extent.after {
            None => drop(self.exact.insert(extent.before, owner.clone())),
            Some(_) => self.patterns.push((extent, owner.clone())),
        }
    }
}

/// Something that two customers claim.
struct Claim {
    path: [String; 2],
    text: String,
}

impl Claim {
    /// Looks for the place again: to keep every file's tree for the rare claim would cost more than all customers.
    fn problem(self, read: &Read) -> Problem {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let tree = read_text(&read.file).ok().and_then(|text| parse_yaml(&text).ok());
        let place = tree.map(|tree| tree.place(&path)).unwrap_or_default();
        Problem::in_file(&read.file, Fault::new(place, self.text))
    }
}

impl Owners {
    /// Puts new versions in the place of old ones as long as that goes, then says which cannot be and why.
    fn settle(&mut self, mut changed: Vec<Read>, previous: &Catalogue) -> Vec<(Read, Vec<Claim>)> {
        loop {
            let before = changed.len();
            let mut left = Vec::new();
            for read in changed {
                let old = previous.customer(read.customer.id.as_str());
                if let Some(old) = old {
                    self.release(old);
                }
                let claims = self.claims(&read.customer);
                if claims.is_empty() {
                    self.take(&read.customer);
                } else {
                    if let Some(old) = old {
                        self.take(old);
                    }
                    left.push((read, claims));
                }
            }
            if left.len() == before {
                return left;
            }
            // Somebody may have given up what another one claims.
            changed = left.into_iter().map(|(read, _)| read).collect();
        }
    }

    /// What this customer claims although it is another's.
    fn claims(&self, customer: &Customer) -> Vec<Claim> {
        let mut claims = Vec::new();
        let mut claim = |list: &str, at: usize, what: String, owner: &CustomerId| {
            let text = format!("{what} belongs to customer {owner} already");
            claims.push(Claim { path: [list.to_owned(), at.to_string()], text });
        };
        for (at, domain) in customer.domains.iter().enumerate() {
            if let Some(owner) = self.domains.get(domain) {
                claim("domains", at, format!("domain {domain}"), owner);
            }
        }
        for (at, token) in customer.tokens.iter().enumerate() {
            if let Some(owner) = self.tokens.get(&token.prefix) {
                claim("tokens", at, format!("token {}", token.prefix), owner);
            }
        }
        for (at, rule) in customer.databases.iter().enumerate() {
            let extent = Extent::of(rule);
            if let Some(owner) = self.databases.get(&server_key(rule)).and_then(|owned| owned.owner(&extent))
            {
                let server = format!("{}:{}", rule.server.host, rule.server.port);
                claim("databases", at, format!("database \"{extent}\" of server {server}"), owner);
            }
        }
        claims
    }

    fn take(&mut self, customer: &Arc<Customer>) {
        let id = &customer.id;
        self.domains.extend(customer.domains.iter().map(|domain| (domain.clone(), id.clone())));
        self.tokens.extend(customer.tokens.iter().map(|token| (token.prefix.clone(), id.clone())));
        for rule in &customer.databases {
            self.databases.entry(server_key(rule)).or_default().add(Extent::of(rule), id);
        }
        self.customers.insert(id.clone(), Arc::clone(customer));
    }

    fn release(&mut self, customer: &Customer) {
        for domain in &customer.domains {
            self.domains.remove(domain);
        }
        for token in &customer.tokens {
            self.tokens.remove(&token.prefix);
        }
        for rule in &customer.databases {
            if let Some(owned) = self.databases.get_mut(&server_key(rule)) {
                owned.exact.remove(&Extent::of(rule).before);
                owned.patterns.retain(|(_, owner)| *owner != customer.id);
            }
        }
        self.customers.remove(&customer.id);
    }
}

fn server_key(rule: &DatabaseRule) -> (String, u16) {
    (rule.server.host.to_ascii_lowercase(), rule.server.port)
}

/// The server-side names a rule can lead to.
struct Extent {
    before: String,
    /// Absent: one name only.
    after: Option<String>,
}

impl Extent {
    fn of(rule: &DatabaseRule) -> Self {
        let name = rule.server_name.as_ref().unwrap_or(&rule.name);
        match name.split_once('*') {
            Some((before, after)) => Self { before: before.to_owned(), after: Some(after.to_owned()) },
            None => Self { before: name.clone(), after: None },
        }
    }

    fn covers(&self, name: &str) -> bool {
        match &self.after {
            None => self.before == name,
            Some(after) => name.strip_prefix(&self.before).is_some_and(|rest| rest.ends_with(after)),
        }
    }

    /// Whether some name is in both.
    fn overlaps(&self, other: &Self) -> bool {
        match (&self.after, &other.after) {
            (_, None) => self.covers(&other.before),
            (None, Some(_)) => other.covers(&self.before),
            (Some(one), Some(two)) => {
                let (a, b) = (&self.before, &other.before);
                (a.starts_with(b.as_str()) || b.starts_with(a.as_str()))
                    && (one.ends_with(two.as_str()) || two.ends_with(one.as_str()))
            }
        }
    }
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.after {
            Some(after) => write!(f, "{}*{after}", self.before),
            None => f.write_str(&self.before),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
