//! What the budget counts against what the backend asks for, and against arithmetic by hand.

use super::common::{llama_8b, root};
use ridgepoint::backend::Phase;
use ridgepoint::backend::cuda::CudaBackend;
use ridgepoint::backend::cuda::driver::{DryDriver, Properties};
use ridgepoint::load::Checkpoint;
use ridgepoint::model::Decoder;
use ridgepoint::model::budget::{self, StepLoad};
use ridgepoint::model::gpu::Gpu;
use ridgepoint::model::{Limits, ModelConfig};
use std::sync::Arc;

#[test]
fn an_8b_model_weighs_what_its_parameters_do() {
    let config = llama_8b();
    let limits = Limits { rows: 512, logit_rows: 64, sequences: 64, context: 8192 };
    let table = budget::Budget::new(&config, limits, 1024, 0);
    // 8,030,261,248 parameters.
    let weights = 2 * 8_030_261_248u64;
    assert!(table.to_string().contains("16.1 GB"), "{table}");
    assert!(table.bytes() > weights + 1024 * budget::page_bytes(&config));
    assert_eq!(budget::page_bytes(&config), 2 * 32 * 8 * 64 * 128 * 2);
}

/// The table is what a device is asked for: no less, and hardly more.
#[test]
fn the_table_is_what_a_decoder_allocates() {
    let fixtures =
        ["llama2_mha", "qwen2_gqa7", "qwen3_tied"].map(|name| format!("tests/fixtures/{name}"));
    for model in fixtures.iter().map(String::as_str).chain(["models/target", "models/draft"]) {
        let folder = root().join(model);
        let config = ModelConfig::load(&folder).unwrap();
        for (rows, logit_rows, sequences, context, pages) in
            [(1, 1, 1, 64, 1), (256, 1, 1, config.context, 8), (77, 33, 19, 200, 300)]
        {
            let limits = Limits { rows, logit_rows, sequences, context };
            let properties = Properties {
                name: "dry".to_string(),
                compute: (9, 0),
                multiprocessors: 132,
                memory_bytes: 1 << 40,
                shared_bytes: 227 << 10,
            };
            let driver = Arc::new(DryDriver::new(properties, "sm_90a"));
            let backend = CudaBackend::new(driver.clone()).unwrap();
            let table =
                budget::Budget::of(&backend, &config, &budget::Formats::default(), limits, pages)
                    .unwrap();
            let checkpoint = Checkpoint::open(&folder).unwrap();
            let decoder = Decoder::load(backend, config.clone(), &checkpoint, limits).unwrap();
            let _kv = decoder.kv_cache(pages).unwrap();
            let (counted, asked) = (table.bytes(), driver.allocated_bytes());
            let most = asked + asked / 50 + (64 << 10);
            assert!((asked..=most).contains(&counted), "{model} {limits:?}: {asked}, not\n{table}");
        }
    }
}

#[test]
fn the_costs_of_a_decode_step_are_those_of_its_matrices_and_its_cache() {
    let config = llama_8b();
    let load = StepLoad { phase: Phase::Decode, rows: 1, context: 4095, logit_rows: 1 };
    let costs = budget::step(&config, load);
    assert_eq!(costs.len(), 1 + 32 * 6 + 2);
    let of = |op| costs.iter().find(|cost| cost.op == op).unwrap();
    let weights = |n: u64, k: u64| n * k * 2;
    for (op, n, k) in [
        ("qkv", 6144, 4096),
        ("output", 4096, 4096),
        ("gate_up", 28672, 4096),
        ("down", 4096, 14336),
        ("head", 128_256, 4096),
    ] {
        let cost = of(op);
        assert!(cost.bytes > weights(n, k) && cost.bytes < weights(n, k) * 101 / 100, "{cost:?}");
        assert_eq!(cost.flops, 2 * n * k);
    }
    let cache = 4096 * 2 * 8 * 128 * 2;
    let attention = of("attention");
    assert!(attention.bytes > cache && attention.bytes < cache * 101 / 100, "{attention:?}");
    assert_eq!(attention.flops, 4 * 4096 * 4096);
    // The floor of the whole step: 3.74 ms for 16.1 GB less the embedding, plus 0.5 GB of cache.
    let gpu = Gpu::parse("4.3,790").unwrap();
    let floor: f64 = costs.iter().map(|c| gpu.floor_s(c.bytes, c.flops)).sum();
    assert!((3.4e-3..3.8e-3).contains(&floor), "{floor}");
}

#[test]
fn a_window_bounds_what_attention_reads() {
    let mut config = llama_8b();
    config.windows = vec![Some(1000); 32];
    let seen = |phase, rows, context| {
        let load = StepLoad { phase, rows, context, logit_rows: 1 };
        *budget::step(&config, load).iter().find(|cost| cost.op == "attention").unwrap()
    };
    let (token, query) = (2 * 8 * 128 * 2, 4096);
    let decode = seen(Phase::Decode, 3, 5000);
    assert_eq!(decode.bytes, 3 * (1000 * token + 2 * query * 2));
    assert_eq!(decode.flops, 4 * 3 * 1000 * query);
    let prefill = seen(Phase::Prefill, 10, 5000);
    assert_eq!(prefill.bytes, 1009 * token + 10 * 2 * query * 2);
    assert_eq!(prefill.flops, 4 * 10 * 1000 * query);
    let start = seen(Phase::Prefill, 10, 0);
    assert_eq!(start.flops, 4 * 55 * query);
}

#[test]
fn gpus_are_named_or_given_by_two_numbers() {
    let h200 = Gpu::parse("H200").unwrap();
    assert_eq!((h200.bytes_per_s, h200.flops_per_s), (4.8e12, 989.4e12));
    assert_eq!(Gpu::parse("1.5, 300").unwrap().bytes_per_s, 1.5e12);
    for bad in ["gtx", "1", "1,", "0,5", "-1,5", "nan,5", "inf,5", ""] {
        let text = Gpu::parse(bad).unwrap_err().to_string();
        assert!(text.contains("h200") && text.contains("TB/s,TFLOP/s"), "{text}");
    }
    // A product at the ridge takes as long by either measure.
    let gpu = Gpu::parse("2,600").unwrap();
    assert_eq!(gpu.floor_s(2_000_000, 0), 1e-6);
    assert_eq!(gpu.floor_s(0, 600_000_000), 1e-6);
}

#[test]
fn sizes_keep_three_digits() {
    let cases = [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_949, "99.9 kB")];
    for (bytes, text) in cases.into_iter().chain([(123_456_789, "123 MB"), (1 << 40, "1.1 TB")]) {
        assert_eq!(budget::size(bytes), text);
    }
}
