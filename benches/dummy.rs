//! The model that benchmarks make up: 317 M parameters, 634 MB of bf16, larger than the caches.

use ridgepoint::error::Result;
use ridgepoint::model::ModelConfig;
use serde_json::{Value, json};
use std::path::Path;

pub const HIDDEN: usize = 1024;
pub const INNER: usize = 4096;
pub const LAYERS: usize = 16;
pub const KV_WIDTH: usize = 512;
pub const VOCAB: usize = 32_000;
pub const CONTEXT: usize = 1024;

/// Its `config.json`.
pub fn json() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": VOCAB, "hidden_size": HIDDEN,
        "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": 16,
        "num_key_value_heads": 8, "max_position_embeddings": CONTEXT,
    })
}

/// Its configuration.
#[allow(dead_code)] // not all benchmarks that share this file need all of it
pub fn config() -> Result<ModelConfig> {
    ModelConfig::parse(&json().to_string(), Path::new("config.json"))
}

/// Name and shape of each of its tensors.
#[allow(dead_code)]
pub fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_string(), vec![VOCAB, HIDDEN]),
        ("lm_head.weight".to_string(), vec![VOCAB, HIDDEN]),
        ("model.norm.weight".to_string(), vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        for (part, shape) in [
            ("input_layernorm", vec![HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
            ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.k_proj", vec![KV_WIDTH, HIDDEN]),
            ("self_attn.v_proj", vec![KV_WIDTH, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
            ("mlp.gate_proj", vec![INNER, HIDDEN]),
            ("mlp.up_proj", vec![INNER, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, INNER]),
        ] {
            tensors.push((format!("model.layers.{layer}.{part}.weight"), shape));
        }
    }
    tensors
}
