//! Ceilings, floors and expectations against hand arithmetic.

use crate::common::llama_8b;
use ridgepoint::model::ModelConfig;
use ridgepoint::model::budget::{Formats, HeadFormat};
use ridgepoint::model::gpu::Gpu;
use ridgepoint::model::predict::{
    LAUNCH_S, OpTime, PhaseTime, Predictor, Resource, Workload, dollars_per_million,
};
use std::fs;

/// Bytes of the matrices of a step of Llama-3.1-8B: 32 layers and the head.
const MATRICES: f64 = 2.0 * (32.0 * 4096.0 * 53_248.0 + 128_256.0 * 4096.0);

fn formats(weights: &str, head: HeadFormat) -> Formats {
    Formats::of(weights.parse().unwrap(), head)
}

fn predictor<'a>(config: &'a ModelConfig, gpu: &'a Gpu, weights: &str) -> Predictor<'a> {
    Predictor { config, formats: formats(weights, HeadFormat::Bf16), gpu, prefill_tokens: 512 }
}

fn op<'a>(phase: &'a PhaseTime, name: &str) -> &'a OpTime {
    phase.ops.iter().find(|op| op.op == name).unwrap()
}

/// Whether `value` is `bound` or above it by at most `share`.
fn just_above(value: f64, bound: f64, share: f64) -> bool {
    (bound..=bound * (1.0 + share)).contains(&value)
}

#[test]
fn gpus_have_the_ceilings_of_their_data_sheets() {
    for (name, gigabytes, terabytes, teraflops) in [
        ("h100", 80, 3.35, 989.4),
        ("h100-pcie", 80, 2.0, 756.0),
        ("h200", 141, 4.8, 989.4),
        ("a100", 80, 2.039, 312.0),
        ("l40s", 48, 0.864, 362.0),
        ("4090", 24, 1.008, 165.2),
    ] {
        let gpu = Gpu::parse(name).unwrap();
        assert_eq!(gpu.memory_bytes, Some(gigabytes * 1_000_000_000), "{name}");
        assert_eq!((gpu.bytes_per_s, gpu.flops_per_s), (terabytes * 1e12, teraflops * 1e12));
        assert!(gpu.usable_bytes() < gpu.memory_bytes, "{name}: a driver takes some");
    }
    assert_eq!(Gpu::parse("rtx-4090").unwrap(), Gpu::parse("4090").unwrap());
}

#[test]
fn a_drivers_name_leads_to_its_data_sheet() {
    for (device, name) in [
        ("NVIDIA H100 80GB HBM3 (9.0, 85 GB), kernels for sm_90a", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "4090"),
    ] {
        assert_eq!(Gpu::of_device(device).unwrap().name, name, "{device}");
    }
    for unknown in ["", "x86_64, AVX-512", "NVIDIA GH200 480GB", "h1000"] {
        assert_eq!(Gpu::of_device(unknown), None, "{unknown}");
    }
}

