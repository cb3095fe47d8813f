//! Rounding without arithmetic on formats: the bit patterns of a format's magnitudes are in the
//! order of their values, so the pattern just below an exact result is found by bisection, and
//! which neighbour is nearer by comparing the result with the middle between them. The exact
//! result is only ever compared, as products of whole numbers of any size.

use std::cmp::Ordering;

/// A whole number, lowest word first, times a power of two.
#[derive(Clone, Debug)]
pub struct Exact {
    pub words: Vec<u32>,
    pub exponent: i32,
}

impl Exact {
    pub fn new(x: u128, exponent: i32) -> Exact {
        let words = (0..4).map(|k| (x >> (32 * k)) as u32).collect();
        Exact { words, exponent }
    }
    pub fn is_zero(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }
    /// Position of the highest bit, counted with the exponent.
    fn top(&self) -> i32 {
        let word = self.words.iter().rposition(|&word| word != 0).unwrap_or(0);
        self.exponent + word as i32 * 32 + 31 - self.words[word].leading_zeros() as i32
    }
    /// The same number with a smaller exponent.
    fn lowered(&self, exponent: i32) -> Vec<u32> {
        let shift = (self.exponent - exponent) as usize;
        let mut words = vec![0; shift / 32];
        let mut carry = 0u64;
        for &word in &self.words {
            carry |= u64::from(word) << (shift % 32);
            words.push(carry as u32);
            carry >>= 32;
        }
        words.push(carry as u32);
        words
    }
    pub fn times(&self, other: &Exact) -> Exact {
        let mut words = vec![0u32; self.words.len() + other.words.len()];
        for (i, &a) in self.words.iter().enumerate() {
            let mut carry = 0;
            for (j, &b) in other.words.iter().enumerate() {
                let t = u64::from(a) * u64::from(b) + u64::from(words[i + j]) + carry;
                words[i + j] = t as u32;
                carry = t >> 32;
            }
            words[i + other.words.len()] = carry as u32;
        }
        Exact { words, exponent: self.exponent + other.exponent }
    }
    pub fn compare(&self, other: &Exact) -> Ordering {
        match (self.is_zero(), other.is_zero()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            _ => {}
        }
        if self.top() != other.top() {
            return self.top().cmp(&other.top());
        }
        let exponent = self.exponent.min(other.exponent);
        let (a, b) = (self.lowered(exponent), other.lowered(exponent));
        let word = |x: &Vec<u32>, k: usize| x.get(k).copied().unwrap_or(0);
        let length = a.len().max(b.len());
        (0..length)
            .rev()
            .map(|k| word(&a, k).cmp(&word(&b, k)))
            .find(|o| o.is_ne())
            .unwrap_or(Ordering::Equal)
    }
    /// `self + other` or, if `minus`, the difference, and whether that is negative.
    pub fn plus(&self, other: &Exact, minus: bool) -> (Exact, bool) {
        let exponent = self.exponent.min(other.exponent);
        let (mut a, mut b) = (self.lowered(exponent), other.lowered(exponent));
        let swap = minus && self.compare(other) == Ordering::Less;
        if swap {
            std::mem::swap(&mut a, &mut b);
        }
        let length = a.len().max(b.len()) + 1;
        a.resize(length, 0);
        b.resize(length, 0);
        let mut carry = 0i64;
        for (a, b) in a.iter_mut().zip(b) {
            let b = if minus { -i64::from(b) } else { i64::from(b) };
            let t = i64::from(*a) + b + carry;
            *a = t as u32;
            carry = t >> 32;
        }
        (Exact { words: a, exponent }, swap)
    }
}

/// A format: bits of exponent and fraction; `top` is false if the largest exponent is an ordinary
/// one (e4m3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Format {
    pub exponent: u32,
    pub fraction: u32,
    pub top: bool,
}

pub const F16: Format = Format { exponent: 5, fraction: 10, top: true };
pub const BF16: Format = Format { exponent: 8, fraction: 7, top: true };
pub const TF32: Format = Format { exponent: 8, fraction: 10, top: true };
pub const F32: Format = Format { exponent: 8, fraction: 23, top: true };
pub const F64: Format = Format { exponent: 11, fraction: 52, top: true };
pub const E4M3: Format = Format { exponent: 4, fraction: 3, top: false };
pub const E5M2: Format = Format { exponent: 5, fraction: 2, top: true };

