//! Random configurations and random tensors: refused or read, never a panic; and what is read holds
//! what devices build on.

use super::edited::Stored;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use ridgepoint::error::Result;
use ridgepoint::load::{Checkpoint, Source};
use ridgepoint::tensor::{HostMatrix, MatrixFormat};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

/// Rows and columns of the matrix that is asked for.
const SHAPE: [usize; 2] = [16, 128];
const WEIGHT: &str = "model.layers.0.mlp.up_proj.weight";

const METHODS: [&str; 4] = ["gptq", "gptq_v2", "awq", "compressed-tensors"];

const PARTS: [&str; 9] = [
    "qweight",
    "qzeros",
    "scales",
    "g_idx",
    "weight_packed",
    "weight_scale",
    "weight_shape",
    "weight_zero_point",
    "weight_g_idx",
];

/// A configuration and the tensors beside it.
#[derive(Debug, Clone)]
struct Case {
    method: &'static str,
    config: Value,
    tensors: Vec<(&'static str, Stored)>,
}

fn case() -> impl Strategy<Value = Case> {
    let group = prop_oneof![9 => select(vec![-1, 64, 128]), 1 => select(vec![32, 256])];
    let bits = prop_oneof![9 => Just(4), 1 => Just(8)];
    let drawn = (select(METHODS.to_vec()), bits, group, any::<bool>(), any::<bool>());
    drawn.prop_flat_map(|(method, bits, group, flag, ordered)| {
        let config = config(method, bits, group, flag, ordered);
        let groups = if group == 64 { 2 } else { 1 };
        let present = |part: &str| match part.ends_with("g_idx") {
            true if ordered => 0.9,
            true => 0.3,
            false => 0.98,
        };
        let tensors = PARTS.map(|part| {
            proptest::option::weighted(present(part), tensor(part, method, groups))
                .prop_map(move |stored| stored.map(|stored| (part, stored)))
        });
        tensors.prop_map(move |tensors| Case {
            method,
            config: config.clone(),
            tensors: tensors.into_iter().flatten().collect(),
        })
    })
}

fn config(method: &str, bits: i32, group: i32, flag: bool, ordered: bool) -> Value {
    match method {
        "awq" => json!({"quant_method": method, "bits": bits, "group_size": group}),
        "compressed-tensors" => {
            let strategy = if group == -1 { "channel" } else { "group" };
            let actorder = if ordered && strategy == "group" { "group" } else { "weight" };
            json!({"quant_method": method, "format": "pack-quantized", "ignore": [],
                "config_groups": {"a": {"targets": ["re:.*up_p"], "weights": {
                    "num_bits": bits, "strategy": strategy, "group_size": group,
                    "symmetric": flag, "actorder": actorder}}}})
        }
        version => json!({"quant_method": "gptq", "checkpoint_format": version, "sym": flag,
            "bits": bits, "group_size": group, "desc_act": ordered}),
    }
}

/// Shapes of a part of [`SHAPE`]: most often that of the configuration, or that of another one.
fn shape(part: &str, method: &str, groups: usize) -> impl Strategy<Value = Vec<usize>> + use<> {
    let of = |method: &str, groups: usize| match part {
        "qweight" if method == "awq" => vec![128, 2],
        "qweight" | "weight_packed" => vec![16, 16],
        "qzeros" => vec![groups, 2],
        "weight_zero_point" => vec![2, groups],
        "scales" => vec![groups, 16],
        "weight_scale" => vec![16, groups],
        "weight_shape" => vec![2],
        _ => vec![128],
    };
    let other = select(vec![of("awq", groups), of("gptq", 3 - groups), vec![16, 32]]);
    prop_oneof![18 => Just(of(method, groups)), 1 => other, 1 => vec(0usize..20, 0..3)]
}

fn tensor(
    part: &'static str,
    method: &'static str,
    groups: usize,
) -> impl Strategy<Value = Stored> {
    let usual = match part {
        "scales" | "weight_scale" => Dtype::F16,
        "weight_shape" => Dtype::I64,
        _ => Dtype::I32,
    };
    let dtype = prop_oneof![19 => Just(usual), 1 => select(vec![Dtype::I8, Dtype::BF16])];
    (shape(part, method, groups), dtype, any::<u64>()).prop_map(move |(shape, dtype, seed)| {
        let elements: usize = shape.iter().product();
        let mut state = seed;
        let data = (0..elements * dtype.bitsize() / 8).map(|i| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let random = (state >> 56) as u8;
            match part {
                // Mostly sound: scales of about 1, groups in turns or in runs, the shape that is
                // asked for, the zero point that stands for none.
                "scales" | "weight_scale" if i % 2 == 1 && random < 252 => 0x3c,
                "g_idx" | "weight_g_idx" if seed % 8 > 0 => {
                    let run = if seed % 2 == 0 { 1 } else { 64 };
                    u8::from(i % 4 == 0) * (i / 4 / run % groups) as u8
                }
                "weight_shape" if seed % 8 > 0 => {
                    [16, 0, 0, 0, 0, 0, 0, 0, 128][i.min(8)] * u8::from(i == 0 || i == 8)
                }
                "qzeros" if seed % 4 > 0 => {
                    if (method == "gptq") == (seed % 4 > 1) {
                        0x77
                    } else {
                        0x88
                    }
                }
                _ => random,
            }
        });
        let data = data.collect();
        Stored { dtype, shape, data }
    })
}

