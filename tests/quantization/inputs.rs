//! Random configurations and random tensors: refused or read, never a panic; and what is read holds
//! what devices build on.

use super::edited::Stored;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
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

fn config() -> impl Strategy<Value = Value> {
    let group = select(vec![-1, 64, 128, 32, 256]);
    let bits = select(vec![4, 4, 4, 4, 8]);
    let method = select(vec!["gptq", "gptq_v2", "awq", "compressed-tensors"]);
    (method, bits, group, any::<bool>(), any::<bool>()).prop_map(
        |(method, bits, group, flag, ordered)| match method {
            "awq" => json!({"quant_method": method, "bits": bits, "group_size": group}),
            "compressed-tensors" => {
                let strategy = if group == -1 { "channel" } else { "group" };
                let actorder = if ordered { "group" } else { "weight" };
                json!({"quant_method": method, "format": "pack-quantized", "ignore": [],
                    "config_groups": {"a": {"targets": ["re:.*up_p"], "weights": {
                        "num_bits": bits, "strategy": strategy, "group_size": group,
                        "symmetric": flag, "actorder": actorder}}}})
            }
            version => json!({"quant_method": "gptq", "checkpoint_format": version, "sym": flag,
                "bits": bits, "group_size": group, "desc_act": ordered}),
        },
    )
}

/// Shapes that fit some layout of [`SHAPE`], more often than not that of the part.
fn shape(part: &str) -> impl Strategy<Value = Vec<usize>> + use<> {
    let fit: Vec<Vec<usize>> = match part {
        "qweight" => vec![vec![16, 16], vec![128, 2]],
        "weight_packed" => vec![vec![16, 16], vec![16, 32]],
        "qzeros" => vec![vec![1, 2], vec![2, 2]],
        "weight_zero_point" => vec![vec![2, 1], vec![2, 2]],
        "scales" => vec![vec![1, 16], vec![2, 16]],
        "weight_scale" => vec![vec![16, 1], vec![16, 2]],
        "weight_shape" => vec![vec![2]],
        _ => vec![vec![128]],
    };
    let odd = vec(0usize..20, 0..3);
    prop_oneof![7 => select(fit), 1 => odd]
}

fn tensor(part: &'static str) -> impl Strategy<Value = Stored> {
    let usual = match part {
        "scales" | "weight_scale" => Dtype::F16,
        "weight_shape" => Dtype::I64,
        _ => Dtype::I32,
    };
    let dtype = prop_oneof![9 => Just(usual), 1 => select(vec![Dtype::I8, Dtype::BF16])];
    (shape(part), dtype, any::<u64>()).prop_map(move |(shape, dtype, seed)| {
        let elements: usize = shape.iter().product();
        let mut state = seed;
        let data = (0..elements * dtype.bitsize() / 8).map(|i| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let random = (state >> 56) as u8;
            match part {
                // Mostly sound: scales of about 1, groups in turns, the shape that is asked for.
                "scales" | "weight_scale" if i % 2 == 1 && random < 250 => 0x3c,
                "g_idx" | "weight_g_idx" if seed % 3 > 0 => {
                    u8::from(i % 4 == 0) * ((i / 4) as u8 / (1 + seed % 2 * 63) as u8 % 2)
                }
                "weight_shape" if seed % 4 > 0 => {
                    [16, 0, 0, 0, 0, 0, 0, 0, 128][i.min(8)] * u8::from(i == 0 || i == 8)
                }
                "qzeros" if seed % 2 == 0 => 0x77 + 0x11 * (seed % 4 / 2) as u8,
                _ => random,
            }
        });
        let data = data.collect();
        Stored { dtype, shape, data }
    })
}

const PARTS: [&str; 8] = [
    "qweight",
    "qzeros",
    "scales",
    "g_idx",
    "weight_packed",
    "weight_scale",
    "weight_shape",
    "weight_zero_point",
];

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

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None,
        ..ProptestConfig::default() })]

    #[test]
    fn tensors_are_refused_or_read(
        config in config(),
        stored in PARTS.map(tensor),
        index in tensor("weight_g_idx"),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let config = json!({ "quantization_config": config });
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let module = WEIGHT.strip_suffix(".weight").unwrap();
        let mut tensors: BTreeMap<String, &Stored> = BTreeMap::new();
        for (part, stored) in PARTS.iter().zip(&stored).chain([(&"weight_g_idx", &index)]) {
            tensors.insert(format!("{module}.{part}"), stored);
        }
        let views = tensors.iter().map(|(name, stored)| {
            let view = TensorView::new(stored.dtype, stored.shape.clone(), &stored.data);
            (name.clone(), view.unwrap())
        });
        let path = dir.path().join("model.safetensors");
        safetensors::serialize_to_file(views, None, &path).unwrap();
        let checkpoint = match Checkpoint::open(dir.path()) {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                prop_assert!(error.is_mistake(), "{}", error);
                return Ok(());
            }
        };
        checkpoint.names();
        match (checkpoint.format(WEIGHT, SHAPE), checkpoint.matrix(WEIGHT, SHAPE)) {
            (Ok(format), Ok(matrix)) => check(&matrix, format),
            (Err(error), Ok(_)) => prop_assert!(false, "the format alone is refused: {}", error),
            (_, Err(error)) => prop_assert!(error.is_mistake(), "{}", error),
        }
    }
}

/// The random tensors above are not all refused.
#[test]
fn random_tensors_are_often_sound() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut fits = 0;
    for _ in 0..200 {
        let stored = tensor("qweight").new_tree(&mut runner).unwrap().current();
        fits += usize::from(stored.dtype == Dtype::I32 && stored.shape == [16, 16]);
    }
    assert!(fits > 40, "{fits}");
}
