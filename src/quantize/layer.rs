//! The weights of one layer in host memory, by name.

use crate::error::Result;
use crate::load::Source;
use crate::model::ModelConfig;
use crate::tensor::{HostMatrix, HostTensor};

/// A matrix of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
    /// From the heads back to the residual stream.
    Output,
    /// The gate of the feed-forward part.
    Gate,
    /// What the gate multiplies.
    Up,
    /// Back to the residual stream.
    Down,
}

/// What a matrix is multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The normed residual stream before attention.
    Attention,
    /// The result of attention.
    Attended,
    /// The normed residual stream before the feed-forward part.
    Mlp,
    /// `silu(gate) * up`.
    Activated,
}

impl Part {
    /// All, in the order in which a layer computes with them.
    pub const ALL: [Part; 7] =
        [Part::Query, Part::Key, Part::Value, Part::Output, Part::Gate, Part::Up, Part::Down];

    /// Its name within a layer.
    pub fn name(self) -> &'static str {
        match self {
            Part::Query => "self_attn.q_proj",
            Part::Key => "self_attn.k_proj",
            Part::Value => "self_attn.v_proj",
            Part::Output => "self_attn.o_proj",
            Part::Gate => "mlp.gate_proj",
            Part::Up => "mlp.up_proj",
            Part::Down => "mlp.down_proj",
        }
    }

    /// The name of the module in the checkpoint, whose weight has `.weight` behind it.
    pub fn module(self, layer: usize) -> String {
        format!("model.layers.{layer}.{}", self.name())
    }

    /// Rows and columns.
    pub fn shape(self, config: &ModelConfig) -> [usize; 2] {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (query, kv) =
            (config.heads.query * config.heads.dim, config.heads.kv * config.heads.dim);
        match self {
            Part::Query => [query, hidden],
            Part::Key | Part::Value => [kv, hidden],
            Part::Output => [hidden, query],
            Part::Gate | Part::Up => [inner, hidden],
            Part::Down => [hidden, inner],
        }
    }
}

impl Input {
    /// All, in the order in which a layer computes them.
    pub const ALL: [Input; 4] = [Input::Attention, Input::Attended, Input::Mlp, Input::Activated];

    /// The matrices that read it.
    pub fn parts(self) -> &'static [Part] {
        match self {
            Input::Attention => &[Part::Query, Part::Key, Part::Value],
            Input::Attended => &[Part::Output],
            Input::Mlp => &[Part::Gate, Part::Up],
            Input::Activated => &[Part::Down],
        }
    }
}

/// The weights of one layer.
#[derive(Clone)]
pub struct HostLayer {
    /// Before attention and before the feed-forward part, `[hidden]`.
    pub norms: [HostTensor; 2],
    /// Of queries, keys and values, if the family has them.
    pub biases: Option<[HostTensor; 3]>,
    /// Norms of query and key heads, if the family has them.
    pub head_norms: Option<[HostTensor; 2]>,
    /// By [`Part`].
    pub matrices: [HostMatrix; 7],
}

impl HostLayer {
    /// Layer `index` of a model.
    ///
    /// # Errors
    /// Those of the source.
    pub fn load(source: &dyn Source, config: &ModelConfig, index: usize) -> Result<HostLayer> {
        let vector =
            |name: &str, len: usize| source.vector(&format!("model.layers.{index}.{name}"), len);
        let norm = |name: &str| vector(&format!("{name}.weight"), config.hidden_size);
        let bias = |part: Part| vector(&format!("{}.bias", part.name()), part.shape(config)[0]);
        let head_norm = |name: &str| vector(name, config.heads.dim);
        let matrix = |part: Part| {
            source.matrix(&format!("{}.weight", part.module(index)), part.shape(config))
        };
        Ok(HostLayer {
            norms: [norm("input_layernorm")?, norm("post_attention_layernorm")?],
            biases: match config.qkv_bias {
                true => Some([bias(Part::Query)?, bias(Part::Key)?, bias(Part::Value)?]),
                false => None,
            },
            head_norms: match config.qk_norm {
                true => Some([
                    head_norm("self_attn.q_norm.weight")?,
                    head_norm("self_attn.k_norm.weight")?,
                ]),
                false => None,
            },
            matrices: [
                matrix(Part::Query)?,
                matrix(Part::Key)?,
                matrix(Part::Value)?,
                matrix(Part::Output)?,
                matrix(Part::Gate)?,
                matrix(Part::Up)?,
                matrix(Part::Down)?,
            ],
        })
    }

    /// A matrix.
    pub fn matrix(&self, part: Part) -> &HostMatrix {
        &self.matrices[part as usize]
    }

    /// Norms and biases.
    pub fn vectors(&self) -> impl Iterator<Item = &HostTensor> {
        let biases = self.biases.iter().flatten();
        self.norms.iter().chain(biases).chain(self.head_norms.iter().flatten())
    }
}
