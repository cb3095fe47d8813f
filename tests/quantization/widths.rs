//! Matrices whose rows or columns do not fill the words that they are packed in.

use super::edited::Stored;
use ridgepoint::load::{Checkpoint, Source};
use ridgepoint::quantize::matrix::{dequantize, int8};
use ridgepoint::quantize::pack;
use ridgepoint::tensor::{HostMatrix, HostTensor, MatrixFormat};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A checkpoint with one quantised matrix.
fn checkpoint(config: Value, tensors: &[(&str, Stored)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({ "quantization_config": config });
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let views = tensors.iter().map(|(name, Stored { dtype, shape, data })| {
        (*name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let path = dir.path().join("model.safetensors");
    safetensors::serialize_to_file(views, None, &path).unwrap();
    dir
}

fn compressed(target: &str, bits: usize, strategy: &str) -> Value {
    let weights = json!({ "num_bits": bits, "strategy": strategy, "symmetric": true });
    let groups = json!({ "group_0": { "targets": [target], "weights": weights } });
    json!({ "quant_method": "compressed-tensors", "format": "pack-quantized",
        "config_groups": groups })
}

/// Of every remainder of a word, a row of zeros among them: what is written comes back.
#[test]
fn heads_of_any_width_are_read_as_they_are_written() {
    for k in [1, 6, 7, 100, 102, 104, 129] {
        let mut weights: Vec<f32> = (0..5 * k).map(|at| (at * 7 % 31) as f32 - 14.0).collect();
        weights[2 * k..3 * k].fill(0.0);
        let head = HostTensor::from_f32("lm_head.weight", vec![5, k], &weights);
        let made = int8(Path::new("model"), &head).unwrap();
        let packed = pack::pack(&HostMatrix::Int8(made.clone()));
        let tensors: Vec<(String, Stored)> = packed
            .into_iter()
            .map(|part| {
                let dtype = match part.dtype {
                    "I32" => Dtype::I32,
                    "I64" => Dtype::I64,
                    _ => Dtype::BF16,
                };
                let stored = Stored { dtype, shape: part.shape, data: part.bytes };
                (format!("lm_head{}", part.suffix), stored)
            })
            .collect();
        let tensors: Vec<(&str, Stored)> =
            tensors.iter().map(|(name, stored)| (name.as_str(), stored.clone())).collect();
        let dir = checkpoint(compressed("lm_head", 8, "channel"), &tensors);
        let files = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(files.format("lm_head.weight", [5, k]).unwrap(), MatrixFormat::Int8);
        let found = files.matrix("lm_head.weight", [5, k]).unwrap();
        let HostMatrix::Int8(found) = found else { panic!("{k}: {found:?}") };
        assert!(found == made, "{k} columns");
    }
}

const MODULE: &str = "model.layers.0.mlp.up_proj";

/// The parts that AWQ and GPTQ have, of a matrix `[16, k]` in whole rows.
fn parts(packed: [usize; 2], word: impl Fn(usize) -> u32) -> Vec<(&'static str, Stored)> {
    let scales: Vec<u8> =
        (0..16).flat_map(|row| half::f16::from_f32(1.0 + row as f32).to_le_bytes()).collect();
    let words = (0..packed.iter().product()).map(|at| word(at).cast_signed());
    vec![
        ("model.layers.0.mlp.up_proj.qweight", Stored::words(&packed, words)),
        // Eight times the zero point 7.
        ("model.layers.0.mlp.up_proj.qzeros", Stored::words(&[1, 2], [0x7777_7777; 2])),
        (
            "model.layers.0.mlp.up_proj.scales",
            Stored { dtype: Dtype::F16, shape: vec![1, 16], data: scales },
        ),
    ]
}

/// AWQ packs rows, eight to a word in the order 0, 2, 4, 6, 1, 3, 5, 7: there may be any number of
/// columns.
#[test]
fn awq_has_columns_in_any_number() {
    let point = |row: usize, column: usize| ((3 * row + 5 * column) % 16) as u32;
    for k in [1, 7, 8, 20, 65] {
        let word = |at: usize| {
            let (column, rows) = (at / 2, at % 2 * 8);
            let places = [0, 2, 4, 6, 1, 3, 5, 7].into_iter().enumerate();
            places.fold(0, |word, (i, row)| word | point(rows + row, column) << (4 * i))
        };
        let config = json!({ "quant_method": "awq", "bits": 4, "group_size": -1 });
        let dir = checkpoint(config, &parts([k, 2], word));
        let files = Checkpoint::open(dir.path()).unwrap();
        let name = format!("{MODULE}.weight");
        let format = files.format(&name, [16, k]).unwrap();
        let matrix = files.matrix(&name, [16, k]).unwrap();
        assert_eq!(matrix.format(), format);
        for (at, found) in dequantize(&matrix).to_f32().into_iter().enumerate() {
            let (row, column) = (at / k, at % k);
            let expected = (1.0 + row as f32) * (point(row, column) as f32 - 7.0);
            assert_eq!(found, expected, "[{row}, {column}] of {k} columns");
        }
    }
}

/// The others pack columns, which fill whole words: that is seen before weights are read.
#[test]
fn columns_that_do_not_fill_a_word_are_refused() {
    let gptq = json!({ "quant_method": "gptq", "bits": 4, "group_size": -1, "sym": false,
        "desc_act": false });
    let words = Stored::words(&[16, 3], [0; 48]);
    let rows = vec![("model.layers.0.mlp.up_proj.weight_packed", words)];
    for (dir, packed) in [
        (checkpoint(gptq, &parts([3, 16], |_| 0)), "qweight"),
        (checkpoint(compressed(MODULE, 4, "channel"), &rows), "weight_packed"),
    ] {
        let files = Checkpoint::open(dir.path()).unwrap();
        let name = format!("{MODULE}.weight");
        let formats = files.format(&name, [16, 20]).unwrap_err();
        for error in [formats, files.matrix(&name, [16, 20]).unwrap_err()] {
            let message = error.to_string();
            for part in [MODULE, packed, "a matrix [16, 20]", "multiples of 8"] {
                assert!(message.contains(part), "{message:?} does not say {part:?}");
            }
        }
    }
}
