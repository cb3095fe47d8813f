//! A backend that computes nothing: what is left of a step is the engine's own work.

use ridgepoint::backend::{
    Backend, Batch, Epilogue, KvShape, Norm, Phase, QkNorm, Role, SampleRow, Sampled, StepShape,
};
use ridgepoint::error::Result;
use ridgepoint::load::Checkpoint;
use ridgepoint::model::{Decoder, Limits, ModelConfig};
use ridgepoint::request::TokenId;
use ridgepoint::tensor::{Dtype, HostMatrix, HostTensor};
use std::path::Path;

/// The backend.
pub struct Null;

impl Backend for Null {
    type Matrix = ();
    type Vector = ();
    type Tensor = ();
    type RopeTable = ();
    type KvCache = ();
    type Step = ();

    fn describe(&self) -> String {
        "nothing".to_string()
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn scratch_bytes(&self, _: StepShape, _: usize, _: &[(usize, usize)]) -> Result<u64> {
        Ok(0)
    }

    fn matrix(&self, _: Vec<HostMatrix>) -> Result<()> {
        Ok(())
    }

    fn gated(&self, _: HostMatrix, _: HostMatrix) -> Result<()> {
        Ok(())
    }

    fn vector(&self, _: &[HostTensor]) -> Result<()> {
        Ok(())
    }

    fn tensor(&self, _: usize, _: usize, _: Role) -> Result<()> {
        Ok(())
    }

    fn rope_table(&self, _: &[f32], _: usize) -> Result<()> {
        Ok(())
    }

    fn kv_dtype(&self) -> Dtype {
        Dtype::Bf16
    }

    fn kv_cache(&self, _: KvShape) -> Result<()> {
        Ok(())
    }

    fn step(&self, _: StepShape) -> Result<()> {
        Ok(())
    }

    fn begin(&self, _: &Batch, _: &mut ()) -> Result<()> {
        Ok(())
    }

    fn pass(&self, _: &(), _: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        Ok(())
    }

    fn embed(&self, _: &(), _: &(), _: Norm<'_, Null>, _: &mut ()) -> Result<()> {
        Ok(())
    }

    fn gemm(&self, _: Phase, _: &(), _: &(), _: Epilogue<'_, Null>, _: &mut ()) -> Result<()> {
        Ok(())
    }

    fn rope_append(
        &self,
        _: &(),
        _: usize,
        _: &(),
        _: Option<QkNorm<'_, ()>>,
        _: &(),
        _: &mut (),
        _: &mut (),
    ) -> Result<()> {
        Ok(())
    }

    fn attention(
        &self,
        _: &(),
        _: usize,
        _: Option<usize>,
        _: &(),
        _: &(),
        _: &mut (),
    ) -> Result<()> {
        Ok(())
    }

    fn gather(&self, _: &(), _: &(), _: &mut ()) -> Result<()> {
        Ok(())
    }

    fn sample(&self, _: &(), rows: &[SampleRow<'_>]) -> Result<Vec<Sampled>> {
        Ok(rows.iter().map(|_| Sampled { token: TokenId(1), logprobs: None }).collect())
    }

    fn log_probs(&self, _: &(), targets: &[TokenId]) -> Result<Vec<f32>> {
        Ok(vec![0.0; targets.len()])
    }

    fn download(&self, _: &()) -> Result<Vec<f32>> {
        Ok(Vec::new())
    }

    fn upload(&self, _: &[f32], _: &mut ()) -> Result<()> {
        Ok(())
    }
}

/// A decoder that computes nothing, of a vocabulary of 2^22 tokens.
pub fn decoder(limits: Limits) -> Decoder<Null> {
    let text = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 64,
        "intermediate_size": 64, "num_attention_heads": 1, "num_key_value_heads": 1,
        "num_hidden_layers": 1, "vocab_size": 4194304, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "max_position_embeddings": 16777216, "hidden_act": "silu",
        "tie_word_embeddings": true, "torch_dtype": "bfloat16"}"#;
    let config = ModelConfig::parse(text, Path::new("config.json")).expect("a sound config");
    let loaded = Decoder::load(Null, config, &Checkpoint::of_zeros(), limits);
    loaded.expect("nothing can fail")
}
