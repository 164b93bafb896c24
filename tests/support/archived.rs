//! A process that is killed while it archives, again and again, and what must be there afterwards.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::eventually;
use super::messages::query;
use super::vault::House;
use super::wire::Wire;

/// What was recorded so far, over all lives of the process.
#[derive(Debug, Default)]
pub(crate) struct Life {
    marks: u32,
    /// Of these nobody has heard that they were recorded.
    unsure: HashSet<u32>,
    kills: u32,
}

impl Life {
    /// Records some statements, one so long that segments of the journal fill up; all are on disk then.
    pub(crate) fn work(&mut self, house: &House) {
        let mut wire = house.enter();
        for number in 0..4 {
            let long = if number == 2 { "x".repeat(600_000) } else { String::new() };
            wire.value(&format!("SELECT 'mark {}' || length('{long}')", self.marks));
            self.marks += 1;
        }
        drop(wire);
        let last = format!("SELECT 'mark {}' ", self.marks - 1);
        house.vault.records(&["--kind", "statement", "--grep", &last], 1);
    }

    /// Records long statements until the process is killed, or segments of the journal have filled up.
    pub(crate) fn work_until_killed(&mut self, house: &House) {
        let mut wire = Wire::plain(house.vault.port);
        if wire.login(&house.login()).is_err() {
            return;
        }
        for _ in 0..16 {
            let long = "x".repeat(300_000);
            let text = query(&format!("SELECT 'mark {}' || length('{long}')", self.marks));
            self.marks += 1;
            let is_answered = wire.try_send(&text).is_ok()
                && wire.until_ready().last().is_some_and(|frame| frame.tag == b'Z');
            if !is_answered {
                self.unsure.insert(self.marks - 1);
                return;
            }
        }
    }

    /// Waits until somebody has killed the process. Where it lives on, the moment never came.
    pub(crate) fn killed(&mut self, house: &mut House, moment: &str) {
        let begun = Instant::now();
        while !house.vault.has_ended() {
            if begun.elapsed() > Duration::from_secs(6) {
                println!("{moment} never came");
                house.vault.kill();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kills += 1;
        house.vault.kill();
    }

    /// In the end most moments came, and the journal is deleted up to what is needed.
    pub(crate) fn ended(&self, house: &mut House) {
        assert!(self.kills >= 8, "only {} kills", self.kills);
        let first = house.vault.dir.0.join("audit/0000000001.journal");
        eventually("segments that are archived are deleted", || !first.exists());
        house.vault.stop();
        let verified = house.vault.command(&["audit", "verify"]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    }
}

/// Nothing is lost and nothing is there twice, before the process starts again and after; and verify passes.
pub(crate) fn whole_after(house: &mut House, life: &Life) {
    for is_up in [false, true] {
        if is_up {
            house.vault.launch();
        }
        let verified = house.vault.command(&["audit", "verify"]);
        let said = String::from_utf8_lossy(&[verified.stdout, verified.stderr].concat()).into_owned();
        let torn = !is_up && said.contains("torn: ");
        assert!(verified.status.success() || torn, "up {is_up}: {said}");
        let mut seen: HashMap<String, u32> = HashMap::new();
        for record in house.vault.audit(&["--kind", "statement", "--grep", "SELECT 'mark "]) {
            let text = record["db.query.text"].as_str().unwrap();
            let mark = text.split('\'').nth(1).unwrap().to_owned();
            *seen.entry(mark).or_default() += 1;
        }
        for mark in 0..life.marks {
            let times = seen.get(&format!("mark {mark}")).copied();
            let is_right = times == Some(1) || (times.is_none() && life.unsure.contains(&mark));
            assert!(is_right, "mark {mark} is there {times:?} times, up {is_up}");
        }
    }
}
