//! Floating-point operations whose result is kept exact until it is rounded, once. For the
//! roundings that the processor does not offer ([`apply`]), and, for the 16-bit formats, by way
//! of binary64 ([`odd_sum`] and [`narrow`]).

use super::formats::{self, Format, Number, Rounding, Value};

/// An operation on up to three operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// a + b
    Add,
    /// a - b
    Sub,
    /// a * b
    Mul,
    /// a * b + c
    Fma,
    /// a / b
    Div,
    /// 1 / a
    Rcp,
    /// The square root of a
    Sqrt,
}

/// The rounding of an instruction, as a parameter of functions: 0 to 3 for `.rn`, `.rz`, `.rm` and
/// `.rp`, in the order of [`super::float32`]'s macros.
pub const fn rounding(number: u8) -> Rounding {
    match number {
        0 => Rounding::NearestEven,
        1 => Rounding::Zero,
        2 => Rounding::Down,
        _ => Rounding::Up,
    }
}

/// Applies an operation to bit patterns.
#[inline(never)]
pub fn apply(operation: Operation, format: Format, x: [u64; 3], rounding: Rounding) -> u64 {
    let [a, b, c] = x.map(|x| formats::unpack(format, x));
    let result = match operation {
        Operation::Add => add(a, b, rounding),
        Operation::Sub => add(a, negate(b), rounding),
        Operation::Mul => mul(a, b),
        Operation::Fma => add(mul(a, b), c, rounding),
        Operation::Div => div(a, b),
        Operation::Rcp => div(ONE, a),
        Operation::Sqrt => sqrt(a),
    };
    pack(format, result, rounding)
}

/// The bits of a value, rounded.
pub fn pack(format: Format, value: Value, rounding: Rounding) -> u64 {
    match value {
        Value::Nan => format.nan(),
        Value::Infinite(negative) => format.infinity() | if negative { format.sign() } else { 0 },
        Value::Finite(number) => formats::round_to(format, number, rounding),
    }
}

const ONE: Value = Value::Finite(Number { negative: false, significand: 1, exponent: 0 });

fn negate(a: Value) -> Value {
    match a {
        Value::Nan => Value::Nan,
        Value::Infinite(negative) => Value::Infinite(!negative),
        Value::Finite(x) => Value::Finite(Number { negative: !x.negative, ..x }),
    }
}

fn zero(negative: bool) -> Value {
    Value::Finite(Number { negative, significand: 0, exponent: 0 })
}

fn add(a: Value, b: Value, rounding: Rounding) -> Value {
    match (a, b) {
        (Value::Nan, _) | (_, Value::Nan) => Value::Nan,
        (Value::Infinite(p), Value::Infinite(q)) => {
            if p == q {
                a
            } else {
                Value::Nan
            }
        }
        (Value::Infinite(_), _) => a,
        (_, Value::Infinite(_)) => b,
        (Value::Finite(x), Value::Finite(y)) => add_finite(x, y, rounding),
    }
}

/// A sum that is zero has the sign that both have, or else is positive unless rounding down
/// (IEEE 754, 6.3).
fn add_finite(x: Number, y: Number, rounding: Rounding) -> Value {
    let down = rounding == Rounding::Down;
    match (x.significand, y.significand) {
        (0, 0) => return zero(if x.negative == y.negative { x.negative } else { down }),
        (_, 0) => return Value::Finite(x),
        (0, _) => return Value::Finite(y),
        _ => {}
    }
    let (x, y) = (normal(x), normal(y));
    let (large, small) = if x.exponent >= y.exponent { (x, y) } else { (y, x) };
    // Both have their highest bit at 125. A shift of more than one place cannot lead to a loss of
    // more than one bit by cancellation, so that one sticky bit is as good as what it stands for.
    let shift = (large.exponent - small.exponent) as u32;
    let moved = match shift {
        0..=127 => {
            let kept = small.significand >> shift;
            kept | u128::from(kept << shift != small.significand)
        }
        _ => 1,
    };
    let exponent = large.exponent;
    if large.negative == small.negative {
        let significand = large.significand + moved;
        return Value::Finite(Number { negative: large.negative, significand, exponent });
    }
    if large.significand == moved {
        return zero(down);
    }
    let negative = if large.significand > moved { large.negative } else { small.negative };
    let significand = large.significand.abs_diff(moved);
    Value::Finite(Number { negative, significand, exponent })
}

/// The same number with its highest bit at 125, which leaves room for a carry.
fn normal(x: Number) -> Number {
    let shift = x.significand.leading_zeros() as i32 - 2;
    Number { significand: x.significand << shift, exponent: x.exponent - shift, ..x }
}

