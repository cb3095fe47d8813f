//! config.json: both generations, every family, and every way to be wrong.

use crate::common::fixture;
use ridgepoint::error::Error;
use ridgepoint::model::config::{Architecture, ModelConfig};
use ridgepoint::model::rope::RopeScaling;
use ridgepoint::request::TokenId;
use serde_json::{Value, json};
use std::path::Path;

fn base() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 1000,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
    })
}

fn with(changes: Value) -> Value {
    let mut config = base();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn parse(config: &Value) -> Result<ModelConfig, Error> {
    ModelConfig::parse(&config.to_string(), Path::new("config.json"))
}

#[test]
fn defaults_are_those_of_the_reference() {
    let config = parse(&base()).unwrap();
    assert_eq!(config.architecture, Architecture::Llama);
    assert_eq!(config.heads.dim, 64);
    assert_eq!(config.rope.theta, 10_000.0);
    assert_eq!(config.rope.scaling, RopeScaling::None);
    assert_eq!(config.rms_norm_eps, 1e-6);
    assert_eq!(config.windows, vec![None; 4]);
    assert!(!config.tied && !config.qkv_bias && !config.qk_norm);
    assert!(config.eos.is_empty());
}

#[test]
fn both_generations_say_the_same() {
    let scaling = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192
    });
    let old = with(json!({"rope_theta": 5e5, "rope_scaling": scaling, "torch_dtype": "bfloat16"}));
    let mut parameters = scaling.clone();
    parameters["rope_theta"] = json!(5e5);
    let new = with(json!({"rope_parameters": parameters, "dtype": "bfloat16"}));
    assert_eq!(parse(&old).unwrap(), parse(&new).unwrap());
    assert_eq!(parse(&old).unwrap().rope.theta, 5e5);
}

#[test]
fn windows_follow_the_family() {
    let mistral = json!({"architectures": ["MistralForCausalLM"], "sliding_window": 96});
    assert_eq!(parse(&with(mistral)).unwrap().windows, vec![Some(96); 4]);
    let full = json!({"architectures": ["MistralForCausalLM"], "sliding_window": null});
    assert_eq!(parse(&with(full)).unwrap().windows, vec![None; 4]);
    let qwen = |changes: Value| {
        let mut config = json!({"architectures": ["Qwen2ForCausalLM"], "sliding_window": 96});
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        parse(&with(config)).unwrap().windows
    };
    assert_eq!(qwen(json!({})), vec![None; 4]);
    let some = json!({"use_sliding_window": true, "max_window_layers": 3});
    assert_eq!(qwen(some), vec![None, None, None, Some(96)]);
    let (full, slides) = ("full_attention", "sliding_attention");
    let listed = json!({"use_sliding_window": true, "layer_types": [slides, full, full, slides]});
    assert_eq!(qwen(listed), vec![Some(96), None, None, Some(96)]);
}

#[test]
fn end_tokens_come_as_one_or_many() {
    assert_eq!(parse(&with(json!({"eos_token_id": 2}))).unwrap().eos, [TokenId(2)]);
    let many = parse(&with(json!({"eos_token_id": [2, 5]}))).unwrap();
    assert_eq!(many.eos, [TokenId(2), TokenId(5)]);
    let overridden = ModelConfig::load(&fixture("llama3_gqa4")).unwrap();
    assert_eq!(overridden.eos, [TokenId(3), TokenId(7), TokenId(11)]);
}

