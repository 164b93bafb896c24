//! Addresses and identifiers, as PostgreSQL prints them.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::audit::render::hex;

/// Sixteen bytes.
pub(super) fn uuid(value: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = value.try_into().ok()?;
    let number = u128::from_be_bytes(bytes);
    let part = |shift: u32, digits: usize| {
        let mask = 1_u128.checked_shl(u32::try_from(digits.saturating_mul(4)).unwrap_or(0)).unwrap_or(1);
        format!("{:01$x}", (number >> shift) & mask.wrapping_sub(1), digits)
    };
    Some([part(96, 8), part(80, 4), part(64, 4), part(48, 4), part(0, 12)].join("-"))
}

/// Six or eight bytes.
pub(super) fn macaddr(value: &[u8]) -> Option<String> {
    if !matches!(value.len(), 6 | 8) {
        return None;
    }
    Some(value.iter().map(|byte| hex(&[*byte])).collect::<Vec<_>>().join(":"))
}

/// Family, bits of the net, whether it is a `cidr`, length, address.
pub(super) fn inet(value: &[u8]) -> Option<String> {
    let ([family, bits, is_cidr, length], address) = value.split_first_chunk::<4>()?;
    if usize::from(*length) != address.len() {
        return None;
    }
    let (text, most) = match family {
        2 => (Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?).to_string(), 32),
        3 => (ipv6(Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?)), 128),
        _ => return None,
    };
    match (*is_cidr, *bits) {
        (_, bits) if bits > most => None,
        (0, bits) if bits == most => Some(text),
        (_, bits) => Some(format!("{text}/{bits}")),
    }
}

/// PostgreSQL shows the IPv4 address in one that only has zeros in front of it.
fn ipv6(ip: Ipv6Addr) -> String {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            format!("::{}", Ipv4Addr::new(a, b, c, d))
        }
        _ => ip.to_string(),
    }
}