#[test]
fn a_file_of_ceilings_is_read_or_refused_by_field() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.json");
    let read = |text: &str| {
        fs::write(&path, text).unwrap();
        Gpu::parse(path.to_str().unwrap())
    };
    let gpu = read(r#"{"name": "own", "memory_gb": 64, "tb_per_s": 0.1, "tflops": 2.5}"#).unwrap();
    assert_eq!((gpu.bytes_per_s, gpu.flops_per_s), (1e11, 2.5e12));
    assert_eq!(gpu.usable_bytes(), Some(64_000_000_000), "a file says what may be used");
    for (text, field) in [
        (r#"{"memory_gb": 64, "tb_per_s": 0, "tflops": 1}"#, "tb_per_s"),
        (r#"{"memory_gb": 64, "tb_per_s": 1, "tflops": -1}"#, "tflops"),
        (r#"{"tb_per_s": 1, "tflops": 1}"#, "memory_gb"),
        (r#"{"memory_gb": 1, "tb_per_s": 1, "tflops": 1, "decode_share": 1.5}"#, "decode_share"),
        (r#"{"memory_gb": 1, "tb_per_s": 1, "tflops": 1, "launch_us": -1}"#, "launch_us"),
        ("[]", "JSON object"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.is_mistake() && error.to_string().contains(field), "{text}: {error}");
    }
}

#[test]
fn one_sequence_decodes_at_the_speed_of_memory() {
    let config = llama_8b();
    // 15.0 GB of matrices and 4096 tokens of 128 KiB; activations are below a thousandth of that.
    let cache = 4096.0 * 131_072.0;
    for (name, milliseconds) in [("h100", 4.641), ("h200", 3.239)] {
        let gpu = Gpu::parse(name).unwrap();
        let step = predictor(&config, &gpu, "bf16").decode(1, 4095);
        let floor = step.floor().seconds();
        let bytes: u64 = step.ops.iter().map(|op| op.bytes).sum();
        assert!((floor - bytes as f64 / gpu.bytes_per_s).abs() < 1e-12, "{name}: {floor}");
        assert!(just_above(floor, (MATRICES + cache) / gpu.bytes_per_s, 0.001), "{name}: {floor}");
        assert!((floor * 1e3 - milliseconds).abs() < 0.005, "{name}: {floor}");
        assert_eq!(step.floor().limiting(), Resource::Memory);
        // embed, six ops in each layer, gather, head, and two launches to draw.
        assert_eq!(step.ops.iter().map(|op| op.launches).sum::<usize>(), 1 + 6 * 32 + 2 + 2);
    }
}

#[test]
fn int4_with_either_head_reaches_the_ceilings_of_its_bytes() {
    let config = llama_8b();
    // Tokens a second of an H200 as copies measure it, from the bytes of weights alone.
    let gpu = Gpu::parse("4.3,790").unwrap();
    for (head, ceiling) in [(HeadFormat::Bf16, 925.0), (HeadFormat::Int8, 1043.0)] {
        let formats = formats("int4", head);
        let step = Predictor { formats, ..predictor(&config, &gpu, "int4") }.decode(1, 0);
        let rate = 1.0 / step.floor().seconds();
        assert!(just_above(ceiling, rate, 0.01), "{rate} of {ceiling}");
    }
}

/// A product of M rows does M operations for each byte of its bf16 weights, so that it is bound by
/// arithmetic above the ridge; the 37,888 bytes of each row's activations move it a little.
#[test]
fn prompts_cross_the_ridge_where_arithmetic_by_hand_says() {
    let config = llama_8b();
    for (name, last_below) in [("h200", 213), ("h100", 310)] {
        let gpu = Gpu::parse(name).unwrap();
        let bound = |rows| {
            let prefill = predictor(&config, &gpu, "bf16").prefill(rows);
            op(&prefill, "gate_up").floor.limiting()
        };
        assert_eq!(bound(last_below), Resource::Memory, "{name}");
        assert_eq!(bound(last_below + 1), Resource::Arithmetic, "{name}");
    }
}

#[test]
fn a_long_prompt_takes_the_time_of_its_operations() {
    let config = llama_8b();
    let gpu = Gpu::parse("h200").unwrap();
    let prefill = predictor(&config, &gpu, "bf16").prefill(4096);
    let products = 2.0 * 4096.0 * 32.0 * 4096.0 * 53_248.0;
    let attention = 4.0 * (4096.0 * 4097.0 / 2.0) * 4096.0 * 32.0;
    let flops: f64 = ["qkv", "output", "gate_up", "down", "attention"]
        .iter()
        .map(|name| op(&prefill, name).flops as f64)
        .sum();
    assert_eq!(flops, products + attention);
    let floor = prefill.floor().seconds();
    assert!(just_above(floor, flops / gpu.flops_per_s, 0.03), "{floor}");
    assert_eq!(prefill.floor().limiting(), Resource::Arithmetic);
    // Eight steps, of which the last has logits.
    assert_eq!(op(&prefill, "gate_up").launches, 8 * 32);
    assert_eq!(op(&prefill, "head").launches, 1);
}

#[test]
fn what_is_expected_is_never_faster_than_the_floor() {
    let config = llama_8b();
    for name in ["h100", "h200", "a100", "l40s", "4090"] {
        let gpu = Gpu::parse(name).unwrap();
        for weights in ["bf16", "int4", "int4:group=64,zero-point"] {
            let predictor = predictor(&config, &gpu, weights);
            for phase in
                [predictor.decode(1, 100), predictor.decode(256, 8000), predictor.prefill(900)]
            {
                for op in &phase.ops {
                    let least = op.floor.seconds() + op.launches as f64 * LAUNCH_S;
                    assert!(op.expected.seconds() > least, "{name} {weights} {op:?}");
                }
            }
            let shares = predictor.shares().used();
            assert!(shares.iter().all(|s| s.value > 0.0 && s.value < 1.0 && !s.reason.is_empty()));
        }
    }
}

#[test]
fn measured_shares_take_the_place_of_estimates() {
    let config = llama_8b();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.json");
    let text = r#"{"memory_gb": 64, "tb_per_s": 0.5, "tflops": 100, "decode_share": 0.5,
        "prefill_share": 0.25, "launch_us": 0}"#;
    fs::write(&path, text).unwrap();
    let gpu = Gpu::parse(path.to_str().unwrap()).unwrap();
    let predictor = predictor(&config, &gpu, "bf16");
    assert!(predictor.shares().used().is_empty());
    let decode = predictor.decode(1, 1000);
    assert!((decode.expected().seconds() / decode.floor().seconds() - 2.0).abs() < 1e-9);
    let prefill = predictor.prefill(512);
    let product = op(&prefill, "down");
    assert!((product.expected.seconds() / product.floor.seconds() - 4.0).abs() < 1e-9);
    let draw = op(&decode, "sample");
    assert_eq!(draw.expected.limiting(), Resource::Memory, "launches cost nothing: {draw:?}");
}

#[test]
fn a_full_house_keeps_littles_law() {
    let config = llama_8b();
    let gpu = Gpu::parse("h100").unwrap();
    let work = Workload { batch: 16, prompt: 1000, output: 101 };
    let prediction = predictor(&config, &gpu, "bf16").workload(work);
    for figures in [prediction.floor, prediction.expected] {
        // Requests at a time are requests a second, times how long one stays.
        let stay = figures.ttft_s + 100.0 * figures.loaded_tpot_s;
        assert!((figures.requests_per_s * stay - 16.0).abs() < 1e-9, "{figures:?}");
        assert!(figures.loaded_tpot_s > figures.tpot_s);
        assert_eq!(figures.prefill_tokens_per_s, 1000.0 / figures.ttft_s);
        assert_eq!(figures.decode_tokens_per_s, 16.0 / figures.tpot_s);
    }
    let alone = predictor(&config, &gpu, "bf16").workload(Workload { batch: 1, ..work });
    assert_eq!(alone.expected.loaded_tpot_s, alone.expected.tpot_s);
    let one = predictor(&config, &gpu, "bf16").workload(Workload { output: 1, ..work });
    assert!(one.expected.requests_per_s * one.expected.ttft_s <= 1.0);
}

#[test]
fn a_dollar_buys_what_it_does() {
    // 3.6 $/h at 1000 tokens/s: 3.6 million tokens an hour.
    assert!((dollars_per_million(3.6, 1000.0, 1.0) - 1.0).abs() < 1e-12);
    assert!((dollars_per_million(3.6, 1000.0, 0.25) - 4.0).abs() < 1e-12);
}
