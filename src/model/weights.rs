//! The decoder's weights: which tensors of a checkpoint they are, and of what shape.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::load::Source;
use crate::model::config::ModelConfig;
use crate::model::parts::{EMBEDDING, HEAD, Input, Part};
use crate::tensor::{HostMatrix, HostTensor, MatrixFormat};

/// The weights of one layer, on the device.
pub struct Layer<B: Backend> {
    /// RMSNorm before attention, `[hidden]`.
    pub attention_norm: B::Vector,
    /// Queries, keys and values stacked: `[(query + 2 kv) * head_dim, hidden]`.
    pub qkv: B::Matrix,
    /// Their biases, if the family has them.
    pub qkv_bias: Option<B::Vector>,
    /// RMSNorm of each query and of each key head, `[head_dim]`, if the family has them.
    pub qk_norm: Option<(B::Vector, B::Vector)>,
    /// From the concatenated heads back to the residual stream: `[hidden, query * head_dim]`.
    pub output: B::Matrix,
    /// RMSNorm before the feed-forward part, `[hidden]`.
    pub mlp_norm: B::Vector,
    /// Gate and up, `[intermediate, hidden]` each.
    pub gate_up: B::Matrix,
    /// `[hidden, intermediate]`.
    pub down: B::Matrix,
}

/// All weights, on the device.
pub struct Weights<B: Backend> {
    /// `[vocab, hidden]`.
    pub embedding: B::Matrix,
    /// The layers in order.
    pub layers: Vec<Layer<B>>,
    /// RMSNorm before the head, `[hidden]`.
    pub norm: B::Vector,
    /// `[vocab, hidden]`; `None` where the head is the embedding.
    pub head: Option<B::Matrix>,
}

impl<B: Backend> Weights<B> {
    /// Hands every tensor that the architecture has to the backend.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Unsupported`] for a tensor that is missing, misshapen, of the
    /// wrong dtype, or that the architecture does not know; [`Error::Device`] without memory.
    pub fn load(backend: &B, config: &ModelConfig, source: &dyn Source) -> Result<Weights<B>> {
        refuse_strangers(config, source)?;
        check_tables(config, source)?;
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        let matrix = |name: &str| backend.matrix(vec![source.matrix(name, [vocab, hidden])?]);
        let layers = 0..config.layers;
        Ok(Weights {
            embedding: matrix(EMBEDDING)?,
            layers: layers
                .map(|layer| LayerLoader { backend, config, source, layer }.load())
                .collect::<Result<_>>()?,
            norm: backend.vector(&[source.vector("model.norm.weight", hidden)?])?,
            head: match config.tied {
                true => None,
                false => Some(matrix(HEAD)?),
            },
        })
    }
}

struct LayerLoader<'a, B: Backend> {
    backend: &'a B,
    config: &'a ModelConfig,
    source: &'a dyn Source,
    layer: usize,
}

