//! `config.json`, validated: after [`ModelConfig::parse`] every size is in range and every feature
//! is one that the decoder has.
//!
//! Both generations are read: `rope_theta` + `rope_scaling` + `torch_dtype`, and
//! `rope_parameters` + `dtype`. What the engine does not do is refused by the name the file
//! gives it; nothing is ignored that would change the output.

use crate::backend::Heads;
use crate::error::{Error, Result};
use crate::load::Quantization;
use crate::load::checkpoint::read_json_text;
use crate::load::fields::Fields;
use crate::model::rope::{RopeConfig, RopeScaling};
use crate::request::TokenId;
use std::fmt;
use std::path::Path;

/// Upper bounds of sizes. They are far above any published model and keep every product of sizes
/// within 64 bits, so that no later arithmetic can overflow.
const HIDDEN_MAX: usize = 1 << 17;
const VOCAB_MAX: usize = 1 << 22;
const LAYERS_MAX: usize = 1024;
const HEADS_MAX: usize = 1024;
const HEAD_DIM_MAX: usize = 1024;
/// Positions are exact in f32 up to here.
const CONTEXT_MAX: usize = 1 << 24;

/// The supported families; what differs between them is in [`ModelConfig`]'s fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 2, 3, 3.1, 3.2 and what shares their layout.
    Llama,
    /// Mistral 7B and its kin: Llama with a sliding window.
    Mistral,
    /// Qwen2 and Qwen2.5: biases on queries, keys and values.
    Qwen2,
    /// Qwen3: RMSNorm on every query and key head.
    Qwen3,
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Architecture::Llama => "Llama",
            Architecture::Mistral => "Mistral",
            Architecture::Qwen2 => "Qwen2",
            Architecture::Qwen3 => "Qwen3",
        })
    }
}

/// A decoder-only transformer with rotary positions, RMSNorm, SwiGLU and grouped-query attention.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The family.
    pub architecture: Architecture,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// The width of the residual stream.
    pub hidden_size: usize,
    /// The width between gate/up and down projections.
    pub intermediate_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Head counts and head size.
    pub heads: Heads,
    /// Added to the mean square in every RMSNorm.
    pub rms_norm_eps: f32,
    /// Rotary embedding.
    pub rope: RopeConfig,
    /// `max_position_embeddings`: the most tokens of prompt and output together.
    pub context: usize,
    /// For each layer, how many positions a query sees, itself included; `None` sees all.
    pub windows: Vec<Option<usize>>,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether queries and keys are normalised per head.
    pub qk_norm: bool,
    /// Tokens that end a sequence; `generation_config.json` overrides `config.json`.
    pub eos: Vec<TokenId>,
}

impl ModelConfig {
    /// Reads `config.json` and, if there is one, `generation_config.json` of a model directory.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Invalid`] or [`Error::Unsupported`] naming file and field.
    pub fn load(dir: &Path) -> Result<ModelConfig> {
        if !dir.is_dir() {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(Error::Io {
                path: dir.to_path_buf(),
                action: "no such model directory",
                source,
            });
        }
        let path = dir.join("config.json");
        let mut config = ModelConfig::parse(&read_json_text(&path)?, &path)?;
        let path = dir.join("generation_config.json");
        if path.exists() {
            let text = read_json_text(&path)?;
            let fields = Fields::parse(&text, &path)?;
            if let Some(eos) = fields.token_ids("eos_token_id", config.vocab_size)? {
                config.eos = eos;
            }
        }
        Ok(config)
    }

    /// Reads a model directory as [`ModelConfig::load`] does, or a `config.json` by itself.
    ///
    /// # Errors
    /// As [`ModelConfig::load`].
    pub fn find(path: &Path) -> Result<ModelConfig> {
        match path.is_file() {
            true => ModelConfig::parse(&read_json_text(path)?, path),
            false => ModelConfig::load(path),
        }
    }

