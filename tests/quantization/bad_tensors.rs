//! Quantised tensors that are broken: refused by name, before anything of their size is allocated.

use super::edited::{Stored, Tensors, edited};
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::load::{Checkpoint, Source};
use ridgepoint::model::budget::Formats;
use ridgepoint::model::{Decoder, Limits, ModelConfig};
use safetensors::Dtype;
use serde_json::Value;

const LAYER: &str = "model.layers.0.";

/// Loads the case after a change, and looks for words in what is said. `early` if the formats alone
/// show it, which are asked for before weights are read.
fn refused(
    name: &str,
    early: bool,
    config: impl FnOnce(&mut Value),
    tensors: impl FnOnce(&mut Tensors),
    parts: &[&str],
) {
    let dir = edited(name, config, tensors);
    let config = ModelConfig::load(dir.path()).unwrap();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let formats = Formats::stored(&config, &|name, shape| checkpoint.format(name, shape));
    let load = Decoder::load(CpuBackend::new(), config, &checkpoint, Limits::ONE);
    let mut errors = vec![load.err().unwrap_or_else(|| panic!("{name} {parts:?} was loaded"))];
    assert!(!early || formats.is_err(), "{name} {parts:?}");
    errors.extend(formats.err());
    for error in errors {
        let message = error.to_string();
        assert!(error.is_mistake(), "{message}");
        for part in parts {
            assert!(message.contains(part), "{name}: {message:?} does not say {part:?}");
        }
    }
}

/// The part of a module of the first layer.
fn part<'a>(tensors: &'a mut Tensors, name: &str) -> &'a mut Stored {
    tensors.get_mut(&format!("{LAYER}{name}")).unwrap()
}

#[test]
fn scales_that_are_no_scales() {
    let cases = [("gptq_v1", "scales", 0x7c00u16), ("awq_64", "scales", 0x7e00)];
    for (name, suffix, not_finite) in cases.into_iter().chain([
        ("compressed_64", "weight_scale", 0x7f80),
        ("compressed_act_order", "weight_scale", 0xffc0),
    ]) {
        for (bits, word) in [(0, "found 0 in row 0, column 3"), (not_finite, "row 0, column 3")] {
            // Four groups of a head, so that the place is known in any layout.
            let scale = format!("mlp.down_proj.{suffix}");
            let at = if suffix == "scales" { 3 } else { 0 };
            let change = |tensors: &mut Tensors| part(tensors, &scale).set_bits(at, bits);
            let place = if at == 3 { word } else { "in row 0, column 0" };
            refused(name, false, |_| {}, change, &["tensor", &scale, place, "not zero"]);
        }
    }
    // A head has a scale for each row, whatever its weights are.
    for (bits, found) in [(0, "found 0 in"), (0x7f80, "found inf in"), (0x7fc0, "found NaN in")] {
        let change = |tensors: &mut Tensors| {
            let scale = tensors.get_mut("lm_head.weight_scale").unwrap();
            assert_eq!(scale.dtype, Dtype::BF16);
            scale.set_bits(5, bits);
        };
        let parts = ["tensor lm_head.weight_scale", found, "row 5, column 0", "not zero"];
        refused("compressed_head_8", false, |_| {}, change, &parts);
    }
    let negative_zero = |tensors: &mut Tensors| {
        part(tensors, "mlp.down_proj.scales").set_bits(0, 0x8000);
    };
    refused("gptq_v1", false, |_| {}, negative_zero, &["mlp.down_proj.scales", "-0 in row 0"]);
}

