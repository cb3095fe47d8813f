//! The models whose shapes are measured, and what a step of one costs.

use super::Floor;
use ridgepoint::backend::Phase;
use ridgepoint::error::Result;
use ridgepoint::model::ModelConfig;
use ridgepoint::model::budget::{self, StepLoad};
use std::path::Path;
use std::rc::Rc;

/// A model by name.
#[derive(Debug, Clone)]
pub struct Model {
    pub name: String,
    pub config: Rc<ModelConfig>,
}

/// Architecture, name, and of the model: width, query heads, key/value heads, intermediate width,
/// vocabulary. Heads have 128 elements.
const MODELS: [(&str, &str, [usize; 5]); 5] = [
    ("Llama", "llama-3.1-8b", [4096, 32, 8, 14_336, 128_256]),
    ("Qwen3", "qwen3-8b", [4096, 32, 8, 12_288, 151_936]),
    ("Qwen3", "qwen3-14b", [5120, 40, 8, 17_408, 151_936]),
    ("Qwen3", "qwen3-0.6b", [1024, 16, 8, 3072, 151_936]),
    // Of no model: a matrix that others are often measured by.
    ("Llama", "8192-square", [8192, 64, 8, 8192, 8192]),
];

impl Model {
    /// Those that a GPU is measured by.
    ///
    /// # Errors
    /// None, unless what is written here is no configuration.
    pub fn all() -> Result<Vec<Model>> {
        MODELS
            .iter()
            .map(|(architecture, name, sizes)| Model::new(architecture, name, *sizes))
            .collect()
    }

    fn new(architecture: &str, name: &str, sizes: [usize; 5]) -> Result<Model> {
        let [hidden, query, kv, inner, vocab] = sizes;
        let text = format!(
            r#"{{"architectures": ["{architecture}ForCausalLM"], "hidden_size": {hidden},
            "num_attention_heads": {query}, "num_key_value_heads": {kv}, "head_dim": 128,
            "intermediate_size": {inner}, "vocab_size": {vocab}, "num_hidden_layers": 1,
            "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 131072,
            "hidden_act": "silu", "tie_word_embeddings": false, "torch_dtype": "bfloat16"}}"#
        );
        let config = ModelConfig::parse(&text, Path::new("config.json"))?;
        Ok(Model { name: name.to_owned(), config: Rc::new(config) })
    }

    /// What an op of a step must at least do. Rows are sequences with `context` positions before
    /// theirs, or in prefill the last tokens of one.
    pub fn floor(&self, op: &str, phase: Phase, rows: usize, context: usize) -> Floor {
        let load = StepLoad { phase, rows, context, logit_rows: rows };
        let costs = budget::step(&self.config, load);
        let cost = costs.iter().find(|cost| cost.op == op);
        let cost = cost.unwrap_or_else(|| panic!("a step has no {op}"));
        Floor { bytes: cost.bytes, flops: cost.flops }
    }
}
