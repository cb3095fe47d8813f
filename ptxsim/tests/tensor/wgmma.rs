//! `wgmma`: tiles laid out in shared memory by the PTX ISA's description of them, every N, type
//! and way to lay out, against sums of the same elements.

use super::Random;
use ptxsim::arith::formats::{self, Rounding};
use ptxsim::isa::Row32;
use ptxsim::tensor::descriptor::{Descriptor, Major};
use ptxsim::tensor::swizzle::Swizzle;
use ptxsim::tensor::wgmma::{Form, TileA, TileB, TileKey, multiply, multiply_portable};
use ptxsim::tensor::{Accumulator, Arithmetic, Element};

const SWIZZLES: [Swizzle; 4] = [Swizzle::None, Swizzle::B32, Swizzle::B64, Swizzle::B128];

fn form(n: usize, a: Element, b: Element, accumulator: Accumulator) -> Form {
    Form {
        n,
        a,
        b,
        accumulator,
        a_in_registers: false,
        saturate: false,
        negate_a: false,
        negate_b: false,
        major_a: Major::K,
        major_b: Major::K,
    }
}

/// The bits of a small number in a type.
fn encode(kind: Element, x: f32) -> u32 {
    let near = Rounding::NearestEven;
    match kind {
        Element::F16 => u32::from(formats::f32_to_f16(x, near)),
        Element::Bf16 => u32::from(formats::f32_to_bf16(x, near)),
        Element::Tf32 => x.to_bits(),
        Element::E4m3 => u32::from(formats::f32_to_e4m3_satfinite(x)),
        Element::E5m2 => u32::from(formats::f32_to_e5m2_satfinite(x)),
        Element::S8 => u32::from(x as i8 as u8),
        Element::U8 => u32::from(x as u8),
    }
}

/// Numbers of which every type holds many, and whose sums of products are exact.
fn small(random: &mut Random, kind: Element) -> f32 {
    match kind {
        Element::U8 => random.below(256) as f32,
        Element::S8 => random.below(256) as f32 - 128.0,
        _ => random.below(9) as f32 - 4.0,
    }
}

/// A matrix in shared memory: `mn` by `k` elements, as numbers.
struct Tile {
    bytes: Vec<u8>,
    descriptor: Descriptor,
}

/// Lays a matrix out the way a copy would, starting at address `start`: element (`mn`, `k`) of
/// `size` bytes, K-major or MN-major, in rows of the swizzle's span; `width` bytes of K-major
/// rows are laid out, of which a product takes 32 from `skip` on.
fn lay_out(
    (rows, kind): (usize, Element),
    (major, swizzle, skip): (Major, Swizzle, usize),
    value: impl Fn(usize, usize) -> f32,
) -> Tile {
    let start = 4096usize;
    let size = kind.bytes();
    let ks = 32 / size;
    let span = swizzle.span() as usize;
    let mut bytes = vec![0xa5u8; start + 80_000];
    let (leading, stride);
    let mut place: Box<dyn FnMut(usize, usize) -> usize>;
    match (major, swizzle) {
        (Major::K, Swizzle::None) => {
            // Core matrices of 128 bytes with gaps: 272 to the next along K, 560 along MN.
            (leading, stride) = (272, 560);
            place = Box::new(move |mn, k| {
                let byte = k * size;
                mn / 8 * 560 + byte / 16 * 272 + mn % 8 * 16 + byte % 16
            });
        }
        (Major::K, _) => {
            // Row after row of `span` bytes; eight of them are an atom.
            (leading, stride) = (16, 8 * span);
            place = Box::new(move |mn, k| mn * span + k * size);
        }
        (Major::Mn, Swizzle::None) => {
            (leading, stride) = (144, 304);
            place = Box::new(move |mn, k| {
                let byte = mn * size;
                byte / 16 * 304 + k / 8 * 144 + k % 8 * 16 + byte % 16
            });
        }
        (Major::Mn, _) => {
            // Slabs `span` bytes wide along MN; in a slab, row after row of k.
            let slab = span * ks;
            (leading, stride) = (slab, 8 * span);
            place = Box::new(move |mn, k| {
                let byte = mn * size;
                byte / span * slab + k * span + byte % span
            });
        }
    }
    for mn in 0..rows {
        for k in 0..ks {
            let plain = start + skip + place(mn, k);
            // The pattern: 16-byte chunk number XOR 128-byte line number, within the span.
            let chunk = (plain / 16) ^ (plain / 128 % (span / 16));
            let at = chunk * 16 + plain % 16;
            let bits = encode(kind, value(mn, k)).to_le_bytes();
            bytes[at..at + size].copy_from_slice(&bits[..size]);
        }
    }
    let descriptor = Descriptor {
        start: (start + skip) as u32,
        leading: leading as u32,
        stride: stride as u32,
        base_offset: 0,
        swizzle,
    };
    Tile { bytes, descriptor }
}