#[test]
fn shapes_that_disagree_with_the_configuration() {
    let wider = |config: &mut Value| config["intermediate_size"] = 256.into();
    for (name, suffix) in
        [("gptq_v1", "qweight"), ("awq_64", "qweight"), ("compressed_64", "weight_packed")]
    {
        let tensor = format!("mlp.gate_proj.{suffix}");
        let shape = match name {
            "gptq_v1" => "found shape [16, 192], expected shape [16, 256] (from config.json)",
            "awq_64" => "found shape [128, 24], expected shape [128, 32]",
            _ => "weight_shape",
        };
        let named = if suffix == "qweight" { tensor.as_str() } else { "mlp.gate_proj" };
        refused(name, true, wider, |_| {}, &[named, shape]);
    }
    // Every part by itself.
    for (name, suffix) in [
        ("gptq_v2_act_order", "qweight"),
        ("gptq_v2_act_order", "qzeros"),
        ("gptq_v2_act_order", "scales"),
        ("gptq_v2_act_order", "g_idx"),
        ("awq_64", "qzeros"),
        ("awq_64", "scales"),
        ("compressed_128_zeros", "weight_packed"),
        ("compressed_128_zeros", "weight_zero_point"),
        ("compressed_128_zeros", "weight_scale"),
        ("compressed_128_zeros", "weight_shape"),
        ("compressed_act_order", "weight_g_idx"),
    ] {
        let tensor = format!("self_attn.o_proj.{suffix}");
        let shorter = |tensors: &mut Tensors| {
            let part = part(tensors, &tensor);
            let last = part.data.len() / part.shape[0] * (part.shape[0] - 1);
            part.data.truncate(last);
            part.shape[0] -= 1;
        };
        refused(name, true, |_| {}, shorter, &[&tensor, "found shape", "expected shape"]);
        let gone = |tensors: &mut Tensors| {
            tensors.remove(&format!("{LAYER}{tensor}"));
        };
        match suffix {
            // The other parts mean nothing then.
            "qweight" | "weight_packed" => {
                refused(name, true, |_| {}, gone, &["layers.0.self_attn.o_proj"]);
            }
            _ => refused(name, true, |_| {}, gone, &[&tensor, "no such tensor"]),
        }
    }
}

#[test]
fn elements_of_another_kind() {
    for (name, tensor) in [
        ("gptq_v1", "self_attn.q_proj.qweight"),
        ("awq_64", "self_attn.q_proj.qzeros"),
        ("gptq_v1_act_order", "self_attn.q_proj.g_idx"),
        ("compressed_64", "self_attn.q_proj.weight_packed"),
    ] {
        let floats = |tensors: &mut Tensors| part(tensors, tensor).dtype = Dtype::F32;
        refused(name, true, |_| {}, floats, &[tensor, "dtype F32", "I32"]);
    }
    let words = |tensors: &mut Tensors| {
        let part = part(tensors, "self_attn.q_proj.scales");
        *part = Stored::words(&part.shape.clone(), vec![1; part.data.len() / 2]);
    };
    refused("gptq_v1", true, |_| {}, words, &["q_proj.scales", "dtype I32", "F16"]);
    let other = |tensors: &mut Tensors| {
        let part = part(tensors, "self_attn.q_proj.weight_shape");
        part.data[0] ^= 1;
    };
    let parts = ["q_proj.weight_shape", "found [129, 128]", "expected [128, 128]"];
    refused("compressed_64", true, |_| {}, other, &parts);
}

#[test]
fn groups_of_columns_that_make_no_order() {
    for (name, suffix) in [
        ("gptq_v1_act_order", "g_idx"),
        ("gptq_v1", "g_idx"),
        ("compressed_act_order", "weight_g_idx"),
    ] {
        let index = format!("self_attn.o_proj.{suffix}");
        for (group, parts) in [
            (2, ["group 2 of column 5", "groups below 2"]),
            (-1, ["group -1 of column 5", "groups below 2"]),
            (i32::MAX, ["group 2147483647 of column 5", "groups below 2"]),
        ] {
            let change = |tensors: &mut Tensors| {
                part(tensors, &index).data[20..24].copy_from_slice(&i32::to_le_bytes(group));
            };
            refused(name, true, |_| {}, change, &[&[index.as_str()], &parts[..]].concat());
        }
        let all_one = |tensors: &mut Tensors| {
            *part(tensors, &index) = Stored::words(&[128], vec![0; 128]);
        };
        let parts = [&index, "more than 64 columns in group 0", "64, the group size"];
        refused(name, true, |_| {}, all_one, &parts);
    }
}

#[test]
fn rows_that_are_not_whole_groups() {
    let groups = |size: i64| {
        move |config: &mut Value| config["quantization_config"]["group_size"] = size.into()
    };
    let parts = ["down_proj.qweight", "rows of 192 columns", "a multiple of the group, 128"];
    refused("gptq_v1_act_order", true, groups(128), |_| {}, &["q_proj.scales", "shape [1, 128]"]);
    let only_down = |tensors: &mut Tensors| {
        tensors.retain(|name, _| name.contains("down_proj") || !name.contains("_proj"));
    };
    let dir = edited("gptq_v1_act_order", groups(128), only_down);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let error = checkpoint.format("model.layers.0.mlp.down_proj.weight", [128, 192]).unwrap_err();
    for part in parts {
        assert!(error.to_string().contains(part), "{error} does not say {part}");
    }
}

