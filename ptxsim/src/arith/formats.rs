//! Floating-point formats, bit by bit: the exact core that every rounding in the simulator rests
//! on, and the conversions between f32 and the small formats of the tensor cores.
//!
//! [`round_to`] takes an exact number and rounds it once. The common conversions to nearest have
//! a shorter way of their own, which the tests hold against the core over all patterns that
//! decide a rounding.

/// How a result that does not fit is rounded (PTX ISA, "Rounding Modifiers").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// `.rn`: to the nearest, ties to the even one.
    NearestEven,
    /// `.rz`: towards zero.
    Zero,
    /// `.rm`: towards minus infinity.
    Down,
    /// `.rp`: towards plus infinity.
    Up,
    /// `.rna`: to the nearest, ties away from zero.
    NearestAway,
}

/// A binary format: sign, exponent with the usual bias, fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Bits of the exponent.
    pub exponent: u32,
    /// Bits of the fraction.
    pub fraction: u32,
    /// The largest exponent is for infinities and NaNs, as IEEE 754 has it. Where it is not
    /// (e4m3), there are no infinities and only the pattern of all ones is a NaN.
    pub infinities: bool,
}

impl Format {
    /// An IEEE 754 format.
    pub const fn ieee(exponent: u32, fraction: u32) -> Format {
        Format { exponent, fraction, infinities: true }
    }
    /// All bits but the sign.
    pub const fn magnitude(self) -> u64 {
        (1 << (self.exponent + self.fraction)) - 1
    }
    /// The sign bit.
    pub const fn sign(self) -> u64 {
        1 << (self.exponent + self.fraction)
    }
    /// What is subtracted from the exponent field.
    pub const fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }
    /// Positive infinity.
    pub const fn infinity(self) -> u64 {
        ((1 << self.exponent) - 1) << self.fraction
    }
    /// The largest finite number.
    pub const fn largest(self) -> u64 {
        if self.infinities { self.infinity() - 1 } else { self.magnitude() - 1 }
    }
    /// The NaN that arithmetic gives: every bit but the sign. Only the unit for binary64 has
    /// another.
    pub const fn nan(self) -> u64 {
        if self.exponent == 11 { 0xfff8 << 48 } else { self.magnitude() }
    }
}

/// binary16.
pub const F16: Format = Format::ieee(5, 10);
/// The upper half of a binary32.
pub const BF16: Format = Format::ieee(8, 7);
/// binary32.
pub const F32: Format = Format::ieee(8, 23);
/// binary64.
pub const F64: Format = Format::ieee(11, 52);
/// The upper 19 bits of a binary32.
pub const TF32: Format = Format::ieee(8, 10);
/// Eight bits with a range up to 448.
pub const E4M3: Format = Format { exponent: 4, fraction: 3, infinities: false };
/// The upper half of a binary16.
pub const E5M2: Format = Format::ieee(5, 2);

/// An exact number: `significand * 2^exponent`, negated if `negative`. Whoever makes one that is
/// not exact sets its lowest bit ("sticky") and keeps at least three bits more than the format
/// that it will be rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// Sign, of a zero too.
    pub negative: bool,
    /// Magnitude.
    pub significand: u128,
    /// Power of two of the significand's lowest bit.
    pub exponent: i32,
}

/// What a bit pattern stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Not a number.
    Nan,
    /// An infinity; negative if true.
    Infinite(bool),
    /// Anything else.
    Finite(Number),
}

/// What `bits` stand for in `format`.
pub fn unpack(format: Format, bits: u64) -> Value {
    let negative = bits & format.sign() != 0;
    let magnitude = bits & format.magnitude();
    if format.infinities && magnitude >= format.infinity() {
        return if magnitude == format.infinity() { Value::Infinite(negative) } else { Value::Nan };
    }
    if !format.infinities && magnitude == format.nan() {
        return Value::Nan;
    }
    let field = (magnitude >> format.fraction) as i32;
    let fraction = magnitude & ((1 << format.fraction) - 1);
    let hidden = u64::from(field != 0) << format.fraction;
    Value::Finite(Number {
        negative,
        significand: u128::from(fraction | hidden),
        exponent: field.max(1) - format.bias() - format.fraction as i32,
    })
}

/// Whether a magnitude must grow by one unit, given its last kept bit and what was cut off.
#[inline(always)]
fn grows(rounding: Rounding, negative: bool, odd: bool, half: bool, rest: bool) -> bool {
    match rounding {
        Rounding::NearestEven => half && (rest || odd),
        Rounding::NearestAway => half,
        Rounding::Zero => false,
        Rounding::Down => negative && (half || rest),
        Rounding::Up => !negative && (half || rest),
    }
}

