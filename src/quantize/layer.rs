//! The weights of one layer in host memory, by name.

use crate::error::Result;
use crate::load::Source;
use crate::model::ModelConfig;
use crate::model::parts::Part;
use crate::tensor::{HostMatrix, HostTensor};

/// The weights of one layer.
#[derive(Clone)]
pub struct HostLayer {
    /// Before attention and before the feed-forward part, `[hidden]`.
    pub norms: [HostTensor; 2],
    /// Of queries, keys and values, if the family has them.
    pub biases: Option<[HostTensor; 3]>,
    /// Norms of query and key heads, if the family has them.
    pub head_norms: Option<[HostTensor; 2]>,
    /// In the order of [`Part::ALL`].
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
        let matrix = |part: Part| source.matrix(&part.weight(index), part.shape(config));
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
