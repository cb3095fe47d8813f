//! Quantisations that are refused by what their configuration says, named as the file names them.

use super::edited::edited;
use crate::common::{ridgepoint, stderr};
use ridgepoint::load::Checkpoint;
use ridgepoint::model::ModelConfig;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Both readers of a configuration refuse it as a mistake, with these words.
fn refused(name: &str, change: &Value, parts: &[&str]) {
    let dir = edited(name, |config| merge(&mut config["quantization_config"], change), |_| {});
    let errors = [
        ModelConfig::load(dir.path()).expect_err(&change.to_string()),
        Checkpoint::open(dir.path()).err().expect("both readers refuse it"),
    ];
    for error in errors {
        let message = error.to_string();
        assert!(error.is_mistake(), "{change}: {message}");
        for part in ["config.json", "quantization_config"].iter().chain(parts) {
            assert!(message.contains(part), "{name} {change}: {message:?} does not say {part:?}");
        }
    }
}

fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}

#[test]
fn methods_that_are_not_read() {
    for method in ["bitsandbytes", "fp8", "fbgemm_fp8", "hqq", "aqlm", "mxfp4", "torchao", "eetq"] {
        let supported = "supported: gptq, awq, compressed-tensors, each with 4 bits";
        refused("gptq_v1_zeros", &json!({"quant_method": method}), &[method, supported]);
    }
    let none = json!({"quant_method": null, "load_in_4bit": true});
    refused("gptq_v1_zeros", &none, &["quant_method bitsandbytes"]);
    refused("gptq_v1_zeros", &json!({"quant_method": null}), &["quant_method", "no such field"]);
    refused("gptq_v1_zeros", &json!({"quant_method": 4}), &["quant_method", "a string"]);
}

#[test]
fn gptq_that_is_not_read() {
    for (change, parts) in [
        (json!({"bits": 8}), &["bits 8", "supported: 4"][..]),
        (json!({"bits": 3}), &["bits 3"]),
        (json!({"bits": "4"}), &["bits", "a whole number"]),
        (json!({"bits": null}), &["bits", "no such field"]),
        (json!({"group_size": 32}), &["group_size 32", "64, multiples of 128, and -1"]),
        (json!({"group_size": 0}), &["group_size 0"]),
        (json!({"group_size": -2}), &["group_size", "-2"]),
        (json!({"group_size": null}), &["group_size", "no such field"]),
        (json!({"group_size": 1e18 as u64}), &["group_size", "a whole number"]),
        (json!({"checkpoint_format": "marlin"}), &["checkpoint_format marlin", "gptq_v2"]),
        (json!({"checkpoint_format": "bitblas"}), &["checkpoint_format bitblas"]),
        (json!({"is_marlin_format": true}), &["is_marlin_format true"]),
        (json!({"pack_dtype": "int16"}), &["pack_dtype int16", "int32"]),
        (json!({"dynamic": {"+:.*down.*": {"bits": 8}}}), &["dynamic +:.*down.*", "one scheme"]),
        (json!({"rotation": "hadamard"}), &["rotation", "hadamard"]),
        (json!({"adapter": {"rank": 64}}), &["adapter"]),
        (json!({"sym": "yes"}), &["sym", "true or false"]),
        (json!({"desc_act": 1}), &["desc_act", "true or false"]),
    ] {
        refused("gptq_v1_zeros", &change, parts);
    }
}

#[test]
fn awq_that_is_not_read() {
    for (change, parts) in [
        (json!({"bits": 8}), &["bits 8", "supported: 4"][..]),
        (json!({"group_size": 32}), &["group_size 32"]),
        (json!({"version": "gemv"}), &["version gemv", "supported: gemm"]),
        (json!({"version": "gemv_fast"}), &["version gemv_fast"]),
        (json!({"version": "marlin"}), &["version marlin"]),
        (json!({"version": "exllama"}), &["version exllama"]),
        (json!({"backend": "llm-awq"}), &["backend llm-awq", "autoawq"]),
        (json!({"zero_point": false}), &["zero_point false"]),
    ] {
        refused("awq_128", &change, parts);
    }
}

/// A change of the weights of the first group.
fn weights(change: Value) -> Value {
    json!({"config_groups": {"group_0": {"weights": change}}})
}