/// Rounds `number` to a whole number; the result is its magnitude, `None` where that needs more
/// than 127 bits.
pub fn round_to_whole(number: Number, rounding: Rounding) -> Option<u128> {
    let Number { negative, significand, exponent } = number;
    if significand == 0 {
        return Some(0);
    }
    if exponent >= 0 {
        let fits = exponent < significand.leading_zeros() as i32;
        return fits.then(|| significand << exponent);
    }
    Some(shift_right(significand, exponent.unsigned_abs(), negative, rounding))
}

/// `significand / 2^shift`, rounded.
fn shift_right(significand: u128, shift: u32, negative: bool, rounding: Rounding) -> u128 {
    let (kept, half, rest) = match shift {
        0 => (significand, false, false),
        1..=127 => {
            let cut = significand & ((1 << shift) - 1);
            let half = 1 << (shift - 1);
            (significand >> shift, cut & half != 0, cut & (half - 1) != 0)
        }
        128 => (0, significand >> 127 != 0, significand << 1 != 0),
        _ => (0, false, significand != 0),
    };
    kept + u128::from(grows(rounding, negative, kept & 1 != 0, half, rest))
}

/// The bits of `number` in `format`, rounded once. What is too large becomes an infinity or the
/// largest finite number, as IEEE 754 has it for the rounding; in a format without infinities it
/// becomes the largest number.
#[inline(never)]
pub fn round_to(format: Format, number: Number, rounding: Rounding) -> u64 {
    let Number { negative, significand, exponent } = number;
    let sign = if negative { format.sign() } else { 0 };
    if significand == 0 {
        return sign;
    }
    let top = exponent + 127 - significand.leading_zeros() as i32;
    let lowest = 1 - format.bias();
    // The power of two of the last bit that the result keeps.
    let unit = top.max(lowest) - format.fraction as i32;
    let too_large = || {
        let outward = match rounding {
            Rounding::NearestEven | Rounding::NearestAway => true,
            Rounding::Zero => false,
            Rounding::Down => negative,
            Rounding::Up => !negative,
        };
        let beyond = outward && format.infinities;
        sign | if beyond { format.infinity() } else { format.largest() }
    };
    if top > format.bias() + 1 {
        return too_large();
    }
    let kept = if unit >= exponent {
        shift_right(significand, (unit - exponent) as u32, negative, rounding) as u64
    } else {
        (significand << (exponent - unit)) as u64
    };
    // The hidden bit of `kept` adds one to the field, and so does a carry out of the fraction.
    let field = (top.max(lowest) - lowest) as u64;
    let magnitude = (field << format.fraction) + kept;
    if magnitude > format.largest() { too_large() } else { sign | magnitude }
}

/// Converts between formats; a NaN becomes the target's.
#[inline(never)]
pub fn convert(from: Format, bits: u64, to: Format, rounding: Rounding) -> u64 {
    match unpack(from, bits) {
        Value::Nan => to.nan(),
        Value::Infinite(negative) => {
            let size = if to.infinities { to.infinity() } else { to.largest() };
            size | if negative { to.sign() } else { 0 }
        }
        Value::Finite(number) => round_to(to, number, rounding),
    }
}

/// As [`convert`] with `.satfinite`: nothing becomes an infinity.
pub fn convert_finite(from: Format, bits: u64, to: Format, rounding: Rounding) -> u64 {
    let result = convert(from, bits, to, rounding);
    if to.infinities && result & to.magnitude() == to.infinity() { result - 1 } else { result }
}

/// binary16 to f32, exactly; a NaN becomes 0x7fffffff, as `cvt.f32.f16` has it.
#[inline(always)]
pub fn f16_to_f32(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff);
    let sign = u32::from(bits & 0x8000) << 16;
    // Moved into place the exponent is too small by 112, which one multiplication puts right,
    // that of a subnormal included.
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
    let finite = scaled.to_bits() | sign;
    let special = if magnitude == 0x7c00 { 0x7f80_0000 | sign } else { 0x7fff_ffff };
    f32::from_bits(if magnitude >= 0x7c00 { special } else { finite })
}

