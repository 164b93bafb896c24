#![no_main]
//! Packets before the login: read without a panic, and what was read is what was sent.

use libfuzzer_sys::fuzz_target;
use onevault::protocol::startup::{Request, STARTUP_BYTES_MAX, packet_bytes, parse};
use onevault::protocol::write;

fuzz_target!(|packet: &[u8]| {
    if let Some(length) = packet.first_chunk::<4>() {
        assert!(
            packet_bytes(*length).is_ok_and(|bytes| bytes <= STARTUP_BYTES_MAX)
                || packet_bytes(*length).is_err()
        );
    }
    if let Ok(Request::Startup(startup)) = parse(packet) {
        assert!(startup.negotiated() <= startup.version || startup.version.minor() == 1);
        let parameters = startup.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut out = Vec::new();
        write::startup_message(&mut out, startup.version, parameters);
        assert_eq!(parse(&out), Ok(Request::Startup(startup)));
    }
});