#[test]
fn zero_points_of_the_other_version() {
    let version = |config: &mut Value| {
        config["quantization_config"]["checkpoint_format"] = "gptq_v2".into();
    };
    let parts = ["q_proj.qzeros", "zero point 7 in row 0", "sym is true", "checkpoint_format"];
    refused("gptq_v1_act_order", false, version, |_| {}, &parts);
}

#[test]
fn schemes_that_are_mixed() {
    // One of three matrices that are computed as one is left as it is.
    let plain = |tensors: &mut Tensors| {
        tensors.retain(|name, _| !name.contains("layers.0.self_attn.k_proj"));
        let shape = vec![64, 128];
        let stored = Stored { dtype: Dtype::F16, shape, data: vec![0; 2 * 64 * 128] };
        tensors.insert(format!("{LAYER}self_attn.k_proj.weight"), stored);
    };
    let parts = ["k_proj.weight", "found F16", "int4 in groups of 64, as", "q_proj.weight has"];
    refused("gptq_v1", false, |_| {}, plain, &parts);
    let two = |config: &mut Value| {
        let groups = &mut config["quantization_config"]["config_groups"];
        let mut other = groups["group_0"].clone();
        other["targets"] = serde_json::json!(["model.layers.0.self_attn.v_proj"]);
        other["weights"]["strategy"] = "channel".into();
        groups["group_1"] = other;
    };
    let one_group = |tensors: &mut Tensors| {
        let scale = part(tensors, "self_attn.v_proj.weight_scale");
        scale.shape = vec![64, 1];
        scale.data.truncate(128);
    };
    let parts = ["v_proj.weight", "int4 in groups of 128", "int4 in groups of 64, as"];
    refused("compressed_64", false, two, one_group, &parts);
}

/// Old exports give every matrix a bias of zeros; one that is not zero is another model.
#[test]
fn biases_that_the_architecture_has_not() {
    let change = |tensors: &mut Tensors| part(tensors, "mlp.up_proj.bias").set_bits(7, 0x3c00);
    let parts = ["tensor model.layers.0.mlp.up_proj.bias", "one of 1 that config.json leaves out"];
    let dir = edited("gptq_v1", |_| {}, change);
    let config = ModelConfig::load(dir.path()).unwrap();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let error = ridgepoint::model::refuse_strangers(&config, &checkpoint).unwrap_err().to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    let minus = |tensors: &mut Tensors| part(tensors, "mlp.up_proj.bias").set_bits(7, 0x8000);
    let dir = edited("gptq_v1", |_| {}, minus);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    ridgepoint::model::refuse_strangers(&config, &checkpoint).unwrap();
}

/// Packed weights that no target names, and a target without its packed weights.
#[test]
fn tensors_and_targets_that_disagree() {
    let ignored = |config: &mut Value| {
        config["quantization_config"]["ignore"] = serde_json::json!(["re:.*"]);
    };
    let dir = edited("compressed_64", ignored, |_| {});
    let config = ModelConfig::load(dir.path()).unwrap();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let error = ridgepoint::model::refuse_strangers(&config, &checkpoint).unwrap_err().to_string();
    assert!(error.contains("weight_packed, one of 21"), "{error}");
    let all = |config: &mut Value| {
        config["quantization_config"]["ignore"] = serde_json::json!([]);
    };
    let parts = ["tensor lm_head.weight_shape", "no such tensor"];
    refused("compressed_64", true, all, |_| {}, &parts);
}

/// A table of rows is not read quantised, nor a head beside the embedding that should be it.
#[test]
fn tables_that_are_quantised() {
    let embedding = |tensors: &mut Tensors| {
        for part in ["qweight", "qzeros", "scales"] {
            let stored = tensors[&format!("{LAYER}self_attn.q_proj.{part}")].clone();
            tensors.insert(format!("model.embed_tokens.{part}"), stored);
        }
        tensors.remove("model.embed_tokens.weight");
        let head = Stored { dtype: Dtype::F16, shape: vec![128; 2], data: vec![0; 2 * 128 * 128] };
        tensors.insert("lm_head.weight".to_string(), head);
    };
    let vocab = |config: &mut Value| config["vocab_size"] = 128.into();
    let parts = ["tensor model.embed_tokens.weight", "int4 in groups of 64", "16 or 32 bits"];
    refused("awq_64", false, vocab, embedding, &parts);
    let tied = |config: &mut Value| config["tie_word_embeddings"] = true.into();
    let parts = ["tensor lm_head.weight", "int8", "tie_word_embeddings false"];
    refused("compressed_head_8", false, tied, |_| {}, &parts);
}
