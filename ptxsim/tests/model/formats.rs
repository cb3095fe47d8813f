//! The scalar conversions that other parts use, over all inputs of the small formats, and for f32
//! over all of its upper bits with the lower ones that decide a rounding.

use super::exact::{self, BF16, E4M3, E5M2, F16, F32, Format, Mode, TF32};
use ptxsim::arith::formats::{self, Rounding};

fn bits(x: f32) -> u64 {
    u64::from(x.to_bits())
}

#[test]
fn small_formats_widen_exactly() {
    for x in 0..=0xffffu16 {
        let same = |got: f32, f: Format, x: u64| {
            let want = f.value(x);
            assert!(
                (got.is_nan() && want.is_nan())
                    || (f64::from(got) == want && got.is_sign_negative() == f.is_negative(x)),
                "{x:#x} gave {got}, not {want}"
            );
        };
        same(formats::f16_to_f32(x), F16, u64::from(x));
        same(formats::bf16_to_f32(x), BF16, u64::from(x));
        if let Ok(byte) = u8::try_from(x) {
            same(formats::e4m3_to_f32(byte), E4M3, u64::from(x));
            same(formats::e5m2_to_f32(byte), E5M2, u64::from(x));
        }
    }
    assert_eq!(formats::f16_to_f32(0xfe00).to_bits(), 0x7fff_ffff);
    assert_eq!(formats::e4m3_to_f32(0xff).to_bits(), 0x7fff_ffff);
}

/// The short ways to nearest give what the core gives.
#[test]
fn nearest_is_as_the_core_has_it() {
    let core = |x: f32, f| formats::convert(formats::F32, bits(x), f, Rounding::NearestEven) as u16;
    for upper in 0..1u32 << 19 {
        for lower in [0, 1, 0xfff, 0x1000, 0x1001, 0x1fff] {
            let x = f32::from_bits(upper << 13 | lower);
            let got = formats::f32_to_f16(x, Rounding::NearestEven);
            assert_eq!(got, core(x, formats::F16), "{:#x}", x.to_bits());
        }
    }
    for upper in 0..1u32 << 16 {
        for lower in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
            let x = f32::from_bits(upper << 16 | lower);
            let got = formats::f32_to_bf16(x, Rounding::NearestEven);
            assert_eq!(got, core(x, formats::BF16), "{:#x}", x.to_bits());
        }
    }
}

/// Every rounding to every small format, against the search.
#[test]
fn every_rounding_is_as_the_search_has_it() {
    let modes = [
        (Rounding::NearestEven, Mode::Rn),
        (Rounding::Zero, Mode::Rz),
        (Rounding::Down, Mode::Rm),
        (Rounding::Up, Mode::Rp),
        (Rounding::NearestAway, Mode::Rna),
    ];
    let named = [
        (formats::F16, F16),
        (formats::BF16, BF16),
        (formats::TF32, TF32),
        (formats::E4M3, E4M3),
        (formats::E5M2, E5M2),
    ];
    let inputs = super::inputs::table(&[super::inputs::Kind::Float(F32)], 2000, 99);
    for x in inputs.iter().map(|x| x[0]) {
        for (rounding, mode) in modes {
            for (format, f) in named {
                let got = formats::convert(formats::F32, x, format, rounding);
                let want = exact::convert(F32, x, f, mode);
                assert_eq!(got, want, "{x:#x} to {f:?}, {rounding:?}");
            }
            let single = f32::from_bits(x as u32);
            let half = u64::from(formats::f32_to_f16(single, rounding));
            assert_eq!(half, exact::convert(F32, x, F16, mode));
            let brain = u64::from(formats::f32_to_bf16(single, rounding));
            assert_eq!(brain, exact::convert(F32, x, BF16, mode));
        }
        let finite = |f: Format| {
            let y = exact::convert(F32, x, f, Mode::Rn);
            if f.is_infinite(y) { y - 1 } else { y }
        };
        let single = f32::from_bits(x as u32);
        assert_eq!(u64::from(formats::f32_to_e4m3_satfinite(single)), finite(E4M3));
        assert_eq!(u64::from(formats::f32_to_e5m2_satfinite(single)), finite(E5M2));
    }
}

/// Every e4m3 and e5m2 number, and every middle between two, by comparing distances.
#[test]
fn fp8_is_the_nearest() {
    for f in [E4M3, E5M2] {
        let numbers: Vec<f64> = (0..f.infinity()).map(|x| f.value(x)).collect();
        let to = |x: f64| match f {
            E4M3 => formats::f32_to_e4m3_satfinite(x as f32),
            _ => formats::f32_to_e5m2_satfinite(x as f32),
        };
        for (k, pair) in numbers.windows(2).enumerate() {
            let (k, middle) = (k as u8, (pair[0] + pair[1]) / 2.0);
            let even = if k % 2 == 0 { k } else { k + 1 };
            assert_eq!([to(pair[0]), to(middle), to(pair[1])], [k, even, k + 1]);
            assert_eq!([to(middle * 0.999), to(middle * 1.001)], [k, k + 1]);
            assert_eq!(to(-middle), even | 0x80);
        }
        assert_eq!(u64::from(to(1e30)), f.infinity() - 1);
    }
}
