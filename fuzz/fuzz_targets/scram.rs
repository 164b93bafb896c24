#![no_main]
//! Messages of a SCRAM exchange from either side: no panic, and nobody is proven by chance.

use libfuzzer_sys::fuzz_target;
use onevault::auth::scram::{Binding, ClientExchange, ServerExchange, Verifier};

fuzz_target!(|input: (bool, Vec<u8>, Vec<u8>, Vec<u8>)| {
    let (plus, mechanism, first, last) = input;
    let binding = if plus { Binding::TlsServerEndPoint(vec![7; 32]) } else { Binding::None };
    let mechanisms: [&[u8]; 3] = [b"SCRAM-SHA-256", b"SCRAM-SHA-256-PLUS", &mechanism];
    for name in mechanisms {
        let mut server = ServerExchange::new(Verifier::mock("login", b"secret"), binding.clone());
        if let Ok(challenge) = server.client_first(name, &first) {
            let _ = server.client_final(&last);
            // The same with the nonce that is asked for.
            let mut again = ServerExchange::new(Verifier::mock("login", b"secret"), binding.clone());
            if let Ok(text) = again.client_first(name, &first).map(|text| String::from_utf8(text).unwrap()) {
                let nonce = text.split(',').next().unwrap();
                let fitted = String::from_utf8_lossy(&last).replace("r=", nonce);
                let _ = again.client_final(fitted.as_bytes());
            }
            assert!(!challenge.is_empty() && !again.is_finished());
        }
        assert!(!server.is_finished());
    }
    if let Ok(mut client) = ClientExchange::new(mechanisms.into_iter(), &binding) {
        let _ = client.client_first();
        let _ = client.server_first(&first);
        let _ = client.server_final(&last);
        assert!(!client.is_finished());
    }
    if let Ok(text) = std::str::from_utf8(&first)
        && let Ok(verifier) = Verifier::parse(text)
    {
        assert_eq!(Verifier::parse(&verifier.to_string()).as_ref(), Ok(&verifier));
    }
});
