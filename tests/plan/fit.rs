//! Bytes of weights in each format, and what fits.

use crate::common::llama_8b;
use proptest::prelude::*;
use ridgepoint::backend::cuda::CudaBackend;
use ridgepoint::backend::cuda::driver::{DryDriver, Properties};
use ridgepoint::backend::cuda::module;
use ridgepoint::backend::cuda::repack::packed_bytes;
use ridgepoint::error::Result;
use ridgepoint::model::Limits;
use ridgepoint::model::budget::{
    self, BATCH_MAX, Fit, Formats, HeadFormat, Int4Group, Load, WeightFormat,
};
use ridgepoint::tensor::int4::Int4Shape;
use std::sync::Arc;

const LLAMA_LAYER: u64 = 4096 * (6144 + 4096 + 28672 + 14336);
const LLAMA_TABLE: u64 = 128_256 * 4096;
const LLAMA_NORMS: u64 = (2 * 32 + 1) * 4096;

fn int4(group: Int4Group, zero_points: bool) -> WeightFormat {
    WeightFormat::Int4 { group, zero_points }
}

#[test]
fn int4_is_counted_in_whole_units_of_its_packed_order() {
    use Int4Group::{G64, G128};
    // 64 rows x 128: 4096 bytes of weights, 128 of scales, 128 of zero points.
    for (format, k, unit) in [
        (int4(G128, false), 128, 4096 + 128),
        (int4(G128, true), 128, 4096 + 128 + 128),
        (int4(G64, false), 64, 2048 + 128),
        (int4(G64, true), 64, 2048 + 128 + 128),
    ] {
        assert_eq!(format.bytes(64, k), unit, "{format}");
        assert_eq!(format.bytes(6144, 4096), 96 * (4096 / k) * unit, "{format}");
        assert_eq!(format.bytes(65, k), 2 * unit, "{format}: an edge takes a whole unit");
        // And as many as the kernels' own packing makes of them.
        let WeightFormat::Int4 { group, zero_points } = format else { unreachable!() };
        for (n, k) in [(6144, 4096), (1000, 640), (64, 128), (28_672, 4096)] {
            let shape = Int4Shape { n, k, group: group.elements() as usize, zero_points };
            assert_eq!(format.bytes(n as u64, k as u64), packed_bytes(&shape) as u64, "{shape:?}");
        }
    }
    assert_eq!(WeightFormat::Bf16.bytes(65, 129), 65 * 129 * 2);
}

#[test]
fn an_8b_model_in_every_format_to_the_byte() {
    let config = llama_8b();
    let bytes = |weights, head| budget::weight_bytes(&config, &Formats::of(weights, head));
    let plain = bytes(WeightFormat::Bf16, HeadFormat::Bf16);
    assert_eq!(plain, 16_060_522_496);
    assert_eq!(plain, 2 * (32 * LLAMA_LAYER + 2 * LLAMA_TABLE + LLAMA_NORMS));
    let packed = bytes(int4(Int4Group::G128, false), HeadFormat::Bf16);
    let rest = 2 * (2 * LLAMA_TABLE + LLAMA_NORMS);
    assert_eq!(packed, 32 * LLAMA_LAYER / (64 * 128) * 4224 + rest);
    assert_eq!(packed, 5_700_591_616);
    let zeros = bytes(int4(Int4Group::G64, true), HeadFormat::Bf16);
    assert_eq!(zeros, 32 * LLAMA_LAYER / (64 * 64) * 2304 + rest);
    let head = bytes(int4(Int4Group::G128, false), HeadFormat::Int8);
    assert_eq!(packed - head, LLAMA_TABLE - 2 * 128_256);
    // A tied head is the embedding until it has a format of its own.
    let mut tied = llama_8b();
    tied.tied = true;
    let of = |head| budget::weight_bytes(&tied, &Formats::of(WeightFormat::Bf16, head));
    assert_eq!(of(HeadFormat::Bf16), plain - 2 * LLAMA_TABLE);
    assert_eq!(of(HeadFormat::Int8) - of(HeadFormat::Bf16), LLAMA_TABLE + 2 * 128_256);
}

#[test]
fn a_token_of_an_8b_model_takes_128_kib_of_cache() {
    assert_eq!(budget::page_bytes(&llama_8b()), 64 * 128 * 1024);
}

#[test]
fn formats_are_read_as_they_are_written() {
    for text in ["bf16", "int4:group=128", "int4:group=64", "int4:group=64,zero-point"] {
        assert_eq!(text.parse::<WeightFormat>().unwrap().to_string(), text);
    }
    assert_eq!("int4".parse::<WeightFormat>().unwrap(), int4(Int4Group::G128, false));
    assert_eq!("int4:zero-point".parse::<WeightFormat>().unwrap(), int4(Int4Group::G128, true));
    for bad in
        ["", "fp8", "int8", "bf16:", "bf16:group=64", "int4:", "int4:group=32", "INT4", "int4,"]
    {
        let error = bad.parse::<WeightFormat>().unwrap_err();
        assert!(
            error.is_mistake() && error.to_string().contains("int4:group=64"),
            "{bad}: {error}"
        );
    }
}

/// Runs `check` with what fits into so much memory, on the scratch of the real backend if this
/// build has one.
fn with_fit(memory_bytes: u64, formats: &Formats, check: impl FnOnce(&Fit<'_>)) {
    let config = llama_8b();
    let backend = module::target_for((9, 0)).map(|target| {
        let properties = Properties {
            name: "dry".to_string(),
            compute: (9, 0),
            multiprocessors: 132,
            memory_bytes: 1 << 40,
            shared_bytes: 227 << 10,
        };
        CudaBackend::new(Arc::new(DryDriver::new(properties, target))).unwrap()
    });
    let scratch = |limits: Limits| -> Result<u64> {
        match &backend {
            Some(backend) => budget::scratch_bytes(backend, &config, limits),
            None => Ok((limits.rows + limits.sequences * limits.context) as u64),
        }
    };
    check(&Fit { config: &config, formats, prefill_tokens: 512, memory_bytes, scratch: &scratch });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The largest context of a batch and the largest batch of a context answer each other, and
    /// one more of either is too much.
    #[test]
    fn the_inverse_questions_agree(
        gigabytes in 17.0f64..300.0,
        batch in 1usize..400,
        context in 1usize..131_072,
        packed: bool,
    ) {
        let weights = if packed { "int4" } else { "bf16" }.parse().unwrap();
        let formats = Formats::of(weights, HeadFormat::Bf16);
        with_fit((gigabytes * 1e9) as u64, &formats, |fit| {
            let fits = |batch, context| fit.fits(Load { batch, context }).unwrap();
            let longest = fit.largest_context(batch).unwrap();
            if longest > 0 {
                assert!(fits(batch, longest) && fit.largest_batch(longest).unwrap() >= batch);
            }
            if longest < fit.config.context {
                assert!(!fits(batch, longest + 1));
                assert!(fit.largest_batch(longest + 1).unwrap() < batch);
            }
            let most = fit.largest_batch(context).unwrap();
            assert!(most < BATCH_MAX || context < 64);
            if most > 0 {
                assert!(fits(most, context) && fit.largest_context(most).unwrap() >= context);
            }
            if most < BATCH_MAX {
                assert!(!fits(most + 1, context));
                assert!(fit.largest_context(most + 1).unwrap() < context);
            }
        });
    }
}
