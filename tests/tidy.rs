//! The house stays as it is drawn: arrows point down, files stay short, every module says what it is for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Bands from the top down; rooms of one band may use each other.
const BANDS: [&[&str]; 5] = [
    &["cli"],
    &["server", "tls", "session", "console", "http"],
    &["backend", "audit", "provision"],
    &["routing", "auth", "customers"],
    &["protocol", "sql", "stream", "ids", "config", "telemetry", "proof", "gist"],
];

const FILE_LINES_MAX: usize = 500;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `folder` whose name ends with `ending`, in a stable order.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(path) = open.pop() {
        let Ok(entries) = fs::read_dir(&path) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !["node_modules", "target", "corpus"].iter().any(|name| path.ends_with(name)) {
                    open.push(path);
                }
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn source(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

fn rust_files() -> Vec<PathBuf> {
    ["src", "tests", "benches", "fuzz/fuzz_targets"].iter().flat_map(|folder| files(folder, ".rs")).collect()
}

fn band(room: &str) -> Option<usize> {
    BANDS.iter().position(|band| band.contains(&room))
}

/// The rooms that a line of code names with `crate::`, wherever the path stands in it.
fn rooms_named(line: &str) -> Vec<&str> {
    let code = line.split("//").next().unwrap_or_default();
    code.split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default().split(',').map(str::trim).collect(),
            None => vec![rest],
        })
        .map(|path| path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
        .collect()
}

fn upward(room: &str, text: &str) -> Vec<String> {
    let own =
        band(room).unwrap_or_else(|| panic!("{room} stands in no band: add it to BANDS and to src/lib.rs"));
    let upward = |used: &&str| band(used).is_some_and(|band| band < own);
    text.lines().flat_map(rooms_named).filter(upward).map(|used| format!("{room} uses {used}")).collect()
}

#[test]
fn arrows_point_down() {
    assert_eq!(upward("protocol", "use crate::{ids::BackendKey, session};"), ["protocol uses session"]);
    let mut broken = Vec::new();
    for path in files("src", ".rs") {
        let inside = shown(&path).trim_start_matches("src/").to_owned();
        let room = inside.split(['/', '.']).next().unwrap_or_default();
        if !["main", "lib"].contains(&room) {
            broken.extend(upward(room, &source(&path)).iter().map(|what| format!("{inside}: {what}")));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_room_of_the_map_is_in_a_band() {
    let map = source(&root().join("src/lib.rs"));
    for line in map.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let room = line.trim_end_matches(';');
        assert!(band(room).is_some(), "{room} stands in no band");
    }
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let long: Vec<_> = rust_files()
        .iter()
        .map(|path| (shown(path), source(path).lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<_> = rust_files()
        .iter()
        .filter(|path| !source(path).trim_start_matches("#![no_main]\n").starts_with("//!"))
        .map(|path| shown(path))
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn no_module_is_a_drawer_for_everything() {
    let drawers = ["util", "utils", "helpers", "misc", "common"];
    let found: Vec<_> = rust_files()
        .iter()
        .filter(|path| {
            let name = shown(path);
            name.split(['/', '.']).any(|part| drawers.contains(&part))
        })
        .map(|path| shown(path))
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn scripts_can_be_run() {
    let mut dead = Vec::new();
    for path in files("scripts", "").iter().chain(&files(".ci", "")) {
        let is_program = source(path).starts_with("#!");
        if is_program && fs::metadata(path).unwrap().permissions().mode() & 0o111 == 0 {
            dead.push(shown(path));
        }
    }
    assert!(dead.is_empty(), "not executable: {dead:?}");
}

#[test]
fn no_file_names_a_machine() {
    // Put together here, so that this file does not find itself.
    let words = [["/wo", "rk/"].concat(), ["/ho", "me/"].concat(), ["/ro", "ot/"].concat()];
    let mut found = Vec::new();
    for folder in ["src", "tests", "scripts", "docs", "config", "customers", "benches", "fuzz", ".ci"] {
        for path in files(folder, "") {
            let text = fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&text);
            found.extend(
                words.iter().filter(|word| text.contains(*word)).map(|word| (shown(&path), word.clone())),
            );
        }
    }
    assert!(found.is_empty(), "{found:?}");
}