fn check(matrix: &HostMatrix, format: MatrixFormat) {
    assert_eq!((matrix.shape(), matrix.format()), (SHAPE, format));
    let HostMatrix::Int4(tensor) = matrix else { return };
    let (shape, matrix) = (tensor.shape, &tensor.matrix);
    assert!(matrix.quants.iter().all(|q| *q < 16) && matrix.quants.len() == shape.n * shape.k);
    let groups = shape.n * shape.groups();
    assert!(matrix.scales.len() == groups && matrix.scales.iter().all(|s| s.is_finite()));
    assert_eq!(matrix.zero_points.is_some(), shape.zero_points);
    assert!(matrix.zero_points.iter().flatten().all(|zero| *zero <= 16));
    if let Some(order) = &matrix.order {
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..shape.k as u32));
    }
}

/// What is made of a checkpoint of these tensors.
fn read(case: &Case) -> Result<HostMatrix> {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({ "quantization_config": case.config });
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let module = WEIGHT.strip_suffix(".weight").unwrap();
    let views = case.tensors.iter().map(|(part, stored)| {
        let view = TensorView::new(stored.dtype, stored.shape.clone(), &stored.data);
        (format!("{module}.{part}"), view.unwrap())
    });
    let path = dir.path().join("model.safetensors");
    safetensors::serialize_to_file(views, None, &path).unwrap();
    let checkpoint = Checkpoint::open(dir.path())?;
    checkpoint.names();
    let format = checkpoint.format(WEIGHT, SHAPE);
    let matrix = checkpoint.matrix(WEIGHT, SHAPE)?;
    check(&matrix, format.expect("the format of what is read"));
    Ok(matrix)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None,
        ..ProptestConfig::default() })]

    #[test]
    fn tensors_are_refused_or_read(case in case()) {
        if let Err(error) = read(&case) {
            prop_assert!(error.is_mistake(), "{}", error);
        }
    }
}

/// The random checkpoints above are not all refused, of no method, nor all read.
#[test]
fn random_tensors_are_often_sound() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut fates = BTreeMap::from(METHODS.map(|method| (method, [0, 0])));
    for _ in 0..400 {
        let case = case().new_tree(&mut runner).unwrap().current();
        let fates = fates.get_mut(case.method).unwrap();
        fates[usize::from(read(&case).is_ok())] += 1;
    }
    for (method, [refused, read]) in fates {
        assert!(refused > 15 && read > 15, "{method}: {refused} refused, {read} read");
    }
}