/// bfloat16 to f32: a shift, of a NaN too.
#[inline(always)]
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// e4m3 to f32, exactly.
#[inline(always)]
pub fn e4m3_to_f32(bits: u8) -> f32 {
    let magnitude = u32::from(bits & 0x7f);
    let sign = u32::from(bits & 0x80) << 24;
    // As in `f16_to_f32`, with 120 between the biases.
    let scaled = f32::from_bits(magnitude << 20) * f32::from_bits((127 + 120) << 23);
    f32::from_bits(if magnitude == 0x7f { 0x7fff_ffff } else { scaled.to_bits() | sign })
}

/// e5m2 to f32, exactly: it is the upper half of a binary16.
#[inline(always)]
pub fn e5m2_to_f32(bits: u8) -> f32 {
    f16_to_f32(u16::from(bits) << 8)
}

/// f32 to binary16; a NaN becomes 0x7fff.
#[inline(always)]
pub fn f32_to_f16(x: f32, rounding: Rounding) -> u16 {
    if rounding == Rounding::NearestEven {
        return nearest_f16(x);
    }
    convert(F32, u64::from(x.to_bits()), F16, rounding) as u16
}

/// f32 to bfloat16; a NaN becomes 0x7fff.
#[inline(always)]
pub fn f32_to_bf16(x: f32, rounding: Rounding) -> u16 {
    if rounding == Rounding::NearestEven {
        return nearest_bf16(x);
    }
    convert(F32, u64::from(x.to_bits()), BF16, rounding) as u16
}

/// f32 to binary16 to nearest, without a branch.
#[inline(always)]
fn nearest_f16(x: f32) -> u16 {
    let magnitude = x.to_bits() & 0x7fff_ffff;
    let sign = (x.to_bits() >> 16) as u16 & 0x8000;
    // A subnormal result: the last bit of 0.5 counts 2^-24 as that of a subnormal half does, so
    // that the addition rounds as needed.
    let small = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let odd = (magnitude >> 13) & 1;
    let normal = magnitude.wrapping_add(0xfff + odd).wrapping_sub(112 << 23) >> 13;
    let finite = if magnitude < 0x3880_0000 { small } else { normal };
    let large = if magnitude > 0x7f80_0000 { 0x7fff } else { 0x7c00 };
    let result = if magnitude >= 0x477f_f000 { large } else { finite as u16 };
    if result == 0x7fff { result } else { result | sign }
}

/// f32 to bfloat16 to nearest, without a branch.
#[inline(always)]
fn nearest_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fff } else { rounded as u16 }
}

/// f32 to e4m3 to nearest; what is too large becomes 448, a NaN 0x7f.
#[inline(always)]
pub fn f32_to_e4m3_satfinite(x: f32) -> u8 {
    // The least normal number is 2^-6, and the last bit of 2^14 counts 2^-9.
    nearest_fp8::<20>(x, -6, 14, 120, 0x7e)
}

/// f32 to e5m2 to nearest; what is too large becomes 57344, a NaN 0x7f.
#[inline(always)]
pub fn f32_to_e5m2_satfinite(x: f32) -> u8 {
    nearest_fp8::<21>(x, -14, 7, 112, 0x7b)
}

/// f32 to eight bits, of which the `CUT` lowest fraction bits are lost; as `nearest_f16`.
#[inline(always)]
fn nearest_fp8<const CUT: u32>(x: f32, least: i32, unit: i32, bias: u32, largest: u32) -> u8 {
    let power = |n: i32| ((127 + n) as u32) << 23;
    let magnitude = x.to_bits() & 0x7fff_ffff;
    let sign = (x.to_bits() >> 24) as u8 & 0x80;
    let small = (f32::from_bits(magnitude) + f32::from_bits(power(unit))).to_bits();
    let odd = (magnitude >> CUT) & 1;
    let rounded = magnitude.wrapping_add((1 << (CUT - 1)) - 1 + odd);
    let normal = rounded.wrapping_sub(bias << 23) >> CUT;
    let result = if magnitude < power(least) {
        small.wrapping_sub(power(unit))
    } else {
        normal.min(largest)
    };
    if magnitude > 0x7f80_0000 { 0x7f } else { result as u8 | sign }
}

/// f32 to tf32, as an f32 whose lower 13 bits are zero; a NaN becomes 0x7fffffff.
pub fn f32_to_tf32(x: f32, rounding: Rounding) -> u32 {
    if x.is_nan() {
        return 0x7fff_ffff;
    }
    (convert(F32, u64::from(x.to_bits()), TF32, rounding) as u32) << 13
}
