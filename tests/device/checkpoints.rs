//! Checkpoints that others quantised, on the device: near their twins, and what becomes of columns
//! in an order of their own is said.

use super::model::{NLL_TOLERANCE, distance, generator};
use super::{Rig, rigs};
use crate::common::{fixture, ridgepoint, stderr};
use crate::reference::expected;
use ridgepoint::backend::Phase;
use ridgepoint::backend::cuda::CudaBackend;
use ridgepoint::load::{Checkpoint, Source};
use ridgepoint::model::budget::{Budget, Formats};
use ridgepoint::model::{Limits, ModelConfig};

/// Scales of f16 are rounded to bf16 here, which the twin's are not.
#[test]
fn nll_is_near_that_of_the_twin() {
    // Zero points of 16, an order of AWQ, rows of 128 and 192 columns, columns that lie apart, a
    // head of 8 bits.
    let names =
        ["gptq_v1_zeros", "awq_64", "gptq_v2_rows", "compressed_act_order", "compressed_head_8"];
    for (i, name) in names.into_iter().enumerate() {
        let mut rigs = rigs();
        let rig = rigs.swap_remove(i % rigs.len());
        let name = format!("quantised/{name}");
        let mut generator = generator(&rig, &fixture(&name), 64);
        let sequence = expected(&name).sequences.pop().unwrap();
        for (phase, count) in [(Phase::Prefill, 40), (Phase::Decode, 9)] {
            let nll = generator.score(&sequence.tokens[..count], phase).unwrap();
            let far = distance(&nll, &sequence.nll[..count - 1]);
            assert!(far <= NLL_TOLERANCE, "{name} {phase:?}: {far}");
        }
    }
}

#[test]
fn columns_that_lie_apart_are_counted_as_what_they_become() {
    let rig = Rig::simulated(false);
    let dir = fixture("quantised/gptq_v1_act_order");
    let config = ModelConfig::load(&dir).unwrap();
    let checkpoint = Checkpoint::open(&dir).unwrap();
    let formats = Formats::stored(&config, &|name, shape| checkpoint.format(name, shape)).unwrap();
    let backend = CudaBackend::new(rig.driver().clone()).unwrap();
    let budget = Budget::of(&backend, &config, &formats, Limits::ONE, 1).unwrap();
    let plain = Budget::of(&backend, &config, &Formats::default(), Limits::ONE, 1).unwrap();
    assert_eq!(budget.bytes(), plain.bytes());
    let rows = fixture("quantised/gptq_v2_rows");
    let (config, checkpoint) =
        (ModelConfig::load(&rows).unwrap(), Checkpoint::open(&rows).unwrap());
    let formats = Formats::stored(&config, &|name, shape| checkpoint.format(name, shape)).unwrap();
    let packed = Budget::of(&backend, &config, &formats, Limits::ONE, 1).unwrap();
    assert!(packed.bytes() < plain.bytes());
    let model = dir.to_str().unwrap();
    let args = ["generate", "--model", model, "--tokens", "1,2", "--max-tokens", "1"];
    let output = ridgepoint(&[&args[..], &["--device", "sim"]].concat());
    let message = stderr(&output);
    assert!(output.status.success(), "{message}");
    let said = "7 int4 matrices, model.layers.0.self_attn.q_proj.weight the first, have columns in";
    assert_eq!(message.matches(said).count(), 1, "{message}");
}

/// Rows whose columns fill no group of a kernel: named while the model is loaded.
#[test]
fn rows_without_a_kernel_are_refused_by_name() {
    let dir = fixture("quantised/compressed_rows");
    let args = ["generate", "--model", dir.to_str().unwrap(), "--tokens", "1,2"];
    let output = ridgepoint(&[&args[..], &["--device", "sim"]].concat());
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    for part in ["mlp.down_proj.weight", "rows of 176 in groups of 176", "--device cpu"] {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}
