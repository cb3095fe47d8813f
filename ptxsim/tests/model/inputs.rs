//! Inputs: edge patterns of every kind of operand, and seeded random numbers that dwell near them.

use super::exact::{self, Format, Mode};

/// What a source is, as far as interesting values go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// An integer or a bit field of so many bits.
    Int(u32),
    /// A small number: a shift amount, a position.
    Amount,
    Float(Format),
    /// Two halves.
    Pair(Format),
    /// Two numbers of eight bits.
    Bytes,
    /// An address in one of the windows.
    Address,
    Predicate,
}

/// xorshift64*.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 20) % n
    }
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}

fn low(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

/// Edge patterns.
pub fn edges(kind: Kind) -> Vec<u64> {
    match kind {
        Kind::Int(bits) => int_edges(bits),
        Kind::Amount => {
            vec![0, 1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 0xffff_ffff]
        }
        Kind::Float(f) => float_edges(f),
        Kind::Pair(f) => {
            let halves = float_edges(f);
            let other = halves.iter().rev().cycle().skip(5);
            halves.iter().zip(other).map(|(a, b)| a << 16 | b).collect()
        }
        Kind::Bytes => (0..=0xff).map(|x| x << 8 | (x * 7 + 3) & 0xff).collect(),
        Kind::Address => {
            let offsets = [0, 0x10, 0xff_ffff, 0x100_0000, 0x1234_5678, 0xffff_ffff, 1 << 40];
            (0..=3).flat_map(|top| offsets.map(|offset| top << 56 | offset)).collect()
        }
        Kind::Predicate => vec![0, 1],
    }
}

fn int_edges(bits: u32) -> Vec<u64> {
    let mut out: Vec<u64> = vec![0, 1, 2, 3, 5, 0x55, 0xaaaa_aaaa_aaaa_aaaa, 0x1234_5678_9abc_def0];
    for power in [7, 8, 15, 16, 23, 24, 31, 32, 47, 63] {
        if power < bits {
            out.extend([(1 << power) - 1, 1 << power, (1 << power) + 1]);
        }
    }
    let negated: Vec<u64> = out.iter().map(|x| x.wrapping_neg()).collect();
    out.extend(negated);
    out.iter_mut().for_each(|x| *x &= low(bits));
    out.sort();
    out.dedup();
    out
}

fn float_edges(f: Format) -> Vec<u64> {
    let one = f.one();
    let unit = 1 << f.fraction;
    let mut out = vec![0, 1, 2, 3, unit - 1, unit, unit + 1, one, one + 1, one - 1, one + unit];
    out.extend([one + unit / 2, one - unit, one + 3 * unit + unit / 4, one - 3 * unit + 5 % unit]);
    out.extend([f.infinity() - 1, f.infinity(), f.infinity() - unit, f.infinity() - unit + 1]);
    if f.top {
        out.extend([f.infinity() + 1, f.infinity() + unit / 2, f.sign() - 1]);
    }
    let bias = one >> f.fraction;
    // Around the limits of the integers, and halves between whole numbers.
    for power in [1, 2, 7, 8, 10, 15, 16, 23, 31, 32, 63, 64] {
        if bias + power < (1 << f.exponent) - 1 {
            let x = (bias + power) << f.fraction;
            out.extend([x - 1, x, x + 1]);
        }
        if f.fraction as u64 >= power {
            // 2^power + 0.5, and the same plus one.
            let half = unit >> power >> 1;
            let whole = ((bias + power) << f.fraction) | half;
            out.extend([whole, whole + 2 * half]);
        }
    }
    let negative: Vec<u64> = out.iter().map(|x| x | f.sign()).collect();
    out.extend(negative);
    out.sort();
    out.dedup();
    out
}

/// A random value.
pub fn random(kind: Kind, r: &mut Random) -> u64 {
    match kind {
        Kind::Int(bits) => match r.below(4) {
            0 => r.pick(&int_edges(bits)),
            1 => (r.next() >> r.below(64)) & low(bits),
            2 => (r.next() >> r.below(64)).wrapping_neg() & low(bits),
            _ => r.next() & low(bits),
        },
        Kind::Amount => match r.below(8) {
            0 => r.pick(&edges(kind)),
            1 => r.next() & 0xffff_ffff,
            _ => r.below(70),
        },
        Kind::Float(f) => random_float(f, r),
        Kind::Pair(f) => random_float(f, r) << 16 | random_float(f, r),
        Kind::Bytes => r.next() & 0xffff,
        Kind::Address => r.pick(&edges(kind)) ^ (r.next() & 0xff),
        Kind::Predicate => r.below(2),
    }
}

/// Few bits set in the fraction make ties and exact results likely, exponents near those of one
/// make operands meet.
fn random_float(f: Format, r: &mut Random) -> u64 {
    let all = low(f.bits());
    let fraction = (1 << f.fraction) - 1;
    let sparse = match r.below(3) {
        0 => 1 << r.below(u64::from(f.fraction)),
        1 => (1 << r.below(u64::from(f.fraction))) | (1 << r.below(u64::from(f.fraction))),
        _ => !(1 << r.below(u64::from(f.fraction))) & fraction,
    };
    let bias = f.one() >> f.fraction;
    let span = bias.min(30);
    let sign = r.below(2) * f.sign();
    let near = bias - span / 2 + r.below(span);
    match r.below(6) {
        0 => r.pick(&float_edges(f)),
        1 => r.next() & all,
        2 => sign | near << f.fraction | sparse,
        3 => sign | near << f.fraction | (r.next() & fraction),
        4 => sign | r.below(1 << f.exponent) << f.fraction | sparse,
        _ => sign | r.below(3) << f.fraction | (r.next() & fraction),
    }
}

/// Makes the last operand meet the others: a sum that nearly cancels, equal operands.
fn relate(kinds: &[Kind], x: &mut [u64; 4], r: &mut Random) {
    let near = |y: u64, r: &mut Random, f: Format| {
        let y = y ^ (r.below(2) * f.sign());
        if f.is_nan(y) { y } else { y.wrapping_add(r.below(3)) & low(f.bits()) }
    };
    match kinds {
        [Kind::Float(f), Kind::Float(g), ..] if f == g && kinds.len() == 2 => {
            x[1] = near(x[0], r, *f);
        }
        [Kind::Float(f), Kind::Float(g), Kind::Float(h)] if f == g && g == h => {
            let product = exact::fma(*f, Mode::Rn, x[0], Some(x[1]), None);
            x[2] = near(product, r, *f);
        }
        [a, b, ..] if a == b => x[1] = x[0].wrapping_add(r.below(2)) & x[0].max(1),
        _ => {}
    }
}

/// All inputs of one instruction: the first two sources' edges crossed, with the others random,
/// and then `count` random ones.
pub fn table(kinds: &[Kind], count: usize, seed: u64) -> Vec<[u64; 4]> {
    let mut r = Random(seed | 1);
    let mut out = Vec::new();
    let first = kinds.first().map_or(vec![0], |&kind| edges(kind));
    let second = kinds.get(1).map_or(vec![0], |&kind| edges(kind));
    // Long lists are crossed in part.
    let stride = (first.len() * second.len()).div_ceil(4 * count).max(1);
    let pairs = first.iter().flat_map(|&a| second.iter().map(move |&b| (a, b)));
    for (a, b) in pairs.skip(seed as usize % stride).step_by(stride) {
        let mut x = [a, b, 0, 0];
        for k in 2..kinds.len() {
            x[k] = random(kinds[k], &mut r);
        }
        out.push(x);
    }
    for _ in 0..count {
        let mut x = [0; 4];
        for (k, &kind) in kinds.iter().enumerate() {
            x[k] = random(kind, &mut r);
        }
        if r.below(4) == 0 {
            relate(kinds, &mut x, &mut r);
        }
        out.push(x);
    }
    while out.len() % 32 != 0 {
        out.push(out[0]);
    }
    out
}
