//! Interning and the order of use, against simple models.

use proptest::prelude::*;

use super::*;
use crate::backend::memory::Value;

fn settings(value: &str) -> Carried {
    Carried::default().with(b"search_path", Value::Tail(value.as_bytes().into()))
}

#[test]
fn equal_statements_are_one_and_others_are_not() {
    let interner = Interner::default();
    let plain = Carried::default();
    let one = interner.intern(b"SELECT 1", b"\0\0", &plain);
    let others = [
        interner.intern(b"SELECT 2", b"\0\0", &plain),
        interner.intern(b"SELECT 1", b"\0\x01\0\0\0\x17", &plain),
        interner.intern(b"SELECT 1\0\0", b"", &plain),
        interner.intern(b"SELECT 1", b"\0\0", &settings("a")),
        interner.intern(b"SELECT 1", b"\0\0", &settings("b")),
        Interner::default().intern(b"SELECT 1", b"\0\0", &plain),
    ];
    assert!(Arc::ptr_eq(&one, &interner.intern(b"SELECT 1", b"\0\0", &plain)));
    assert!(Arc::ptr_eq(&others[3], &interner.intern(b"SELECT 1", b"\0\0", &settings("a"))));
    let mut ids: Vec<_> = others.iter().chain([&one]).map(|prepared| prepared.id()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 7);
    let mut name = Vec::new();
    one.write_name(&mut name);
    assert_eq!(name, format!("_ov_{}", one.id()).into_bytes());
    assert_eq!((one.text(), one.types()), (&b"SELECT 1"[..], &b"\0\0"[..]));
}

#[test]
fn what_nobody_uses_is_forgotten_and_its_number_never_comes_back() {
    let interner = Interner::default();
    let plain = Carried::default();
    let first = interner.intern(b"SELECT 1", b"", &plain).id();
    assert!(interner.is_empty());
    assert!(interner.intern(b"SELECT 1", b"", &plain).id() > first);
    for number in 0..100_000_u32 {
        let _ = interner.intern(&number.to_be_bytes(), b"", &plain);
        assert!(interner.is_empty());
    }
    let held: Vec<_> =
        (0..10_000_u32).map(|number| interner.intern(&number.to_be_bytes(), b"", &plain)).collect();
    assert_eq!(interner.len(), 10_000);
    drop(held);
    let entries = interner.0.entries.lock().unwrap();
    assert!(entries.is_empty() && entries.capacity() < 1_000, "{}", entries.capacity());
}

#[test]
fn two_statements_on_one_hash_are_two_and_leave_one_by_one() {
    let interner = Interner::default();
    let one = interner.intern(b"SELECT 1", b"", &Carried::default());
    for (text, types, settings) in [
        (&b"SELECT 2"[..], &b""[..], Carried::default()),
        (b"SELECT 1", b"x", Carried::default()),
        (b"SELECT 1", b"", settings("a")),
    ] {
        let twin = Prepared {
            id: next_id(),
            text: text.into(),
            types: types.into(),
            settings,
            shown: OnceLock::new(),
            home: Arc::downgrade(&interner.0),
            hash: one.hash,
        };
        let twin = interner.0.enter(Arc::new(twin));
        assert!(!Arc::ptr_eq(&one, &twin));
        drop(twin);
        assert_eq!(interner.len(), 1);
    }
    assert!(Arc::ptr_eq(&one, &interner.intern(b"SELECT 1", b"", &Carried::default())));
}

#[test]
fn an_interner_may_go_before_its_statements() {
    let interner = Interner::default();
    let one = interner.intern(b"SELECT 1", b"", &Carried::default());
    drop(interner);
    assert_eq!(one.text(), b"SELECT 1");
}