impl Tile {
    fn read(&self, address: u32) -> [u8; 16] {
        self.bytes[address as usize..][..16].try_into().expect("16 bytes")
    }
}

/// A (64 rows) and B (by column) as numbers.
struct Numbers {
    a: Vec<Vec<f32>>,
    b: Vec<Vec<f32>>,
}

fn numbers(random: &mut Random, form: &Form) -> Numbers {
    let mut matrix = |rows: usize, kind| {
        (0..rows).map(|_| (0..form.k()).map(|_| small(random, kind)).collect()).collect()
    };
    Numbers { a: matrix(64, form.a), b: matrix(form.n, form.b) }
}

/// Row and column of element `i` of lane `lane` of warp `warp` in D ("Register Fragments").
fn place_d(warp: usize, lane: usize, i: usize) -> (usize, usize) {
    let row = warp * 16 + lane / 4 + if i % 4 < 2 { 0 } else { 8 };
    (row, i / 4 * 8 + lane % 4 * 2 + (i & 1))
}

/// D of one warp as numbers, from its registers.
fn read_d(form: &Form, file: &[Row32], lane: usize, i: usize) -> f64 {
    match form.accumulator {
        Accumulator::F32 => f64::from(f32::from_bits(file[i][lane])),
        Accumulator::S32 => f64::from(file[i][lane] as i32),
        Accumulator::F16 => {
            f64::from(formats::f16_to_f32((file[i / 2][lane] >> (16 * (i % 2))) as u16))
        }
    }
}

/// Multiplies in all four warps and compares with the sums.
fn check(form: &Form, random: &mut Random, layouts: [(Major, Swizzle, usize); 2]) {
    let numbers = numbers(random, form);
    let [layout_a, layout_b] = layouts;
    let a = lay_out((64, form.a), layout_a, |m, k| numbers.a[m][k]);
    let b = lay_out((form.n, form.b), layout_b, |n, k| numbers.b[n][k]);
    let (mut tile_a, mut tile_b) = (TileA::default(), TileB::default());
    let decode = |tile: &Tile| Descriptor::decode(tile.descriptor.encode()).expect("valid");
    a.descriptor.check(form.major_a, 64).expect("valid");
    b.descriptor.check(form.major_b, form.n).expect("valid");
    tile_b.from_shared(form, &decode(&b), None, |at| b.read(at));
    let sign = if form.negate_a != form.negate_b { -1.0 } else { 1.0 };
    for warp in 0..4 {
        tile_a.from_shared(form, &decode(&a), warp, |at| a.read(at));
        let rows: Vec<u16> = (0..form.registers_d() as u16).collect();
        for accumulate in [false, true] {
            let old = match form.accumulator {
                Accumulator::F32 => 5f32.to_bits(),
                Accumulator::F16 => 0x4500_4500,
                Accumulator::S32 => 5,
            };
            let mut file = vec![[old; 32]; rows.len()];
            let mut portable = file.clone();
            let plain = Arithmetic::Plain;
            multiply(form, plain, &tile_a, &tile_b, accumulate, &mut file, &rows);
            multiply_portable(form, plain, &tile_a, &tile_b, accumulate, &mut portable, &rows);
            assert_eq!(file, portable);
            for lane in 0..32 {
                for i in 0..form.n / 2 {
                    let (m, n) = place_d(warp, lane, i);
                    let products = numbers.a[m].iter().zip(&numbers.b[n]);
                    let sum: f64 = products.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    let wanted = sign * sum + if accumulate { 5.0 } else { 0.0 };
                    let found = read_d(form, &file, lane, i);
                    assert_eq!(found, wanted, "{form:?} {layouts:?} ({m}, {n})");
                }
            }
        }
    }
}

const K: (Major, Swizzle, usize) = (Major::K, Swizzle::B128, 0);

