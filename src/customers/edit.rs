//! Changes to a customer's `config.yaml` made by commands: a token more, a token revoked.
//!
//! The text stays the operator's: only the lines needed are added, comments and order stay. The result is read
//! again before it replaces the file, and it replaces it in one step. One edit at a time per customer.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::files::{self, FILE_NAME, References};
use super::{Customer, Token};
use crate::config::{Node, Problem, Problems, parse_yaml, read_text};

/// A time as `config.yaml` has it; `None` beyond what RFC 3339 can say.
#[must_use]
pub fn rfc3339(seconds: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()
}

/// Adds a token to the customer in `folder`.
///
/// # Errors
/// What is wrong with the file, before or after the change; the file is then as it was.
pub fn add_token(folder: &Path, token: &Token) -> Result<(), String> {
    edit(
        folder,
        |text, tree| append(text, tree, &token_lines(token)),
        |customer| {
            customer.tokens.iter().any(|other| other.prefix == token.prefix && other.hash == token.hash)
        },
    )
}

/// Marks a token of the customer in `folder` as revoked at `now` (seconds since 1970).
///
/// # Errors
/// As [`add_token`].
pub fn revoke_token(folder: &Path, prefix: &str, now: i64) -> Result<(), String> {
    edit(
        folder,
        |text, tree| insert_revocation(text, tree, prefix, now),
        |customer| {
            customer.tokens.iter().any(|token| token.prefix == prefix && token.revoked_at == Some(now))
        },
    )
}

/// Reads, changes, reads again, checks, replaces.
fn edit(
    folder: &Path,
    change: impl FnOnce(&str, &Node) -> Result<String, String>,
    is_done: impl FnOnce(&Customer) -> bool,
) -> Result<(), String> {
    let file = folder.join(FILE_NAME);
    let failed =
        |what: &str, error: std::io::Error| format!("could not {what} \"{}\": {error}", file.display());
    let lock = File::open(folder).map_err(|error| failed("lock", error))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed("lock", error.into()))?;
    let text = read_text(&file).map_err(|problem| problem.to_string())?;
    let tree = parse_yaml(&text).map_err(|fault| Problem::in_file(&file, fault).to_string())?;
    let changed = change(&text, &tree)?;
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let customer = match files::parse(&name, folder, &changed, References::Leave) {
        Ok(customer) => customer,
        Err(faults) => {
            let problems = faults.into_iter().map(|fault| Problem::in_file(&file, fault)).collect();
            return Err(format!("the file would not be valid, nothing was changed\n{}", Problems(problems)));
        }
    };
    if !is_done(&customer) {
        return Err(format!("the change could not be put into \"{}\"; nothing was changed", file.display()));
    }
    replace(&file, &changed).map_err(|error| failed("write", error))
}

/// Writes beside the file and renames, so that a reader sees the old text or the new one.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let draft = file.with_file_name(format!(".{FILE_NAME}.{}", std::process::id()));
    let mode = fs::metadata(file)?.mode() & 0o777;
    let written =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft).and_then(|mut out| {
            out.write_all(text.as_bytes())?;
            out.sync_all()
        });
    let renamed = written.and_then(|()| fs::rename(&draft, file));
    if renamed.is_err() {
        let _ = fs::remove_file(&draft);
    }
    renamed?;
    file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// A token's keys and values.
fn token_lines(token: &Token) -> Vec<String> {
    let hash: String = token.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut lines = vec![
        format!("prefix: {}", token.prefix),
        format!("hash: sha256:{hash}"),
        format!("login: {}", serde_json::Value::from(token.login.as_str())),
    ];
    if let Some(expires) = token.expires_at.and_then(rfc3339) {
        lines.push(format!("expires_at: {expires}"));
    }
    lines
}

/// Puts an item at the end of the list `tokens`, which is made where it is missing.
fn append(text: &str, tree: &Node, item: &[String]) -> Result<String, String> {
    let lines: Vec<&str> = text.lines().collect();
    let Some(key) = tree.key_place("tokens") else {
        if is_flow(text, tree.place(&[])) {
            return Err(
                "the file is written in braces; write its top level as lines `key: value` first".into()
            );
        }
        let mut out: Vec<String> = lines.into_iter().map(str::to_owned).collect();
        out.push(String::new());
        out.push("tokens:".into());
        out.extend(block(item, 2));
        return Ok(joined(&out));
    };
    let next = tree.keys().filter_map(|other| tree.key_place(other)).map(|place| place.line);
    let end = next.filter(|line| *line > key.line).min().unwrap_or(lines.len().saturating_add(1));
    let numbered = || lines.iter().enumerate().map(|(at, line)| (at.saturating_add(1), *line));
    let has_content = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let section =
        || numbered().filter(|(number, line)| (key.line..end).contains(number) && has_content(line));
    let last = section().map(|(number, _)| number).max().unwrap_or(key.line);
    let first_item = section().find(|(_, line)| line.trim_start().starts_with("- "));
    let indent = first_item.map_or(2, |(_, line)| line.len().saturating_sub(line.trim_start().len()));
    let mut out = Vec::new();
    for (number, line) in numbered() {
        if number == key.line && first_item.is_none() {
            let (head, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.split('#').next().unwrap_or_default().trim();
            if last != key.line || !matches!(value, "" | "[]" | "~" | "null") {
                return Err(
                    "`tokens` is not written as a list with one `- ` a token; change that first".into()
                );
            }
            out.push(format!("{head}:"));
        } else {
            out.push(line.to_owned());
        }
        if number == last {
            out.extend(block(item, indent));
        }
    }
    Ok(joined(&out))
}

/// Puts `revoked_at` into the token with this prefix.
fn insert_revocation(text: &str, tree: &Node, prefix: &str, now: i64) -> Result<String, String> {
    let time = rfc3339(now).ok_or("the clock is beyond all time")?;
    let items = tree.texts(&["tokens"], "prefix");
    let at = items.iter().position(|found| found.as_deref() == Some(prefix));
    let at = at.ok_or_else(|| format!("token {prefix} is not in the file"))?.to_string();
    let (item, value) = (tree.place(&["tokens", &at]), tree.place(&["tokens", &at, "prefix"]));
    let mut out = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(number, line)| (number.saturating_add(1), line)) {
        let brace = line.char_indices().nth(item.column.saturating_sub(1));
        match brace {
            Some((byte, '{')) if number == item.line => {
                let (head, tail) = line.split_at_checked(byte.saturating_add(1)).unwrap_or((line, ""));
                out.push(format!("{head}revoked_at: \"{time}\", {tail}"));
            }
            _ => {
                out.push(line.to_owned());
                if number == value.line && !is_flow(text, item) {
                    out.push(format!("{}revoked_at: {time}", " ".repeat(item.column.saturating_sub(1))));
                }
            }
        }
    }
    Ok(joined(&out))
}

