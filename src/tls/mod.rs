//! From an accepted socket to a startup packet inside TLS.
//!
//! Always holds: no byte that came before a handshake is read after it; everything until the startup packet
//! lies under one deadline; a certificate in use is replaced whole or not at all.
//! Refuses to know who the client is and what customers there are.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-SSL, libpq-ssl

mod accept;
mod certificates;
pub mod development;
mod end_point;

pub use accept::{First, GreetError, Greeted, Greeter, farewell};
pub use certificates::{Certificates, Chosen};

#[cfg(test)]
mod tests;