#[test]
fn every_n_and_type() {
    let mut random = Random::new(11);
    use Element::*;
    for n in (8..=256).step_by(8) {
        for (a, b, accumulator) in [
            (F16, F16, Accumulator::F32),
            (F16, F16, Accumulator::F16),
            (Bf16, Bf16, Accumulator::F32),
            (Tf32, Tf32, Accumulator::F32),
            (E4m3, E5m2, Accumulator::F32),
            (E5m2, E4m3, Accumulator::F16),
            (S8, U8, Accumulator::S32),
            (U8, S8, Accumulator::S32),
        ] {
            check(&form(n, a, b, accumulator), &mut random, [K, K]);
        }
    }
}

/// K-major: every swizzle, and every step of 32 bytes inside a swizzled row.
#[test]
fn k_major_layouts() {
    let mut random = Random::new(12);
    for kind in [Element::Bf16, Element::Tf32, Element::E4m3] {
        for a in SWIZZLES {
            for b in SWIZZLES {
                let form = form(72, kind, kind, Accumulator::F32);
                let steps = |swizzle: Swizzle| (swizzle.span() as usize / 32).max(1);
                let (skip_a, skip_b) = (random.below(steps(a)) * 32, random.below(steps(b)) * 32);
                check(&form, &mut random, [(Major::K, a, skip_a), (Major::K, b, skip_b)]);
            }
        }
    }
    for step in 0..4 {
        let form = form(16, Element::Bf16, Element::Bf16, Accumulator::F32);
        let layout = (Major::K, Swizzle::B128, 32 * step);
        check(&form, &mut random, [layout, layout]);
    }
}

/// MN-major, of A, of B, and of both.
#[test]
fn mn_major_layouts() {
    let mut random = Random::new(13);
    for swizzle in SWIZZLES {
        for (major_a, major_b) in
            [(Major::Mn, Major::K), (Major::K, Major::Mn), (Major::Mn, Major::Mn)]
        {
            for n in [64, 128, 256] {
                let mut form = form(n, Element::F16, Element::F16, Accumulator::F32);
                (form.major_a, form.major_b) = (major_a, major_b);
                let layout = |major| if major == Major::K { K } else { (major, swizzle, 0) };
                check(&form, &mut random, [layout(major_a), layout(major_b)]);
            }
        }
    }
}

#[test]
fn scales_of_minus_one() {
    let mut random = Random::new(14);
    for (negate_a, negate_b) in [(true, false), (false, true), (true, true)] {
        let mut form = form(24, Element::Bf16, Element::Bf16, Accumulator::F32);
        (form.negate_a, form.negate_b) = (negate_a, negate_b);
        check(&form, &mut random, [K, K]);
    }
}

/// A in registers: the fragment of a warp's 16 rows, per the ISA's formula for m64k16 and k32.
#[test]
fn a_in_registers() {
    let mut random = Random::new(15);
    for kind in [Element::F16, Element::Tf32, Element::E5m2, Element::S8] {
        let accumulator = if kind == Element::S8 { Accumulator::S32 } else { Accumulator::F32 };
        let form = form(32, kind, kind, accumulator);
        let numbers = numbers(&mut random, &form);
        let a = lay_out((64, kind), K, |m, k| numbers.a[m][k]);
        let b = lay_out((32, kind), K, |n, k| numbers.b[n][k]);
        let mut tile_b = TileB::default();
        tile_b.from_shared(&form, &b.descriptor, None, |at| b.read(at));
        let per = 4 / kind.bytes();
        for warp in 0..4 {
            let mut registers = [[0u32; 32]; 4];
            for (register, row) in registers.iter_mut().enumerate() {
                for (lane, word) in row.iter_mut().enumerate() {
                    for i in 0..per {
                        // Registers 1 and 3 are eight rows down, 2 and 3 half of K along.
                        let m = warp * 16 + lane / 4 + register % 2 * 8;
                        let k = lane % 4 * per + i + register / 2 * form.k() / 2;
                        *word |= encode(kind, numbers.a[m][k]) << (i * 8 * kind.bytes());
                    }
                }
            }
            let (mut from_registers, mut from_shared) = (TileA::default(), TileA::default());
            from_registers.from_registers(&form, registers.each_ref());
            from_shared.from_shared(&form, &a.descriptor, warp, |at| a.read(at));
            let rows: Vec<u16> = (0..16).collect();
            let [one, two] = [&from_registers, &from_shared].map(|tile| {
                let mut file = vec![[0; 32]; 16];
                multiply(&form, Arithmetic::Plain, tile, &tile_b, false, &mut file, &rows);
                file
            });
            assert_eq!(one, two, "{kind:?}");
        }
    }
}