impl Format {
    pub fn bits(self) -> u32 {
        1 + self.exponent + self.fraction
    }
    pub fn sign(self) -> u64 {
        1 << (self.bits() - 1)
    }
    /// The first magnitude that is no finite number.
    pub fn infinity(self) -> u64 {
        if self.top { ((1 << self.exponent) - 1) << self.fraction } else { self.sign() - 1 }
    }
    pub fn is_nan(self, x: u64) -> bool {
        let magnitude = x & (self.sign() - 1);
        if self.top { magnitude > self.infinity() } else { magnitude == self.infinity() }
    }
    pub fn is_infinite(self, x: u64) -> bool {
        self.top && x & (self.sign() - 1) == self.infinity()
    }
    pub fn is_negative(self, x: u64) -> bool {
        x & self.sign() != 0
    }
    pub fn is_zero(self, x: u64) -> bool {
        x & (self.sign() - 1) == 0
    }
    pub fn is_subnormal(self, x: u64) -> bool {
        let magnitude = x & (self.sign() - 1);
        magnitude != 0 && magnitude >> self.fraction == 0
    }
    /// The NaN that instructions give.
    pub fn nan(self) -> u64 {
        if self == F64 { 0xfff8_0000_0000_0000 } else { self.sign() - 1 }
    }
    pub fn one(self) -> u64 {
        ((1 << (self.exponent - 1)) - 1) << self.fraction
    }
    /// The magnitude of a finite number; of infinity's pattern, what would come next.
    pub fn exact(self, x: u64) -> Exact {
        let magnitude = x & (self.sign() - 1);
        let field = (magnitude >> self.fraction) as i32;
        let fraction = magnitude % (1 << self.fraction);
        let bias = (1 << (self.exponent - 1)) - 1;
        if field == 0 {
            Exact::new(u128::from(fraction), 1 - bias - self.fraction as i32)
        } else {
            let whole = u128::from(fraction) + (1 << self.fraction);
            Exact::new(whole, field - bias - self.fraction as i32)
        }
    }
    /// As a host number; for small formats and bounds.
    pub fn value(self, x: u64) -> f64 {
        if self.is_nan(x) {
            return f64::NAN;
        }
        let magnitude = if self.is_infinite(x) {
            f64::INFINITY
        } else {
            let exact = self.exact(x);
            let whole = f64::from(exact.words[1]) * 4_294_967_296.0 + f64::from(exact.words[0]);
            // In two steps: the power may be below the range while the product is not.
            let half = exact.exponent / 2;
            whole * 2f64.powi(half) * 2f64.powi(exact.exponent - half)
        };
        if self.is_negative(x) { -magnitude } else { magnitude }
    }
}

/// Roundings by the last letters of their modifiers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    Rn,
    Rz,
    Rm,
    Rp,
    Rna,
}

pub const MODES: [(&str, Mode); 4] =
    [(".rn", Mode::Rn), (".rz", Mode::Rz), (".rm", Mode::Rm), (".rp", Mode::Rp)];

/// Rounds a result that is only known by how it compares with other numbers.
pub fn round(f: Format, mode: Mode, negative: bool, compare: impl Fn(&Exact) -> Ordering) -> u64 {
    // The largest magnitude that is not above the result.
    let (mut low, mut high) = (0, f.infinity());
    if compare(&f.exact(high)) != Ordering::Less {
        low = high;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if compare(&f.exact(middle)) == Ordering::Less { high = middle } else { low = middle }
    }
    let sign = if negative { f.sign() } else { 0 };
    let largest = f.infinity() - 1;
    if low == f.infinity() {
        let outward = match mode {
            Mode::Rn | Mode::Rna => true,
            Mode::Rz => false,
            Mode::Rm => negative,
            Mode::Rp => !negative,
        };
        return sign | if outward && f.top { low } else { largest };
    }
    let (below, above) = (f.exact(low), f.exact(low + 1));
    let up = match mode {
        _ if compare(&below) == Ordering::Equal => false,
        Mode::Rz => false,
        Mode::Rm => negative,
        Mode::Rp => !negative,
        Mode::Rn | Mode::Rna => {
            let (mut middle, _) = below.plus(&above, false);
            middle.exponent -= 1;
            match compare(&middle) {
                Ordering::Less => false,
                Ordering::Greater => true,
                Ordering::Equal => mode == Mode::Rna || low & 1 == 1,
            }
        }
    };
    let magnitude = low + u64::from(up);
    sign | if f.top { magnitude } else { magnitude.min(largest) }
}

/// Signs of exact sums that are zero: as the operands' if they agree, else negative in `.rm`.
fn zero_sign(a: bool, b: bool, mode: Mode) -> bool {
    if a == b { a } else { mode == Mode::Rm }
}

