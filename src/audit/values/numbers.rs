//! Numbers and bit strings, as PostgreSQL prints them.

use crate::protocol::fields::Fields;

/// Shortest form that reads back as the same number; from this exponent on with an exponent.
const FLOAT4_FIXED_MAX: i32 = 6;
const FLOAT8_FIXED_MAX: i32 = 15;

/// No number needs more to be told from all others.
const DIGITS_OF_A_FLOAT: usize = 17;

/// Longer ones than PostgreSQL's largest are none.
const DIGITS_MAX: usize = 16_384 / 4 + 131_072 / 4;

pub(super) fn float4(number: f32) -> String {
    if !number.is_finite() {
        return odd(number.into());
    }
    let between = |other: f32| f64::midpoint(number.into(), other.into());
    let bounds = [between(number.next_up()), between(number.next_down())];
    let is_bound = |text: &str| text.parse().is_ok_and(|decimal: f64| bounds.contains(&decimal));
    float(&shortest(number, is_bound), FLOAT4_FIXED_MAX)
}

pub(super) fn float8(number: f64) -> String {
    if !number.is_finite() {
        return odd(number);
    }
    // Whole numbers without gaps end here; those between them have too many digits to be the shortest of anything.
    let is_sparse = (9_007_199_254_740_992.0..1e30).contains(&number.abs());
    let whole = |number: f64| format!("{:.0}", number.abs()).parse::<u128>().ok();
    let between = |other: f64| Some(whole(number)?.midpoint(whole(other)?));
    let bounds = [between(number.next_up()), between(number.next_down())];
    let is_bound =
        |text: &str| is_sparse && digits(text).is_some_and(|decimal| bounds.contains(&Some(decimal)));
    float(&shortest(number, is_bound), FLOAT8_FIXED_MAX)
}

/// The shortest form that is not right between two numbers: PostgreSQL does not take such a one, though reading rounds it to the
/// right one.
fn shortest(number: impl std::fmt::LowerExp, is_bound: impl Fn(&str) -> bool) -> String {
    let shortest = format!("{number:e}");
    let digits = shortest.bytes().take_while(|byte| *byte != b'e').filter(u8::is_ascii_digit).count();
    // Of two that are equally near, Rust's shortest form is either, and PostgreSQL's the even one, as of a given length.
    let shortest = format!("{number:.places$e}", places = digits.saturating_sub(1));
    if !is_bound(&shortest) {
        return shortest;
    }
    let longer =
        (digits..DIGITS_OF_A_FLOAT).map(|digits| format!("{number:.digits$e}")).find(|text| !is_bound(text));
    longer.unwrap_or(shortest)
}

/// The whole number that `d.ddde+x` is, without its sign.
fn digits(shortest: &str) -> Option<u128> {
    let (mantissa, exponent) = shortest.trim_start_matches('-').split_once('e')?;
    let behind = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let zeros = u32::try_from(exponent.parse::<usize>().ok()?.checked_sub(behind)?).ok()?;
    mantissa.replace('.', "").parse::<u128>().ok()?.checked_mul(10_u128.checked_pow(zeros)?)
}

fn odd(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    (if number > 0.0 { "Infinity" } else { "-Infinity" }).to_owned()
}

/// From Rust's `d.ddde±x` to PostgreSQL's form.
fn float(shortest: &str, fixed_max: i32) -> String {
    let (sign, digits) = match shortest.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", shortest),
    };
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((digits, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..fixed_max).contains(&exponent) {
        let direction = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{mantissa}e{direction}{:02}", exponent.unsigned_abs());
    }
    let digits = mantissa.replace('.', "");
    let Ok(before) = usize::try_from(exponent) else {
        let zeros = usize::try_from(exponent.unsigned_abs()).unwrap_or_default();
        return format!("{sign}0.{}{digits}", "0".repeat(zeros.saturating_sub(1)));
    };
    match digits.split_at_checked(before.saturating_add(1)) {
        Some((whole, "")) => format!("{sign}{whole}"),
        Some((whole, fraction)) => format!("{sign}{whole}.{fraction}"),
        None => format!("{sign}{digits:0<width$}", width = before.saturating_add(1)),
    }
}

/// Digits to the base of ten thousand: count, weight of the first, sign, digits behind the point, and the digits.
pub(super) fn numeric(value: &[u8]) -> Option<String> {
    let mut fields = Fields::of(value);
    let count = usize::try_from(fields.i16("digits").ok()?).ok()?;
    let weight = i32::from(fields.i16("weight").ok()?);
    let sign = match fields.i16("sign").ok()?.cast_unsigned() {
        0 => "",
        0x4000 => "-",
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        _ => return None,
    };
    let scale = usize::try_from(fields.i16("scale").ok()?).ok()?;
    let raw = fields.bytes(count.checked_mul(2)?, "digits").ok()?;
    fields.end().ok()?;
    if count > DIGITS_MAX {
        return None;
    }
    let digits: Vec<u16> = raw.as_chunks::<2>().0.iter().map(|digit| u16::from_be_bytes(*digit)).collect();
    if digits.iter().any(|digit| *digit > 9_999) {
        return None;
    }
    let digit = |place: i32| {
        let at = usize::try_from(weight.checked_sub(place)?).ok()?;
        digits.get(at).copied()
    };
    let mut out = String::from(sign);
    match usize::try_from(weight) {
        Ok(_) => {
            for place in (0..=weight).rev() {
                let digit = digit(place).unwrap_or_default();
                out.push_str(&if place == weight { digit.to_string() } else { format!("{digit:04}") });
            }
        }
        Err(_) => out.push('0'),
    }
    if scale > 0 {
        let groups = i32::try_from(scale.div_ceil(4)).ok()?;
        let mut fraction = String::new();
        for place in 1..=groups {
            fraction.push_str(&format!("{:04}", digit(place.checked_neg()?).unwrap_or_default()));
        }
        fraction.truncate(scale);
        out.push('.');
        out.push_str(&fraction);
    }
    Some(out)
}

/// The number of bits, and the bits.
pub(super) fn bits(value: &[u8]) -> Option<String> {
    let mut fields = Fields::of(value);
    let count = usize::try_from(fields.i32("bits").ok()?).ok()?;
    let bytes = fields.rest();
    if bytes.len() != count.div_ceil(8) {
        return None;
    }
    let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| (byte >> bit) & 1 == 1));
    Some(bits.take(count).map(|bit| if bit { '1' } else { '0' }).collect())
}