#[test]
fn saturation_and_hopper() {
    let mut form = form(8, Element::U8, Element::U8, Accumulator::S32);
    let b = lay_out((8, Element::U8), K, |_, _| 255.0);
    let a = lay_out((64, Element::U8), K, |_, _| 255.0);
    let (mut tile_a, mut tile_b) = (TileA::default(), TileB::default());
    tile_a.from_shared(&form, &a.descriptor, 0, |at| a.read(at));
    tile_b.from_shared(&form, &b.descriptor, None, |at| b.read(at));
    for saturate in [false, true] {
        form.saturate = saturate;
        let mut file = vec![[i32::MAX as u32 - 5; 32]; 4];
        let rows = [0, 1, 2, 3];
        multiply(&form, Arithmetic::Plain, &tile_a, &tile_b, true, &mut file, &rows);
        let wrapped = (i32::MAX - 5).wrapping_add(255 * 255 * 32);
        assert_eq!(file[2][7] as i32, if saturate { i32::MAX } else { wrapped });
    }
    // 1 and 2^-14, which wgmma of fp8 loses: element 0 is 1 * 1, element 1 is 2^-7 * 2^-7.
    let form = self::form(8, Element::E4m3, Element::E4m3, Accumulator::F32);
    let value = |_: usize, k: usize| [1.0, 2f32.powi(-7)].get(k).copied().unwrap_or(0.0);
    let (a, b) = (lay_out((64, form.a), K, value), lay_out((8, form.b), K, value));
    tile_a.from_shared(&form, &a.descriptor, 3, |at| a.read(at));
    tile_b.from_shared(&form, &b.descriptor, None, |at| b.read(at));
    let sums = [Arithmetic::Plain, Arithmetic::Hopper].map(|arithmetic| {
        let mut file = vec![[0; 32]; 4];
        multiply(&form, arithmetic, &tile_a, &tile_b, false, &mut file, &[0, 1, 2, 3]);
        f32::from_bits(file[3][31])
    });
    assert_eq!(sums[0], 1.0 + 2f32.powi(-14));
    // The subnormal 2^-7 counts as 2^-6 with a leading zero; aligned, 2^-14 is below 13 bits.
    assert_eq!(sums[1], 1.0);
}

#[test]
fn descriptors() {
    let good = Descriptor {
        start: 0x12340,
        leading: 0x10,
        stride: 1024,
        base_offset: 0,
        swizzle: Swizzle::B128,
    };
    assert_eq!(good.encode(), 0x4000_0040_0001_1234);
    assert_eq!(Descriptor::decode(good.encode()), Ok(good));
    let wrong = Descriptor::decode(good.encode() | 1 << 14).expect_err("stray bit");
    assert!(wrong.contains("no field"), "{wrong}");
    let wrong = Descriptor::decode(good.encode() | 1 << 49).expect_err("base offset");
    assert!(wrong.contains("base offset 1"), "{wrong}");
    let past = Descriptor { start: 0x12370, ..good };
    assert!(past.check(Major::K, 64).is_err() && past.check(Major::Mn, 64).is_err());
    assert!(past.check(Major::Mn, 8).is_ok());
    assert!(Descriptor { start: 0x12360, ..good }.check(Major::K, 64).is_ok());
    let form = form(8, Element::F16, Element::F16, Accumulator::F16);
    for flags in 0..64 {
        let mut form = form;
        form.a_in_registers = flags & 1 != 0;
        form.saturate = flags & 2 != 0;
        (form.negate_a, form.negate_b) = (flags & 4 != 0, flags & 8 != 0);
        (form.major_a, form.major_b) = (Major::of(flags & 16 != 0), Major::of(flags & 32 != 0));
        assert_eq!(Form::unpack(form.pack()), form);
    }
    let mut tile = TileB::default();
    let key = TileKey { descriptor: 1, form: 2, version: 3 };
    tile.from_shared(&form, &good, Some(key), |_| [0; 16]);
    assert!(tile.holds(key) && !tile.holds(TileKey { version: 4, ..key }));
}