/// Whether the item is written in braces.
fn is_flow(text: &str, item: crate::config::Place) -> bool {
    let line = text.lines().nth(item.line.saturating_sub(1)).unwrap_or_default();
    line.chars().nth(item.column.saturating_sub(1)) == Some('{')
}

/// A list item in block form.
fn block(item: &[String], indent: usize) -> Vec<String> {
    let space = " ".repeat(indent);
    let lines = item.iter().enumerate();
    lines.map(|(at, line)| format!("{space}{} {line}", if at == 0 { "-" } else { " " })).collect()
}

fn joined(lines: &[String]) -> String {
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::token;
    use crate::customers::files::tests::{Folder, text};
    use crate::ids::LoginName;

    fn new_token() -> Token {
        let fresh = token::create("test").unwrap();
        let login = LoginName::parse("app").unwrap();
        Token {
            prefix: fresh.prefix,
            hash: fresh.hash,
            login,
            expires_at: Some(1_800_000_000),
            revoked_at: None,
        }
    }

    fn read(folder: &Folder) -> (String, Vec<Token>) {
        let text = fs::read_to_string(folder.path().join("one").join(FILE_NAME)).unwrap();
        let tokens = files::load(folder.path()).unwrap().customer("one").unwrap().tokens.clone();
        (text, tokens)
    }

    #[test]
    fn tokens_are_added_and_revoked_and_everything_else_stays() {
        let old = new_token();
        let block = format!("- {}", token_lines(&old).join("\n  "));
        let indented = format!("  {}", block.replace('\n', "\n  "));
        let flow =
            format!("{{{}}}", token_lines(&old).join(", ").replace("2027-", "\"2027-").replace("Z}", "Z\"}"));
        let flow = flow.replace("00Z}", "00Z\"}");
        for tokens in [
            String::new(),
            "tokens: # none yet\n".into(),
            "tokens: []\n# end\n".into(),
            format!("tokens:\n{block}\n"),
            format!("tokens:\n  # the first\n{indented}\n\n# what else there is\nfeatures: {{a: true}}\n"),
            format!("tokens:\n  - {flow}\n"),
        ] {
            let folder = Folder::new();
            folder.put("one", &format!("# our customer\n{}{tokens}", text("one")));
            let before = read(&folder);
            let token = new_token();
            let one = folder.path().join("one");
            add_token(&one, &token).unwrap_or_else(|error| panic!("{error}\n{}", before.0));
            let after = read(&folder);
            assert_eq!(after.1.len(), before.1.len() + 1, "{}", after.0);
            assert_eq!(after.1.last().unwrap().expires_at, Some(1_800_000_000));
            for line in before.0.lines().filter(|line| !line.starts_with("tokens:")) {
                assert!(after.0.lines().any(|other| other == line), "{line:?} is lost");
            }
            for token in &after.1 {
                revoke_token(&one, &token.prefix, 1_790_000_000).unwrap_or_else(|error| panic!("{error}"));
            }
            let last = read(&folder);
            assert!(last.1.iter().all(|token| token.revoked_at == Some(1_790_000_000)), "{}", last.0);
            assert!(revoke_token(&one, "ovt_test_notthere", 1).unwrap_err().contains("not in the file"));
        }
    }

    #[test]
    fn what_would_not_be_valid_is_not_written() {
        let folder = Folder::new();
        folder.put("one", &text("one"));
        let before = read(&folder).0;
        let mut token = new_token();
        token.login = LoginName::parse("nobody").unwrap();
        let error = add_token(&folder.path().join("one"), &token).unwrap_err();
        assert!(error.contains("login \"nobody\" is not among `logins`"), "{error}");
        assert_eq!(read(&folder).0, before);
        folder.put("one", &format!("{}tokens: [ {{prefix: x}} ]\n", text("one")));
        assert!(add_token(&folder.path().join("one"), &token).unwrap_err().contains("one `- ` a token"));
        folder.put("one", "# JSON\n{\"identity\": {}}");
        assert!(add_token(&folder.path().join("one"), &token).unwrap_err().contains("written in braces"));
    }
}