/// A change to the config, and what its message must say.
#[test]
fn mistakes_are_named() {
    let huge = u64::MAX;
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0,
        "high_freq_factor": 1.0, "original_max_position_embeddings": 8192});
    let cases: &[(Value, &[&str])] = &[
        (json!({"architectures": ["GPT2LMHeadModel"]}), &["GPT2LMHeadModel", "Qwen3ForCausalLM"]),
        (json!({"architectures": []}), &["architectures", "nothing"]),
        (json!({"architectures": "LlamaForCausalLM"}), &["architectures", "a list of strings"]),
        (json!({"hidden_size": 0}), &["hidden_size", "found 0", "from 1"]),
        (json!({"hidden_size": huge}), &["hidden_size", "18446744073709551615"]),
        (json!({"hidden_size": -4}), &["hidden_size", "-4"]),
        (json!({"hidden_size": 256.5}), &["hidden_size", "256.5"]),
        (json!({"hidden_size": "256"}), &["hidden_size", "\"256\""]),
        (json!({"hidden_size": null}), &["hidden_size", "no such field"]),
        (json!({"hidden_size": 255}), &["hidden_size", "num_attention_heads 4"]),
        (json!({"vocab_size": 0}), &["vocab_size"]),
        (json!({"num_hidden_layers": 1_000_000_000}), &["num_hidden_layers", "1000000000"]),
        (json!({"num_attention_heads": 0}), &["num_attention_heads"]),
        (json!({"num_key_value_heads": 3}), &["num_key_value_heads", "divisor"]),
        (json!({"head_dim": 63}), &["head_dim", "even"]),
        (json!({"head_dim": huge}), &["head_dim"]),
        (json!({"intermediate_size": 0}), &["intermediate_size"]),
        (json!({"max_position_embeddings": 0}), &["max_position_embeddings"]),
        (json!({"rms_norm_eps": -1.0}), &["rms_norm_eps", "-1"]),
        (json!({"rms_norm_eps": "small"}), &["rms_norm_eps", "a number"]),
        (json!({"rope_theta": 0}), &["rope_theta"]),
        (json!({"rope_scaling": {"type": "yarn", "factor": 4}}), &["rope_type yarn", "llama3"]),
        (json!({"rope_scaling": {"type": "linear"}}), &["rope_scaling.factor", "no such field"]),
        (json!({"rope_scaling": {"type": "linear", "factor": 0}}), &["rope_scaling.factor"]),
        (json!({"rope_scaling": 3}), &["rope_scaling", "an object"]),
        (json!({"rope_scaling": llama3}), &["high_freq_factor", "low_freq_factor 4"]),
        (json!({"rope_parameters": {"rope_type": "longrope"}}), &["rope_type longrope"]),
        (json!({"hidden_act": "gelu"}), &["hidden_act gelu", "silu"]),
        (json!({"attention_bias": true}), &["attention_bias"]),
        (json!({"mlp_bias": true}), &["mlp_bias"]),
        (json!({"partial_rotary_factor": 0.5}), &["partial_rotary_factor 0.5"]),
        (json!({"quantization_config": {"quant_method": "fp8"}}), &["quant_method fp8"]),
        (json!({"eos_token_id": 1000}), &["eos_token_id", "1000", "vocab_size 1000"]),
        (json!({"eos_token_id": [1, -1]}), &["eos_token_id", "-1"]),
        (json!({"eos_token_id": "end"}), &["eos_token_id", "end"]),
        (json!({"tie_word_embeddings": "yes"}), &["tie_word_embeddings", "true or false"]),
    ];
    for (change, parts) in cases {
        let error = parse(&with(change.clone())).expect_err(&change.to_string());
        let message = error.to_string();
        assert!(error.is_mistake(), "{change}");
        for part in ["config.json"].iter().chain(*parts) {
            assert!(message.contains(part), "{change}: {message:?} does not say {part:?}");
        }
    }
}

#[test]
fn window_types_must_be_known() {
    let qwen = |types: Value| {
        let config = json!({"architectures": ["Qwen3ForCausalLM"], "sliding_window": 8,
            "use_sliding_window": true, "layer_types": types});
        parse(&with(config)).unwrap_err().to_string()
    };
    let chunked =
        json!(["chunked_attention", "full_attention", "full_attention", "full_attention"]);
    assert!(qwen(chunked).contains("chunked_attention"));
    assert!(qwen(json!(["full_attention"])).contains("1 types"));
}

#[test]
fn what_is_not_json_is_said() {
    for text in ["", "[]", "{", "3", "{\"a\": nan}"] {
        let error = ModelConfig::parse(text, Path::new("config.json")).unwrap_err();
        assert!(error.to_string().contains("a JSON object"), "{text}: {error}");
    }
    let error = ModelConfig::load(Path::new("/nowhere/at/all")).unwrap_err();
    assert!(error.to_string().contains("no such model directory"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = ModelConfig::load(empty.path()).unwrap_err();
    assert!(error.to_string().contains("config.json"), "{error}");
}