    /// Parses the text of a `config.json`; `path` is for messages.
    ///
    /// # Errors
    /// As [`ModelConfig::load`].
    pub fn parse(json: &str, path: &Path) -> Result<ModelConfig> {
        let fields = Fields::parse(json, path)?;
        let architecture = architecture(&fields)?;
        refuse_unsupported(&fields, architecture)?;
        let layers = fields.size("num_hidden_layers", LAYERS_MAX)?;
        let hidden_size = fields.size("hidden_size", HIDDEN_MAX)?;
        let heads = heads(&fields, hidden_size)?;
        let vocab_size = fields.size("vocab_size", VOCAB_MAX)?;
        let context = fields.size("max_position_embeddings", CONTEXT_MAX)?;
        let eps = fields.number_or("rms_norm_eps", 1e-6)?;
        if !(eps > 0.0 && eps < 1.0) {
            return Err(Error::invalid(path, "rms_norm_eps", eps, "a number between 0 and 1"));
        }
        Ok(ModelConfig {
            architecture,
            vocab_size,
            hidden_size,
            intermediate_size: fields.size("intermediate_size", HIDDEN_MAX * 8)?,
            layers,
            heads,
            rms_norm_eps: eps as f32,
            rope: rope(&fields)?,
            context,
            windows: windows(&fields, architecture, layers)?,
            tied: fields.flag_or("tie_word_embeddings", false)?,
            qkv_bias: architecture == Architecture::Qwen2,
            qk_norm: architecture == Architecture::Qwen3,
            eos: fields.token_ids("eos_token_id", vocab_size)?.unwrap_or_default(),
        })
    }
}

fn architecture(fields: &Fields<'_>) -> Result<Architecture> {
    let name = match fields.first_string("architectures")? {
        Some(name) => name,
        None => fields.string("model_type")?.unwrap_or_default(),
    };
    match name.as_str() {
        "LlamaForCausalLM" | "llama" => Ok(Architecture::Llama),
        "MistralForCausalLM" | "mistral" => Ok(Architecture::Mistral),
        "Qwen2ForCausalLM" | "qwen2" => Ok(Architecture::Qwen2),
        "Qwen3ForCausalLM" | "qwen3" => Ok(Architecture::Qwen3),
        "" => Err(fields.invalid("architectures", "nothing", "the name of an architecture")),
        other => Err(fields.unsupported(
            format!("architecture {other}"),
            "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM",
        )),
    }
}

/// Refuses what would change the output if it were ignored.
fn refuse_unsupported(fields: &Fields<'_>, architecture: Architecture) -> Result<()> {
    let activation = fields.string("hidden_act")?.unwrap_or_else(|| "silu".to_string());
    if activation != "silu" && activation != "swish" {
        return Err(fields.unsupported(format!("hidden_act {activation}"), "silu"));
    }
    // Qwen2 always has biases on queries, keys and values and never looks at this field.
    let bias_matters = architecture != Architecture::Qwen2;
    if bias_matters && fields.flag_or("attention_bias", false)? {
        return Err(fields.unsupported("attention_bias true", "false, and the biases of Qwen2"));
    }
    if fields.flag_or("mlp_bias", false)? {
        return Err(fields.unsupported("mlp_bias true", "false"));
    }
    // Which files the weights are in, and of what packing, is for the checkpoint; here it is held
    // against what can be read at all.
    Quantization::parse(fields)?;
    let rotary = fields.number_or("partial_rotary_factor", 1.0)?;
    if rotary != 1.0 {
        return Err(fields.unsupported(format!("partial_rotary_factor {rotary}"), "1"));
    }
    Ok(())
}

fn heads(fields: &Fields<'_>, hidden_size: usize) -> Result<Heads> {
    let query = fields.size("num_attention_heads", HEADS_MAX)?;
    let kv = fields.size_or("num_key_value_heads", HEADS_MAX, query)?;
    if !query.is_multiple_of(kv) {
        let expected = format!("a divisor of num_attention_heads {query}");
        return Err(fields.invalid("num_key_value_heads", kv, expected));
    }
    let dim = match fields.has("head_dim") {
        true => fields.size("head_dim", HEAD_DIM_MAX)?,
        false if hidden_size.is_multiple_of(query) && hidden_size / query <= HEAD_DIM_MAX => {
            hidden_size / query
        }
        false => {
            let expected = format!("a multiple of num_attention_heads {query}, or a head_dim");
            return Err(fields.invalid("hidden_size", hidden_size, expected));
        }
    };
    if !dim.is_multiple_of(2) {
        return Err(fields.invalid("head_dim", dim, "an even number, for the rotation"));
    }
    Ok(Heads { query, kv, dim })
}

