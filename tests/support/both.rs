//! One conversation held twice, directly and through OneVault; both must read the same.

use super::transcript::lines;
use super::vault::House;
use super::wire::Wire;

/// Has `talk` on both connections and compares what was heard, line by line. Answers the lines.
pub(crate) fn both(house: &House, talk: impl Fn(&mut Wire) -> Vec<String>) -> Vec<String> {
    let direct = talk(&mut house.direct());
    let through = talk(&mut house.enter());
    assert_eq!(through, direct, "through OneVault (left) and directly (right)");
    direct
}

/// What is heard up to the given number of `ReadyForQuery`s, after all `messages` went out in one piece.
pub(crate) fn says(wire: &mut Wire, messages: &[Vec<u8>], ready: usize) -> Vec<String> {
    wire.send(&messages.concat());
    (0..ready).flat_map(|_| lines(&wire.until_ready())).collect()
}

/// How many of `lines` begin with `beginning`.
pub(crate) fn count(lines: &[String], beginning: &str) -> usize {
    lines.iter().filter(|line| line.starts_with(beginning)).count()
}

/// Sends `messages` in one piece on fresh connections of both kinds and compares the answers.
pub(crate) fn same(house: &House, messages: &[Vec<u8>], ready: usize) -> Vec<String> {
    both(house, |wire| says(wire, messages, ready))
}
