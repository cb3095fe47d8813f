//! The decoder's weights: which tensors of a checkpoint they are, and of what shape.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::load::Source;
use crate::model::config::ModelConfig;
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

/// A row for each token.
const EMBEDDING: &str = "model.embed_tokens.weight";
/// The output head, where it is not the embedding.
const HEAD: &str = "lm_head.weight";

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
        let (hidden, inner) = (self.config.hidden_size, self.config.intermediate_size);
        let heads = self.config.heads;
        let (query, kv) = (heads.query * heads.dim, heads.kv * heads.dim);
        let qkv = [("q", query), ("k", kv), ("v", kv)];
        let name = |part: &str| format!("self_attn.{part}_proj.weight");
        let bias = |part: &str| format!("self_attn.{part}_proj.bias");
        Ok(Layer {
            attention_norm: self.vector("input_layernorm.weight", hidden)?,
            qkv: self.matrix(&qkv.map(|(part, n)| (name(part), n)), hidden)?,
            qkv_bias: match self.config.qkv_bias {
                true => {
                    let parts = qkv.map(|(part, n)| self.parameters(&bias(part), n));
                    let parts = parts.into_iter().collect::<Result<Vec<_>>>()?;
                    Some(self.backend.vector(&parts)?)
                }
                false => None,
            },
            qk_norm: match self.config.qk_norm {
                true => Some((
                    self.vector("self_attn.q_norm.weight", heads.dim)?,
                    self.vector("self_attn.k_norm.weight", heads.dim)?,
                )),
                false => None,
            },
            output: self.matrix(&[(name("o"), hidden)], query)?,
            mlp_norm: self.vector("post_attention_layernorm.weight", hidden)?,
            gate_up: self.gated(inner, hidden)?,
            down: self.matrix(&[("mlp.down_proj.weight".to_string(), hidden)], inner)?,
        })
    }

    fn parameters(&self, name: &str, len: usize) -> Result<HostTensor> {
        self.source.vector(&format!("model.layers.{}.{name}", self.layer), len)
    }

    fn vector(&self, name: &str, len: usize) -> Result<B::Vector> {
        self.backend.vector(&[self.parameters(name, len)?])
    }

    /// Stacks matrices `[n, k]`, which must be of one format.
    fn matrix(&self, parts: &[(String, usize)], k: usize) -> Result<B::Matrix> {
        self.backend.matrix(self.parts(parts, k)?)
    }

    fn gated(&self, n: usize, k: usize) -> Result<B::Matrix> {
        let names = ["gate", "up"].map(|part| (format!("mlp.{part}_proj.weight"), n));
        let mut parts = self.parts(&names, k)?.into_iter();
        let mut part = || parts.next().expect("as many tensors as names");
        self.backend.gated(part(), part())
    }

    fn parts(&self, parts: &[(String, usize)], k: usize) -> Result<Vec<HostMatrix>> {
        let parts = parts
            .iter()
            .map(|(name, n)| {
                self.source.matrix(&format!("model.layers.{}.{name}", self.layer), [*n, k])
            })
            .collect::<Result<Vec<HostMatrix>>>()?;
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
        "input_layernorm.weight"
        | "post_attention_layernorm.weight"
        | "self_attn.q_proj.weight"
        | "self_attn.k_proj.weight"
        | "self_attn.v_proj.weight"
        | "self_attn.o_proj.weight"
        | "mlp.gate_proj.weight"
        | "mlp.up_proj.weight"
        | "mlp.down_proj.weight" => true,
        "self_attn.q_proj.bias" | "self_attn.k_proj.bias" | "self_attn.v_proj.bias" => {
            config.qkv_bias
        }
        "self_attn.q_norm.weight" | "self_attn.k_norm.weight" => config.qk_norm,
        _ => false,
    }
}
