//! Numbers of the command line as bytes.

/// The little-endian bytes of `text` as a value of type `kind`; `None` if that is no type.
pub(super) fn encode(kind: &str, text: &str) -> Option<Result<Vec<u8>, String>> {
    let (signed, bits) = match kind {
        "u8" | "u16" | "u32" | "u64" => (false, kind[1..].parse().unwrap_or(64)),
        "i8" | "i16" | "i32" | "i64" => (true, kind[1..].parse().unwrap_or(64)),
        "f16" => return Some(float(text).map(|f| small(f, 5, 10).to_le_bytes().to_vec())),
        "bf16" => return Some(float(text).map(|f| small(f, 8, 7).to_le_bytes().to_vec())),
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
pub(super) fn bytes(text: &str) -> Result<u64, String> {
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
pub(super) fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    match digits {
        Some(digits) if digits.len() % 2 == 0 => {
            Ok(digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
        }
        _ => Err(format!("`{text}` is not made of pairs of hexadecimal digits")),
    }
}

/// The nearest number of a 16-bit format, ties to even.
fn small(value: f64, exponent_bits: i32, fraction_bits: i32) -> u16 {
    let bias = (1 << (exponent_bits - 1)) - 1;
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let infinity = ((1_u16 << exponent_bits) - 1) << fraction_bits;
    if value.is_nan() {
        return infinity | 1 << (fraction_bits - 1);
    }
    let magnitude = value.abs();
    let field = (magnitude.to_bits() >> 52) as i32;
    let exponent = (field - 1023).max(1 - bias);
    if exponent > bias {
        return sign | infinity;
    }
    let steps = (magnitude / 2_f64.powi(exponent - fraction_bits)).round_ties_even() as i32;
    // The leading bit of a normal number adds one to the exponent, which therefore starts one low.
    let bits = ((exponent + bias - 1) << fraction_bits) + steps;
    sign | (bits as u16).min(infinity)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // in a test, a panic is the report
mod tests {
    use super::*;

    #[test]
    fn numbers_of_sixteen_bits() {
        let f16 = |value| small(value, 5, 10);
        assert_eq!([f16(1.0), f16(-2.0), f16(65504.0)], [0x3c00, 0xc000, 0x7bff]);
        assert_eq!([f16(65520.0), f16(1e300), f16(f64::INFINITY)], [0x7c00; 3]);
        assert_eq!([f16(5.96e-8), f16(2.9e-8), f16(6.1035e-5)], [1, 0, 0x0400]);
        assert_eq!([f16(2049.0), f16(2051.0)], [0x6800, 0x6802], "ties to even");
        assert_eq!(f16(f64::NAN), 0x7e00);
        let bf16 = |value| small(value, 8, 7);
        assert_eq!([bf16(1.0), bf16(1.005), bf16(-0.0)], [0x3f80, 0x3f81, 0x8000]);
        assert_eq!([bf16(3.4e38), bf16(1e-40)], [0x7f80, 0x0001]);
    }

    #[test]
    fn whole_numbers_have_their_range() {
        let encode = |kind, text| encode(kind, text).unwrap();
        assert_eq!(encode("u32", "0xff").unwrap(), [255, 0, 0, 0]);
        assert_eq!(encode("i16", "-2").unwrap(), [254, 255]);
        assert_eq!(encode("u64", "18446744073709551615").unwrap(), [255; 8]);
        assert_eq!(encode("i8", "128").unwrap_err(), "`128` does not fit i8");
        assert_eq!(encode("u32", "-1").unwrap_err(), "`-1` does not fit u32");
        assert!(encode("u32", "--1").is_err() && encode("u32", "+1").is_err());
        assert_eq!(bytes("4K"), Ok(4096));
        assert!(bytes("K").is_err() && bytes("-1").is_err() && bytes("99999999999G").is_err());
        assert_eq!(hex("00ff"), Ok(vec![0, 255]));
        assert!(hex("0").is_err() && hex("zz").is_err());
    }
}
