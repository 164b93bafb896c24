//! What a reload does to the catalogue in force.

use super::*;
use crate::customers::files::tests::{Folder, text};

fn ids(names: &[&str]) -> Vec<CustomerId> {
    names.iter().map(|name| CustomerId::parse(name).unwrap()).collect()
}

#[test]
fn a_reload_says_what_it_has_done() {
    let folder = Folder::new();
    folder.put("one", &text("one"));
    let (reloader, first) = Reloader::open(folder.path().to_owned());
    assert_eq!((first.added, first.customers), (ids(&["one"]), 1));
    let before = reloader.catalogues().load_full();
    assert!(!reloader.reload().is_change());
    assert!(Arc::ptr_eq(&before, &reloader.catalogues().load_full()), "nothing changed, nothing is swapped");
    folder.put("two", &text("two"));
    folder.put("one", &text("one").replace("here", "there"));
    let second = reloader.reload();
    assert_eq!((second.added, second.changed), (ids(&["two"]), ids(&["one"])));
    folder.put("one", "]");
    let third = reloader.reload();
    assert_eq!((third.kept, third.problems.len(), third.customers), (ids(&["one"]), 1, 2));
    std::fs::remove_dir_all(folder.path().join("two")).unwrap();
    assert_eq!(reloader.reload().removed, ids(&["two"]));
}