/// `a * b + c` of one format; without `b` it is `a + c`, without `c` it is `a * b`.
pub fn fma(f: Format, mode: Mode, a: u64, b: Option<u64>, c: Option<u64>) -> u64 {
    let one = f.one();
    let b = b.unwrap_or(one);
    let sign = f.is_negative(a) != f.is_negative(b);
    let infinite = f.is_infinite(a) || f.is_infinite(b);
    let any_nan = f.is_nan(a) || f.is_nan(b) || c.is_some_and(|c| f.is_nan(c));
    let invalid = infinite && (f.is_zero(a) || f.is_zero(b));
    let signed = |negative: bool, x: u64| if negative { x | f.sign() } else { x };
    if any_nan || invalid {
        return f.nan();
    }
    if infinite {
        let opposite = c.is_some_and(|c| f.is_infinite(c) && f.is_negative(c) != sign);
        return if opposite { f.nan() } else { signed(sign, f.infinity()) };
    }
    let product = f.exact(a).times(&f.exact(b));
    let Some(c) = c else {
        return if product.is_zero() {
            signed(sign, 0)
        } else {
            round(f, mode, sign, |x| product.compare(x))
        };
    };
    if f.is_infinite(c) {
        return c;
    }
    let minus = sign != f.is_negative(c);
    let (sum, flipped) = product.plus(&f.exact(c), minus);
    if sum.is_zero() {
        return signed(zero_sign(sign, f.is_negative(c), mode), 0);
    }
    round(f, mode, sign != flipped, |x| sum.compare(x))
}

/// `a / b`.
pub fn div(f: Format, mode: Mode, a: u64, b: u64) -> u64 {
    let negative = f.is_negative(a) != f.is_negative(b);
    let sign = if negative { f.sign() } else { 0 };
    let both = (f.is_zero(a) && f.is_zero(b)) || (f.is_infinite(a) && f.is_infinite(b));
    if f.is_nan(a) || f.is_nan(b) || both {
        return f.nan();
    }
    if f.is_infinite(a) || f.is_zero(b) {
        return sign | f.infinity();
    }
    if f.is_infinite(b) || f.is_zero(a) {
        return sign;
    }
    let (a, b) = (f.exact(a), f.exact(b));
    round(f, mode, negative, |x| a.compare(&x.times(&b)))
}

pub fn sqrt(f: Format, mode: Mode, a: u64) -> u64 {
    if f.is_zero(a) {
        return a;
    }
    if f.is_nan(a) || f.is_negative(a) {
        return f.nan();
    }
    if f.is_infinite(a) {
        return a;
    }
    let a = f.exact(a);
    round(f, mode, false, |x| a.compare(&x.times(x)))
}

/// From one format to another.
pub fn convert(from: Format, x: u64, to: Format, mode: Mode) -> u64 {
    if from.is_nan(x) {
        return to.nan();
    }
    let negative = from.is_negative(x);
    let sign = if negative { to.sign() } else { 0 };
    if from.is_infinite(x) {
        return sign | if to.top { to.infinity() } else { to.infinity() - 1 };
    }
    if from.is_zero(x) {
        return sign;
    }
    let x = from.exact(x);
    round(to, mode, negative, |y| x.compare(y))
}

/// From a whole number.
pub fn from_int(x: i128, to: Format, mode: Mode) -> u64 {
    if x == 0 {
        return 0;
    }
    let exact = Exact::new(x.unsigned_abs(), 0);
    round(to, mode, x < 0, |y| exact.compare(y))
}

/// The whole number at or below the value, within what 66 bits hold, and how the value compares
/// with that plus a half.
pub fn floor(f: Format, x: u64) -> (i128, Ordering, bool) {
    let negative = f.is_negative(x);
    let size = f.exact(x);
    let at_least = |n: i128| {
        // Whether the value is n or more.
        let order = size.compare(&Exact::new(n.unsigned_abs(), 0));
        match (negative && !size.is_zero(), n < 0) {
            (false, true) => true,
            (false, false) => order != Ordering::Less,
            (true, true) => order != Ordering::Greater,
            (true, false) => false,
        }
    };
    let (mut low, mut high) = (-(1i128 << 66), 1i128 << 66);
    while high - low > 1 {
        let middle = low + (high - low).div_euclid(2);
        if at_least(middle) { low = middle } else { high = middle }
    }
    let whole = size.compare(&Exact::new(low.unsigned_abs(), 0)) == Ordering::Equal
        && (negative == (low < 0) || low == 0);
    let twice = Exact::new((2 * low + 1).unsigned_abs(), -1);
    let half = if negative { twice.compare(&size) } else { size.compare(&twice) };
    (low, half, whole)
}