impl<B: Backend> LayerLoader<'_, B> {
    fn load(&self) -> Result<Layer<B>> {
        let (hidden, dim) = (self.config.hidden_size, self.config.heads.dim);
        let bias = |part: &Part| {
            let [n, _] = part.shape(self.config);
            self.parameters(&format!("{}.bias", part.name()), n)
        };
        Ok(Layer {
            attention_norm: self.vector("input_layernorm.weight", hidden)?,
            qkv: self.matrix(Input::Attention)?,
            qkv_bias: match self.config.qkv_bias {
                true => {
                    let parts = Input::Attention.parts().iter().map(bias);
                    Some(self.backend.vector(&parts.collect::<Result<Vec<_>>>()?)?)
                }
                false => None,
            },
            qk_norm: match self.config.qk_norm {
                true => Some((
                    self.vector("self_attn.q_norm.weight", dim)?,
                    self.vector("self_attn.k_norm.weight", dim)?,
                )),
                false => None,
            },
            output: self.matrix(Input::Attended)?,
            mlp_norm: self.vector("post_attention_layernorm.weight", hidden)?,
            gate_up: self.gated()?,
            down: self.matrix(Input::Activated)?,
        })
    }

    fn parameters(&self, name: &str, len: usize) -> Result<HostTensor> {
        self.source.vector(&format!("model.layers.{}.{name}", self.layer), len)
    }

    fn vector(&self, name: &str, len: usize) -> Result<B::Vector> {
        self.backend.vector(&[self.parameters(name, len)?])
    }

    /// Stacks the matrices that read `input`, which must be of one format.
    fn matrix(&self, input: Input) -> Result<B::Matrix> {
        self.backend.matrix(self.parts(input)?)
    }

    fn gated(&self) -> Result<B::Matrix> {
        let mut parts = self.parts(Input::Mlp)?.into_iter();
        let mut part = || parts.next().expect("gate and up");
        self.backend.gated(part(), part())
    }

    fn parts(&self, input: Input) -> Result<Vec<HostMatrix>> {
        let read =
            |part: &Part| self.source.matrix(&part.weight(self.layer), part.shape(self.config));
        let parts = input.parts().iter().map(read).collect::<Result<Vec<HostMatrix>>>()?;
        let first = &parts[0];
        if let Some(other) = parts.iter().find(|part| part.format() != first.format()) {
            return Err(Error::invalid(
                self.source.dir(),
                format!("tensor {}", other.name()),
                other.format(),
                format!("{}, as {} has", first.format(), first.name()),
            ));
        }
        match first.format() {
            MatrixFormat::Int8 => Err(Error::Unsupported {
                path: self.source.dir().to_path_buf(),
                what: format!("tensor {}, int8 in a layer,", first.name()),
                supported: format!("int8 for {HEAD}; 4, 16 or 32 bits for layers"),
            }),
            _ => Ok(parts),
        }
    }
}

/// Refuses quantised embeddings, and a head beside an embedding that should be the head.
///
/// # Errors
/// [`Error::Invalid`] naming the tensor, and those of the source.
fn check_tables(config: &ModelConfig, source: &dyn Source) -> Result<()> {
    let shape = [config.vocab_size, config.hidden_size];
    let quantised = |name: &str, expected: &str| match source.format(name, shape)? {
        MatrixFormat::Plain(_) => Ok(()),
        format => Err(Error::invalid(source.dir(), format!("tensor {name}"), format, expected)),
    };
    quantised(EMBEDDING, "16 or 32 bits: a table of rows is not quantised")?;
    // Files may repeat a tied head, but not as something else than the embedding.
    match config.tied && source.names().iter().any(|name| name == HEAD) {
        true => quantised(HEAD, "tie_word_embeddings false, so that the head is its own"),
        false => Ok(()),
    }
}

/// Refuses weights that the architecture would leave out of the computation: a bias or a norm that
/// is there and not used means another model than config.json says.
///
/// # Errors
/// [`Error::Unsupported`] naming the first of them.
pub fn refuse_strangers(config: &ModelConfig, source: &dyn Source) -> Result<()> {
    let mut strangers = source.names();
    strangers.retain(|name| !known(config, name));
    strangers.sort_unstable();
    match strangers.first() {
        None => Ok(()),
        Some(name) => Err(Error::Unsupported {
            path: source.dir().to_path_buf(),
            what: format!("tensor {name}, one of {} that config.json leaves out,", strangers.len()),
            supported: format!("the tensors of {} as config.json sets it", config.architecture),
        }),
    }
}

fn known(config: &ModelConfig, name: &str) -> bool {
    // Old checkpoints store the rotary frequencies, and tied ones may store the head twice.
    if name.ends_with("rotary_emb.inv_freq") {
        return true;
    }
    let Some(rest) = name.strip_prefix("model.layers.") else {
        return [EMBEDDING, "model.norm.weight", HEAD].contains(&name);
    };
    let Some((layer, part)) = rest.split_once('.') else { return false };
    if !layer.parse::<usize>().is_ok_and(|layer| layer < config.layers) {
        return false;
    }
    match part {
        "input_layernorm.weight" | "post_attention_layernorm.weight" => true,
        "self_attn.q_norm.weight" | "self_attn.k_norm.weight" => config.qk_norm,
        _ => {
            let is_one_of = |parts: &[Part], module| parts.iter().any(|part| part.name() == module);
            match part.rsplit_once('.') {
                Some((module, "weight")) => is_one_of(&Part::ALL, module),
                Some((module, "bias")) => {
                    config.qkv_bias && is_one_of(Input::Attention.parts(), module)
                }
                _ => false,
            }
        }
    }
}