/// Rotary settings: `rope_parameters` of the new generation, else `rope_theta` + `rope_scaling`.
fn rope(fields: &Fields<'_>) -> Result<RopeConfig> {
    const THETA: f64 = 10_000.0;
    let (theta, scaling) = match fields.object("rope_parameters")? {
        Some(rope) => {
            let theta = rope.number_or("rope_theta", fields.number_or("rope_theta", THETA)?)?;
            (theta, rope_scaling(&rope)?)
        }
        None => {
            let scaling = match fields.object("rope_scaling")? {
                Some(rope) => rope_scaling(&rope)?,
                None => RopeScaling::None,
            };
            (fields.number_or("rope_theta", THETA)?, scaling)
        }
    };
    if !(1.0..=1e12).contains(&theta) {
        return Err(fields.invalid("rope_theta", theta, "a number from 1 to 1e12"));
    }
    Ok(RopeConfig { theta, scaling })
}

fn rope_scaling(rope: &Fields<'_>) -> Result<RopeScaling> {
    let kind = match rope.string("rope_type")? {
        Some(kind) => Some(kind),
        None => rope.string("type")?,
    };
    let kind = kind.unwrap_or_else(|| "default".to_string());
    let positive = |name: &str| {
        let value = rope.number(name)?;
        match value > 0.0 && value <= 1e9 {
            true => Ok(value),
            false => Err(rope.invalid(name, value, "a number above 0, at most 1e9")),
        }
    };
    match kind.as_str() {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: positive("factor")? }),
        "llama3" => {
            let low_freq_factor = positive("low_freq_factor")?;
            let high_freq_factor = positive("high_freq_factor")?;
            if high_freq_factor <= low_freq_factor {
                let expected = format!("more than low_freq_factor {low_freq_factor}");
                return Err(rope.invalid("high_freq_factor", high_freq_factor, expected));
            }
            Ok(RopeScaling::Llama3 {
                factor: positive("factor")?,
                low_freq_factor,
                high_freq_factor,
                original_context: positive("original_max_position_embeddings")?,
            })
        }
        other => Err(rope.unsupported(format!("rope_type {other}"), "default, linear, llama3")),
    }
}

/// Which layers have a sliding window. Mistral: all, if there is one. Qwen: those that
/// `layer_types` names or, without it, those from `max_window_layers` on, if `use_sliding_window`.
fn windows(
    fields: &Fields<'_>,
    architecture: Architecture,
    layers: usize,
) -> Result<Vec<Option<usize>>> {
    let size = || match fields.has("sliding_window") {
        true => fields.size("sliding_window", CONTEXT_MAX).map(Some),
        false => Ok(None),
    };
    match architecture {
        Architecture::Llama => Ok(vec![None; layers]),
        Architecture::Mistral => Ok(vec![size()?; layers]),
        Architecture::Qwen2 | Architecture::Qwen3 => {
            if !fields.flag_or("use_sliding_window", false)? {
                return Ok(vec![None; layers]);
            }
            let Some(window) = size()? else { return Ok(vec![None; layers]) };
            let slides = sliding_layers(fields, layers)?;
            Ok(slides.into_iter().map(|slides| slides.then_some(window)).collect())
        }
    }
}

fn sliding_layers(fields: &Fields<'_>, layers: usize) -> Result<Vec<bool>> {
    let Some(types) = fields.strings("layer_types")? else {
        let first = fields.count_or("max_window_layers", LAYERS_MAX, 28)?;
        return Ok((0..layers).map(|layer| layer >= first).collect());
    };
    if types.len() != layers {
        let expected = format!("one of each of the {layers} layers");
        return Err(fields.invalid("layer_types", format!("{} types", types.len()), expected));
    }
    let slides =
        |kind: &String| match kind.as_str() {
            "full_attention" => Ok(false),
            "sliding_attention" => Ok(true),
            other => Err(fields
                .unsupported(format!("layer type {other}"), "full_attention, sliding_attention")),
        };
    types.iter().map(slides).collect()
}
