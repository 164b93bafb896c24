//! Stub until the real one is here.
use super::effect::Effects;
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    pub(crate) standard_conforming_strings: bool,
}
pub(crate) fn classify(_: &[u8], _: &Rules) -> Effects {
    Effects { statements: 1, list: Vec::new() }
}
#[derive(Debug)]
pub(crate) struct Classifier;
impl Classifier {
    pub(crate) fn new(_: &Rules) -> Self {
        Self
    }
    pub(crate) fn feed(&mut self, _: &[u8]) {}
    pub(crate) fn finish(self: Box<Self>) -> Effects {
        Effects::default()
    }
}
pub(crate) mod carried {
    pub(crate) fn is_carried(_: &[u8]) -> bool {
        true
    }
    pub(crate) fn is_safe_encoding(_: &[u8]) -> bool {
        true
    }
}
