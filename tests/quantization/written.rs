//! What `ridgepoint quantize` writes, read back: the bits of quantising while loading.

use crate::common::{fixture, ridgepoint, root, stderr, stdout};
use ridgepoint::load::{Checkpoint, Source};
use ridgepoint::model::ModelConfig;
use ridgepoint::model::parts::Part;
use ridgepoint::quantize::{Quantizing, Scheme};
use ridgepoint::tensor::HostMatrix;
use std::fs;
use std::path::Path;

fn quantize(model: &Path, out: &Path, options: &[&str]) {
    let (model, out) = (model.to_str().unwrap(), out.to_str().unwrap());
    let args = ["quantize", "--model", model, "--out", out];
    let output = ridgepoint(&[&args[..], options].concat());
    assert!(output.status.success(), "{options:?}: {}", stderr(&output));
}

fn same(found: HostMatrix, expected: HostMatrix, name: &str) {
    match (found, expected) {
        (HostMatrix::Int4(found), HostMatrix::Int4(expected)) => {
            assert!(found == expected, "{name}")
        }
        (HostMatrix::Int8(found), HostMatrix::Int8(expected)) => {
            assert!(found == expected, "{name}")
        }
        (HostMatrix::Plain(found), HostMatrix::Plain(expected)) => {
            assert_eq!((found.dtype, &found.shape), (expected.dtype, &expected.shape), "{name}");
            assert!(found.bytes.as_slice() == expected.bytes.as_slice(), "{name}");
        }
        (found, expected) => panic!("{name}: {found:?}, expected {expected:?}"),
    }
}

#[test]
fn directories_hold_what_quantising_at_load_makes() {
    let temp = tempfile::tempdir().unwrap();
    let target = root().join("models/target");
    for (i, (scheme, options)) in [
        ("int4:group=64", &["--group", "64"][..]),
        ("int4:group=128,zero-point,method=search", &["--zero-point", "--method", "search"]),
        ("int4:head=8", &["--head", "8"]),
        ("int4:zero-point,group=64,head=4", &["--zero-point", "--group", "64", "--head", "4"]),
    ]
    .into_iter()
    .enumerate()
    {
        let out = temp.path().join(i.to_string());
        quantize(&target, &out, options);
        let scheme: Scheme = scheme.parse().unwrap();
        let stored = ModelConfig::load(&target).unwrap();
        let source = Checkpoint::open(&target).unwrap();
        let source = Quantizing::new(&source, scheme, &stored);
        let config = ModelConfig::load(&out).unwrap();
        assert_eq!(config, scheme.apply(&stored));
        let written = Checkpoint::open(&out).unwrap();
        ridgepoint::model::refuse_strangers(&config, &written).unwrap();
        let table = [config.vocab_size, config.hidden_size];
        let mut names = vec![("model.embed_tokens.weight".to_string(), table)];
        for layer in 0..config.layers {
            let parts = Part::ALL.into_iter();
            names.extend(parts.map(|p| (p.weight(layer), p.shape(&config))));
        }
        names.extend((!config.tied).then(|| ("lm_head.weight".to_string(), table)));
        for (name, shape) in names {
            let expected = source.matrix(&name, shape).unwrap();
            same(written.matrix(&name, shape).unwrap(), expected, &name);
            let formats = [written.format(&name, shape), source.format(&name, shape)];
            let [found, expected] = formats.map(|format| format.unwrap());
            assert_eq!(found, expected, "{name}");
        }
    }
}

#[test]
fn what_is_kept_and_what_is_sorted_loads() {
    let temp = tempfile::tempdir().unwrap();
    let text = temp.path().join("text.txt");
    let held = fs::read_to_string(root().join("models/heldout.txt")).unwrap();
    fs::write(&text, &held[..6000]).unwrap();
    let text = text.to_str().unwrap();
    let target = root().join("models/target");
    let perplexity = |args: &[&str]| {
        let eval = ["eval", "--device", "cpu", "--text", text, "--window", "256", "--json"];
        let output = ridgepoint(&[&eval[..], args].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let line = stdout(&output).lines().next().unwrap().to_string();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        value["perplexity"].as_f64().unwrap()
    };
    let stored = perplexity(&[]);
    for (i, options) in [
        &["--keep", "*.0.mlp.down_proj=16", "--head", "8"][..],
        &["--method", "gptq", "--activation-order", "--calibration", text, "--window", "256"],
        &["--method", "awq", "--calibration", text, "--window", "256", "--group", "64"],
    ]
    .into_iter()
    .enumerate()
    {
        let out = temp.path().join(i.to_string());
        quantize(&target, &out, options);
        let found = perplexity(&["--model", out.to_str().unwrap()]);
        assert!(found != stored && (found / stored - 1.0).abs() < 0.05, "{options:?}: {found}");
    }
}

/// Biases of queries, keys and values, and norms of heads, beside packed weights.
#[test]
fn other_families_load() {
    let temp = tempfile::tempdir().unwrap();
    for name in ["qwen2_gqa7", "qwen3_gqa2", "mistral_window"] {
        let out = temp.path().join(name);
        let options = ["--group", "64", "--keep", "*.mlp.down_proj=16", "--head", "8"];
        quantize(&fixture(name), &out, &options);
        let out = out.to_str().unwrap();
        let args = ["generate", "--model", out, "--tokens", "1,2,3", "--max-tokens", "3"];
        let output = ridgepoint(&[&args[..], &["--device", "cpu"]].concat());
        assert!(output.status.success(), "{name}: {}", stderr(&output));
    }
}