fn mul(a: Value, b: Value) -> Value {
    match (a, b) {
        (Value::Nan, _) | (_, Value::Nan) => Value::Nan,
        (Value::Infinite(p), Value::Infinite(q)) => Value::Infinite(p != q),
        (Value::Infinite(p), Value::Finite(x)) | (Value::Finite(x), Value::Infinite(p)) => {
            if x.significand == 0 { Value::Nan } else { Value::Infinite(p != x.negative) }
        }
        (Value::Finite(x), Value::Finite(y)) => Value::Finite(Number {
            negative: x.negative != y.negative,
            significand: x.significand * y.significand,
            exponent: x.exponent + y.exponent,
        }),
    }
}

fn div(a: Value, b: Value) -> Value {
    match (a, b) {
        (Value::Nan, _) | (_, Value::Nan) | (Value::Infinite(_), Value::Infinite(_)) => Value::Nan,
        (Value::Infinite(p), Value::Finite(y)) => Value::Infinite(p != y.negative),
        (Value::Finite(x), Value::Infinite(q)) => zero(x.negative != q),
        (Value::Finite(x), Value::Finite(y)) => {
            let negative = x.negative != y.negative;
            match (x.significand, y.significand) {
                (0, 0) => Value::Nan,
                (_, 0) => Value::Infinite(negative),
                (0, _) => zero(negative),
                _ => Value::Finite(quotient(negative, normal(x), y)),
            }
        }
    }
}

/// 126 bits by at most 53 leave a quotient of at least 73, and what remains is sticky.
fn quotient(negative: bool, x: Number, y: Number) -> Number {
    let quotient = x.significand / y.significand;
    let sticky = u128::from(!x.significand.is_multiple_of(y.significand));
    Number { negative, significand: quotient | sticky, exponent: x.exponent - y.exponent }
}

fn sqrt(a: Value) -> Value {
    match a {
        Value::Infinite(false) => a,
        Value::Finite(x) if x.significand == 0 => a,
        Value::Finite(x) if !x.negative => {
            let mut x = normal(x);
            if x.exponent & 1 != 0 {
                x.significand <<= 1;
                x.exponent -= 1;
            }
            let root = x.significand.isqrt();
            let sticky = u128::from(root * root != x.significand);
            let exponent = x.exponent / 2;
            Value::Finite(Number { negative: false, significand: root | sticky, exponent })
        }
        _ => Value::Nan,
    }
}

macro_rules! odd_sum {
    ($(#[$attribute:meta])* $name:ident, $type:ident) => {
        $(#[$attribute])*
        #[inline(always)]
        pub fn $name(a: $type, b: $type) -> $type {
            let sum = a + b;
            // What the sum lost, exactly (Knuth's TwoSum).
            let b_part = sum - a;
            let lost = (a - (sum - b_part)) + (b - b_part);
            let bits = sum.to_bits();
            let inexact = (lost != 0.0) & (bits & 1 == 0) & (sum.abs() < $type::INFINITY);
            let outward = (lost > 0.0) == (sum > 0.0);
            let moved = if outward { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
            $type::from_bits(if inexact { moved } else { bits })
        }
    };
}

odd_sum! {
    /// `a + b` rounded to odd: cut off, with the last bit set if that was not exact. A number of
    /// 53 bits so rounded is then rounded to 51 or fewer as if it were exact. Needs a sum that is
    /// far from binary64's limits, as those of smaller formats are.
    odd_sum, f64
}
odd_sum! {
    /// [`odd_sum`] in f32, for results of 22 bits or fewer; products of two f16 are far from its
    /// limits.
    odd_sum32, f32
}

/// Rounds a binary64 to a smaller format: [`formats::convert`] in 64-bit integers.
#[inline(always)]
pub fn narrow(format: Format, x: f64, rounding: Rounding) -> u64 {
    if rounding != Rounding::NearestEven || !format.infinities {
        return formats::convert(formats::F64, x.to_bits(), format, rounding);
    }
    let bits = x.to_bits();
    let magnitude = bits & (u64::MAX >> 1);
    let sign = (bits >> 63) << (format.exponent + format.fraction);
    let field = (magnitude >> 52) as i32 - 1023 + format.bias();
    // A subnormal result loses as many bits more as its exponent is below the lowest.
    let cut = (52 - format.fraction as i32 + (1 - field).max(0)).min(60) as u32;
    let significand = (magnitude & ((1 << 52) - 1)) | 1 << 52;
    let odd = significand >> cut & 1;
    let kept = (significand + ((1 << (cut - 1)) - 1) + odd) >> cut;
    // The hidden bit counts as one in the exponent's field.
    let finite = (((field - 1).max(0) as u64) << format.fraction) + kept;
    if magnitude > 0x7ff0_0000_0000_0000 {
        format.nan()
    } else if magnitude < 1 << 52 {
        // Zeros and subnormals are far below half of any smaller format's least number.
        sign
    } else {
        sign | finite.min(format.infinity())
    }
}
