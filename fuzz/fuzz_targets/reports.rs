#![no_main]
//! What a server reports of errors and parameters is bounded and never trusted to be complete.

use libfuzzer_sys::fuzz_target;
use onevault::backend::ParameterMap;
use onevault::protocol::report::ServerReport;

fuzz_target!(|input: (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>)| {
    let (body, parameters) = input;
    let report = ServerReport::parse(&body);
    assert!(report.message.len() <= body.len());
    let _ = (report.is_fatal(), report.code.map(|code| code.to_string()));
    let mut map = ParameterMap::default();
    for (name, value) in &parameters {
        map.update(name, value);
        let kept: usize = map.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        assert!(kept <= 16 * 1024);
        if let Some(got) = map.get(name) {
            assert!(got == value.as_slice() || value.contains(&0) || kept + value.len() > 16 * 1024);
        }
    }
});