#[test]
fn what_shows_something_else_is_another_statement_from_then_on() {
    let (interner, plain) = (Interner::default(), Carried::default());
    let former = interner.intern(b"SELECT 1", b"", &plain);
    let shown = |number| Shown { number, types: Some((*b"types").into()), is_sure: number == 2 };
    assert_eq!((former.types_found(), former.is_sure()), (&b""[..], false));
    assert!(former.shows(&shown(1)) && former.shows(&shown(1)) && !former.shows(&shown(2)));
    assert_eq!((former.types_found(), former.is_sure()), (&b"types"[..], false));
    let changed = interner.changed(&former, &shown(2));
    assert!(changed.id() > former.id() && changed.is_sure() && changed.is(b"SELECT 1", b"", &plain));
    assert!(Arc::ptr_eq(&changed, &interner.intern(b"SELECT 1", b"", &plain)));
    assert!(Arc::ptr_eq(&changed, &interner.changed(&former, &shown(2))));
    drop(former);
    assert!(Arc::ptr_eq(&changed, &interner.intern(b"SELECT 1", b"", &plain)));
    drop(changed);
    assert!(interner.is_empty());
}

#[test]
fn a_name_of_ours_has_a_number() {
    for id in [0, 1, 77, u64::MAX] {
        assert_eq!(id_of(&name(id)), Some(id));
    }
    for other in ["_ov_", "_ov_x", "_ov_01", "_ov_+1", "_ov_18446744073709551616", "s1", ""] {
        assert_eq!(id_of(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn threads_that_parse_the_same_at_once_share_it() {
    let (interner, barrier) = (Interner::default(), std::sync::Barrier::new(4));
    let crowd = || {
        for round in 0..2_000_u32 {
            let text = (round % 7).to_be_bytes();
            let one = interner.intern(&text, b"", &Carried::default());
            let same = interner.intern(&text, b"", &Carried::default());
            assert!(Arc::ptr_eq(&one, &same) && *one.text() == text);
            if round % 100 == 0 {
                barrier.wait();
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(crowd);
        }
    });
    assert!(interner.is_empty());
}

#[derive(Debug, Clone)]
enum Op {
    Touch(u64),
    Insert(u64),
    Remove(u64),
    Distrust(u64),
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..12_u64).prop_map(Op::Touch),
        8 => (0..12_u64).prop_map(Op::Insert),
        2 => (0..12_u64).prop_map(Op::Remove),
        1 => (0..12_u64).prop_map(Op::Distrust),
        1 => Just(Op::Clear),
    ]
}

/// Numbers and whether they are trusted, the least recently used first.
#[derive(Debug, Default)]
struct Model(Vec<(u64, bool)>);

impl Model {
    fn take(&mut self, id: u64) -> Option<(u64, bool)> {
        let at = self.0.iter().position(|(other, _)| *other == id)?;
        Some(self.0.remove(at))
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Touch(id) => {
                let entry = self.take(*id);
                self.0.extend(entry);
            }
            Op::Insert(id) => {
                self.take(*id);
                self.0.push((*id, true));
            }
            Op::Remove(id) => drop(self.take(*id)),
            Op::Distrust(id) => {
                if self.0.iter().all(|(other, _)| other != id) {
                    self.0.push((*id, false));
                }
                self.0.iter_mut().filter(|(other, _)| other == id).for_each(|entry| entry.1 = false);
            }
            Op::Clear => self.0.clear(),
        }
    }

    fn find(&self, id: u64) -> Copy {
        match self.0.iter().find(|(other, _)| *other == id) {
            None => Copy::Missing,
            Some((_, true)) => Copy::Fresh,
            Some((_, false)) => Copy::Stale,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_least_recently_used_goes_first(
        ops in prop::collection::vec(op(), 0..80), max in 0..12_usize, spared in 0..12_u64,
    ) {
        let (mut cache, mut model) = (Cache::default(), Model::default());
        for op in &ops {
            model.apply(op);
            match *op {
                Op::Touch(id) => cache.touch(id),
                Op::Insert(id) => cache.insert(id),
                Op::Remove(id) => cache.remove(id),
                Op::Distrust(id) => cache.distrust(id),
                Op::Clear => cache.clear(),
            }
            prop_assert_eq!((cache.len(), cache.is_empty()), (model.0.len(), model.0.is_empty()));
            for id in 0..12 {
                prop_assert_eq!(cache.find(id), model.find(id));
            }
            let surplus = model.0.iter().map(|(id, _)| *id).find(|id| *id >= spared);
            prop_assert_eq!(cache.surplus(max, |id| id < spared), surplus.filter(|_| model.0.len() > max));
        }
    }
}
