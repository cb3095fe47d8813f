//! Sources that quantise, in front of real models.

use super::grid;
use crate::common::{fixture, ridgepoint, root, stderr};
use ridgepoint::backend::Phase;
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::engine::Generator;
use ridgepoint::load::{Checkpoint, Source};
use ridgepoint::model::{Decoder, Limits, ModelConfig};
use ridgepoint::quantize::matrix::{dequantize, int4};
use ridgepoint::quantize::{Dequantized, Quantizing, Scheme};
use ridgepoint::request::TokenId;
use ridgepoint::tensor::HostMatrix;
use std::path::PathBuf;

fn target() -> (PathBuf, ModelConfig, Checkpoint) {
    let dir = root().join("models/target");
    let config = ModelConfig::load(&dir).unwrap();
    let checkpoint = Checkpoint::open(&dir).unwrap();
    (dir, config, checkpoint)
}

fn mean_nll(config: &ModelConfig, source: &dyn Source) -> f64 {
    let rows = 64;
    let limits = Limits { rows, logit_rows: rows, sequences: 1, context: 256 };
    let decoder = Decoder::load(CpuBackend::new(), config.clone(), source, limits).unwrap();
    // The beginning of a held-out story, as the tokenizer of the model cuts it.
    let text = std::fs::read_to_string(root().join("models/heldout.txt")).unwrap();
    let dir = root().join("models/target");
    let tokenizer = ridgepoint::text::Tokenizer::load(&dir, config.vocab_size).unwrap();
    let tokens: Vec<TokenId> = tokenizer.encode(&text[..2000], true).unwrap();
    let nll = Generator::new(decoder).unwrap().score(&tokens[..256], Phase::Prefill).unwrap();
    nll.iter().map(|n| f64::from(*n)).sum::<f64>() / nll.len() as f64
}

#[test]
fn matrices_of_the_layers_are_quantised_and_nothing_else() {
    let (dir, config, checkpoint) = target();
    let scheme: Scheme = "int4:group=64,zero-point".parse().unwrap();
    let source = Quantizing::new(&checkpoint, scheme, &config);
    let name = "model.layers.1.mlp.down_proj.weight";
    let HostMatrix::Int4(found) = source.matrix(name, [256, 640]).unwrap() else {
        panic!("not quantised")
    };
    let stored = checkpoint.tensor(name, &[256, 640]).unwrap();
    let fit = ridgepoint::quantize::matrix::Fit::Range;
    assert_eq!(found, int4(&dir, &stored, grid(64, true), fit).unwrap());
    let embedding = source.matrix("model.embed_tokens.weight", [1024, 256]).unwrap();
    assert_eq!(embedding.format().to_string(), "BF16");
    assert_eq!(source.vector("model.norm.weight", 256).unwrap().dtype.to_string(), "BF16");
    let plain = Dequantized(&source).matrix(name, [256, 640]).unwrap();
    let plain = plain.as_plain().unwrap();
    assert_eq!(plain.to_f32(), dequantize(&HostMatrix::Int4(found)).to_f32());
}

#[test]
fn a_tied_head_becomes_one_of_its_own() {
    let (_, config, checkpoint) = target();
    assert!(config.tied);
    for (head, format) in [("8", "int8"), ("4", "int4 in groups of 128")] {
        let scheme: Scheme = format!("int4:head={head}").parse().unwrap();
        let source = Quantizing::new(&checkpoint, scheme, &config);
        assert!(!scheme.apply(&config).tied);
        let head = source.matrix("lm_head.weight", [1024, 256]).unwrap();
        assert_eq!(
            (head.name(), head.format().to_string()),
            ("lm_head.weight", format.to_string())
        );
    }
    let scheme: Scheme = "int4".parse().unwrap();
    assert!(scheme.apply(&config).tied);
}

#[test]
fn a_quantised_model_still_reads() {
    let (_, config, checkpoint) = target();
    let stored = mean_nll(&config, &checkpoint);
    let of = |scheme: &str| {
        let scheme: Scheme = scheme.parse().unwrap();
        let source = Quantizing::new(&checkpoint, scheme, &config);
        mean_nll(&scheme.apply(&config), &Dequantized(&source))
    };
    for scheme in ["int4:group=64", "int4:group=128,zero-point,method=search,head=8", "int4:head=4"]
    {
        let nll = of(scheme);
        // Nothing at all would have changed if the wrapper had passed the stored weights.
        assert!(nll != stored && (nll - stored).abs() < 0.15, "{scheme}: {stored} to {nll}");
    }
}

/// From the command line to the device's own kernels for 4 and 8 bits.
#[test]
fn a_command_runs_what_it_quantises() {
    let held = root().join("models/heldout.txt");
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("text.txt");
    std::fs::write(&path, &std::fs::read_to_string(held).unwrap()[..4000]).unwrap();
    let perplexity = |extra: &[&str]| {
        let text = path.to_str().unwrap();
        let args = ["eval", "--device", "cpu", "--text", text, "--window", "256", "--json"];
        let output = ridgepoint(&[&args[..], extra].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let lines = crate::common::stdout(&output);
        let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        first["perplexity"].as_f64().unwrap()
    };
    let stored = perplexity(&[]);
    let quantised = perplexity(&["--quantize", "int4:group=64,zero-point,method=search,head=8"]);
    assert!(
        quantised != stored && (quantised / stored - 1.0).abs() < 0.05,
        "{stored}, {quantised}"
    );
}

#[test]
fn quantising_twice_is_refused() {
    let (_, config, checkpoint) = target();
    let scheme: Scheme = "int4".parse().unwrap();
    let once = Quantizing::new(&checkpoint, scheme, &config);
    let twice = Quantizing::new(&once, scheme, &config);
    let name = "model.layers.0.mlp.up_proj.weight";
    let error = twice.matrix(name, [640, 256]).unwrap_err().to_string();
    assert!(error.contains(name) && error.contains("int4 in groups of 128"), "{error}");
}

#[test]
fn the_command_line_names_what_is_wrong() {
    let run = |args: &[&str]| {
        let output = ridgepoint(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        stderr(&output)
    };
    let prompt = ["generate", "--prompt", "x", "--device", "cpu", "--quantize"];
    let message = run(&[&prompt[..], &["int4:group=32"]].concat());
    assert!(message.contains("group=32") && message.contains("expected int4["), "{message}");
    let model = fixture("llama_linear_new");
    let model = model.to_str().unwrap();
    let args = ["generate", "--model", model, "--tokens", "1", "--device", "cpu"];
    let message = run(&[&args[..], &["--quantize", "int4:group=128"]].concat());
    let parts = ["model.layers.0.self_attn.q_proj.weight", "multiple of the group, 128"];
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    assert!(message.contains("quantised to int4:group=128"), "{message}");
}