#[test]
fn compressed_tensors_that_are_not_read() {
    let group = |change: Value| json!({"config_groups": {"group_0": change}});
    for (change, parts) in [
        (json!({"format": "float-quantized"}), &["format float-quantized", "pack-quantized"][..]),
        (json!({"format": "int-quantized"}), &["format int-quantized"]),
        (json!({"format": "marlin-24"}), &["format marlin-24"]),
        (json!({"format": "nvfp4-pack-quantized"}), &["nvfp4-pack-quantized"]),
        (json!({"format": null}), &["format nothing"]),
        (json!({"kv_cache_scheme": {"num_bits": 8}}), &["kv_cache_scheme"]),
        (json!({"transform_config": {"config_groups": {}}}), &["transform_config"]),
        (
            json!({"sparsity_config": {"format": "sparse-24"}}),
            &["sparsity_config.format sparse-24"],
        ),
        (json!({"config_groups": null}), &["config_groups", "no such field"]),
        (json!({"config_groups": {"group_0": null}}), &["config_groups", "no targets"]),
        (group(json!({"input_activations": {"num_bits": 8}})), &["group_0.input_activations"]),
        (group(json!({"output_activations": {"num_bits": 8}})), &["output_activations"]),
        (group(json!({"format": "int-quantized"})), &["group_0.format int-quantized"]),
        (group(json!({"weights": null})), &["group_0.weights", "no such field"]),
        (group(json!({"targets": ["re:(a"]})), &["targets", "re:(a", "a regular expression"]),
        (weights(json!({"num_bits": 3})), &["weights.num_bits 3", "4, and 8 for lm_head"]),
        (weights(json!({"num_bits": 8})), &["weights.strategy group", "8 bits in symmetric"]),
        (weights(json!({"type": "float"})), &["weights.type float", "int"]),
        (weights(json!({"group_size": 32})), &["weights.group_size 32"]),
        (weights(json!({"group_size": null})), &["weights.group_size", "strategy group"]),
        (weights(json!({"strategy": "tensor"})), &["weights.strategy tensor"]),
        (weights(json!({"strategy": "block"})), &["weights.strategy block"]),
        (weights(json!({"dynamic": true})), &["weights.dynamic true"]),
        (weights(json!({"actorder": "sideways"})), &["weights.actorder sideways"]),
        (weights(json!({"actorder": "group", "strategy": "channel"})), &["actorder group"]),
        (json!({"ignore": "lm_head"}), &["ignore", "a list of strings"]),
        (json!({"ignore": vec!["re:x"; 300]}), &["ignore", "300 entries", "256 patterns"]),
    ] {
        refused("compressed_64", &change, parts);
    }
}

/// 8 bits pass for the head alone, and are refused before anything is loaded.
#[test]
fn eight_bits_are_for_the_head() {
    let targets = ["re:.*lm_head$", "model.layers.0.mlp.down_proj"];
    let change = json!({"config_groups": {"group_1": {"targets": targets}}});
    let dir =
        edited("compressed_head_8", |c| merge(&mut c["quantization_config"], &change), |_| {});
    let message = loading(dir.path());
    for part in ["8 bits for model.layers.0.mlp.down_proj", "8 for lm_head"] {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

/// What a command says of a model that it cannot load.
fn loading(dir: &Path) -> String {
    let model = dir.to_str().unwrap();
    let output = ridgepoint(&["generate", "--model", model, "--tokens", "1", "--device", "cpu"]);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    message
}

#[test]
fn older_files_are_held_to_the_same() {
    let dir = edited("gptq_v1", |_| {}, |_| {});
    let path = dir.path().join("quantize_config.json");
    for (text, parts) in [
        (r#"{"bits": 8, "group_size": 64}"#, &["bits 8"][..]),
        (r#"{"bits": 4, "group_size": 32}"#, &["group_size 32"]),
        ("{", &["a JSON object"]),
    ] {
        fs::write(&path, text).unwrap();
        let message = loading(dir.path());
        for part in ["quantize_config.json"].iter().chain(parts) {
            assert!(message.contains(part), "{message:?} does not say {part:?}");
        }
    }
}
