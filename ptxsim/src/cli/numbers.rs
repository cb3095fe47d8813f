//! Numbers of the command line as bytes.

use crate::arith::formats::{self, Format, Rounding};

/// The little-endian bytes of `text` as a value of type `kind`; `None` if that is no type.
pub fn encode(kind: &str, text: &str) -> Option<Result<Vec<u8>, String>> {
    let (signed, bits) = match kind {
        "u8" | "u16" | "u32" | "u64" => (false, kind[1..].parse().unwrap_or(64)),
        "i8" | "i16" | "i32" | "i64" => (true, kind[1..].parse().unwrap_or(64)),
        "f16" => return Some(float(text).map(|f| small(f, formats::F16))),
        "bf16" => return Some(float(text).map(|f| small(f, formats::BF16))),
        "f32" => {
            let parsed = text.parse::<f32>().map(|f| f.to_le_bytes().to_vec());
            return Some(parsed.map_err(|_| format!("`{text}` is no number")));
        }
        "f64" => return Some(float(text).map(|f| f.to_le_bytes().to_vec())),
        _ => return None,
    };
    Some(whole(text).and_then(|value| {
        let range = if signed { -1 << (bits - 1)..1_i128 << (bits - 1) } else { 0..1_i128 << bits };
        if !range.contains(&value) {
            return Err(format!("`{text}` does not fit {kind}"));
        }
        Ok(value.to_le_bytes()[..bits / 8].to_vec())
    }))
}

fn float(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn whole(text: &str) -> Result<i128, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let parsed = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse::<u64>(),
    };
    // A second sign is not part of a number, whatever the parser of the standard library says.
    let plain = digits.bytes().all(|b| b.is_ascii_alphanumeric());
    match parsed {
        Ok(value) if plain => Ok(sign * i128::from(value)),
        _ => Err(format!("`{text}` is no whole number")),
    }
}

/// A number of bytes, perhaps in kilobytes (K), megabytes (M) or gigabytes (G).
pub fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    let value = digits.parse::<u64>().ok().filter(|_| plain);
    value
        .and_then(|value| value.checked_mul(unit))
        .ok_or_else(|| format!("`{text}` is no number of bytes, such as `4096` or `4K`"))
}

/// The bytes that pairs of hexadecimal digits write.
pub fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    match digits {
        Some(digits) if digits.len() % 2 == 0 => {
            Ok(digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
        }
        _ => Err(format!("`{text}` is not made of pairs of hexadecimal digits")),
    }
}

/// The nearest number of a 16-bit format, ties to even.
fn small(value: f64, format: Format) -> Vec<u8> {
    let bits = formats::convert(formats::F64, value.to_bits(), format, Rounding::NearestEven);
    (bits as u16).to_le_bytes().to_vec()
}
