//! The matrices of a decoder: what a checkpoint calls them, what shape they have, and which of them
//! read the same input. The one place that knows; loading, counting and quantising ask it.

use super::config::ModelConfig;

/// A row for each token, and the head too where it is tied.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
/// The output head, where it is not the embedding.
pub(crate) const HEAD: &str = "lm_head.weight";

/// The module whose weight `name` is.
pub(crate) fn module_of(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}

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

    /// The name of the module in the checkpoint.
    pub fn module(self, layer: usize) -> String {
        format!("model.layers.{layer}.{}", self.name())
    }

    /// The name of its weight in the checkpoint.
    pub fn weight(self, layer: usize) -> String {
        format!("{}.weight", self.module(layer))
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

    /// The matrices that read it, which are stacked into one.
    pub fn parts(self) -> &'static [Part] {
        match self {
            Input::Attention => &[Part::Query, Part::Key, Part::Value],
            Input::Attended => &[Part::Output],
            Input::Mlp => &[Part::Gate, Part::Up],
            Input::Activated => &[Part::Down],
        }
    }

    /// What their product is called in tables of a step.
    pub fn product(self) -> &'static str {
        match self {
            Input::Attention => "qkv",
            Input::Attended => "output",
            Input::Mlp => "gate_up",
            Input::Activated => "down",
        }
    }
}
