//! Whole models, through files: an independent reader of what was written, held against what the
//! receipt says of it.

use super::grid;
use crate::common::{fixture, ridgepoint, root, stderr, stdout};
use ridgepoint::backend::Phase;
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::engine::Generator;
use ridgepoint::error::Result;
use ridgepoint::load::{Checkpoint, Source};
use ridgepoint::model::parts::Input;
use ridgepoint::model::{Decoder, Limits, ModelConfig};
use ridgepoint::quantize::forward::{Forward, LOGIT_ROWS};
use ridgepoint::quantize::layer::HostLayer;
use ridgepoint::quantize::offline::{Job, Nowhere, run};
use ridgepoint::quantize::output::Output;
use ridgepoint::quantize::{Algorithm, Head, Options};
use ridgepoint::request::TokenId;
use ridgepoint::sample::log_prob;
use ridgepoint::tensor::{Dtype, HostMatrix, HostTensor};
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A directory in the pack-quantized layout, as the numbers that its tensors stand for.
struct Reader {
    dir: PathBuf,
    config: Value,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Reader {
    fn open(dir: &Path) -> Reader {
        let bytes = fs::read(dir.join("model.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let config: Value =
            serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            let bf16s = |data: &[u8]| -> Vec<f32> {
                let pairs = data.chunks(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
                pairs.map(|bits| half::bf16::from_bits(bits).to_f32()).collect()
            };
            if let Some(module) = name.strip_suffix(".weight_packed") {
                let part = |suffix: &str| file.tensor(&format!("{module}.{suffix}"));
                let shape: Vec<usize> = part("weight_shape")
                    .unwrap()
                    .data()
                    .chunks(8)
                    .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as usize)
                    .collect();
                let scales = part("weight_scale").unwrap();
                let zeros = part("weight_zero_point").ok();
                let zeros = zeros.as_ref().map(|zeros| (zeros.shape()[1], zeros.data()));
                let values = unpacked(view.data(), &shape, &bf16s(scales.data()), zeros);
                tensors.insert(format!("{module}.weight"), (shape, values));
            } else if !name.contains(".weight_") {
                assert_eq!(view.dtype(), safetensors::Dtype::BF16, "{name}");
                tensors.insert(name, (view.shape().to_vec(), bf16s(view.data())));
            }
        }
        Reader { dir: dir.to_path_buf(), config, tensors }
    }

    fn model_config(&self) -> ModelConfig {
        ModelConfig::parse(&self.config.to_string(), Path::new("config.json")).unwrap()
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> HostTensor {
        let (found, values) = &self.tensors[name];
        assert_eq!(found, shape, "{name}");
        HostTensor::from_f32(name, shape.to_vec(), values)
    }
}

fn word(data: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(data[4 * at..][..4].try_into().unwrap())
}

/// The definition: bits of a word from the lowest on, the lowest point stored as 0.
fn unpacked(
    data: &[u8],
    shape: &[usize],
    scales: &[f32],
    zeros: Option<(usize, &[u8])>,
) -> Vec<f32> {
    let (n, k) = (shape[0], shape[1]);
    let groups = scales.len() / n;
    let words = data.len() / 4 / n;
    let bits = 32 * words / k;
    let value = |r: usize, c: usize| {
        let per_word = 32 / bits;
        let stored = word(data, r * words + c / per_word) >> (bits * (c % per_word));
        let q = (stored & ((1 << bits) - 1)) as i32 - (1 << (bits - 1));
        let g = c / (k / groups);
        let zero = zeros.map_or(0, |(columns, zeros)| {
            let stored = word(zeros, r / 8 * columns + g) >> (4 * (r % 8));
            (stored & 15) as i32 - 8
        });
        scales[r * groups + g] * (q - zero) as f32
    };
    (0..n * k).map(|at| value(at / k, at % k)).collect()
}

impl Source for Reader {
    fn dir(&self) -> &Path {
        &self.dir
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn vector(&self, name: &str, len: usize) -> Result<HostTensor> {
        Ok(self.tensor(name, &[len]))
    }

    fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<HostMatrix> {
        Ok(HostMatrix::Plain(self.tensor(name, &shape)))
    }
}

fn nll(config: &ModelConfig, source: &dyn Source, tokens: &[TokenId]) -> Vec<f32> {
    let rows = tokens.len().min(64);
    let limits = Limits { rows, logit_rows: rows, sequences: 1, context: tokens.len() };
    let decoder = Decoder::load(CpuBackend::new(), config.clone(), source, limits).unwrap();
    Generator::new(decoder).unwrap().score(tokens, Phase::Prefill).unwrap()
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len() as f64
}

/// Tokens that are no text; fixtures are not trained on any.
fn tokens(count: usize, vocab: usize, seed: usize) -> Vec<TokenId> {
    (0..count).map(|i| TokenId(((i * i + seed) * 7919 % 65_537 % vocab) as u32)).collect()
}

/// The beginning of the held-out text.
fn text(dir: &Path, bytes: std::ops::Range<usize>) -> PathBuf {
    let whole = fs::read_to_string(root().join("models/heldout.txt")).unwrap();
    let path = dir.join(format!("text-{}.txt", bytes.start));
    fs::write(&path, &whole[bytes]).unwrap();
    path
}

#[test]
fn layer_by_layer_has_the_bits_of_the_decoder() {
    for name in ["llama2_mha", "mistral_window", "qwen2_gqa7", "qwen3_tied", "qwen2_window_new"] {
        let dir = fixture(name);
        let config = ModelConfig::load(&dir).unwrap();
        let checkpoint = Checkpoint::open(&dir).unwrap();
        let tokens = tokens(100, config.vocab_size, 3);
        let expected = nll(&config, &checkpoint, &tokens);
        let shape = [config.vocab_size, config.hidden_size];
        let table = checkpoint.matrix("model.embed_tokens.weight", shape).unwrap();
        let mut forward = Forward::new(&config, 100).unwrap();
        let mut hidden = forward.embed(&tokens, &table).unwrap();
        for index in 0..config.layers {
            let layer = HostLayer::load(&checkpoint, &config, index).unwrap();
            let prepared = forward.prepare(&layer, index).unwrap();
            forward.advance(&prepared, &mut hidden).unwrap();
        }
        let norm = checkpoint.vector("model.norm.weight", config.hidden_size).unwrap();
        let head = match config.tied {
            true => table,
            false => checkpoint.matrix("lm_head.weight", shape).unwrap(),
        };
        let mut head = forward.prepare_head(&norm, &head).unwrap();
        let chunks = hidden.chunks(LOGIT_ROWS * config.hidden_size);
        let logits: Vec<f32> =
            chunks.flat_map(|rows| forward.logits(&mut head, rows).unwrap()).collect();
        let rows = logits.chunks(config.vocab_size).zip(&tokens[1..]);
        let found: Vec<f32> = rows.map(|(row, token)| -log_prob(row, *token)).collect();
        assert_eq!(found, expected, "{name}");
    }
}

/// All inputs of a layer in one pass, or each in a pass of its own.
#[test]
fn inputs_of_a_layer_are_the_same_together_and_alone() {
    let dir = fixture("qwen3_tied");
    let config = ModelConfig::load(&dir).unwrap();
    let checkpoint = Checkpoint::open(&dir).unwrap();
    let tokens = tokens(70, config.vocab_size, 5);
    let shape = [config.vocab_size, config.hidden_size];
    let table = checkpoint.matrix("model.embed_tokens.weight", shape).unwrap();
    let mut forward = Forward::new(&config, 70).unwrap();
    let hidden = forward.embed(&tokens, &table).unwrap();
    let layer = HostLayer::load(&checkpoint, &config, 0).unwrap();
    let prepared = forward.prepare(&layer, 0).unwrap();
    let mut inputs = |wanted: &[Input]| {
        let mut found = Vec::new();
        let mut each = |input, x: &[f32]| {
            found.push((input, x.to_vec()));
            Ok(())
        };
        forward.inputs(&prepared, &hidden, wanted, &mut each).unwrap();
        found
    };
    let together = inputs(&Input::ALL);
    assert_eq!(together.len(), 4);
    for (input, x) in together {
        let [_, k] = layer.matrix(input.parts()[0]).shape();
        assert_eq!(x.len(), 70 * k, "{input:?}");
        assert!(x.iter().any(|x| *x != 0.0), "{input:?}");
        assert!(inputs(&[input]) == [(input, x)], "{input:?}");
    }
}

#[test]
fn files_hold_what_the_receipt_says() {
    let temp = tempfile::tempdir().unwrap();
    let (rated, calibration) = (text(temp.path(), 0..3000), text(temp.path(), 6000..12_000));
    let [rated, calibration] = [&rated, &calibration].map(|path| path.to_str().unwrap());
    let receipt = temp.path().join("receipt.json");
    let cases: [&[&str]; 4] = [
        &["--method", "rtn", "--group", "64", "--zero-point", "--head", "8"],
        &["--method", "search", "--head", "4", "--keep", "*.0.mlp.down_proj=16"],
        &["--method", "gptq", "--calibration", calibration, "--activation-order"],
        &["--method", "awq", "--calibration", calibration, "--zero-point"],
    ];
    for (i, case) in cases.iter().enumerate() {
        let out = temp.path().join(format!("out-{i}"));
        let mut args = vec!["quantize", "--out", out.to_str().unwrap(), "--eval-text", rated];
        args.extend(["--window", "256", "--receipt", receipt.to_str().unwrap()]);
        args.extend(*case);
        let output = ridgepoint(&args);
        assert!(output.status.success(), "{case:?}: {}", stderr(&output));
        assert!(stdout(&output).contains("bits a weight"), "{}", stdout(&output));
        let receipt: Value = serde_json::from_slice(&fs::read(&receipt).unwrap()).unwrap();
        let reader = Reader::open(&out);
        let config = reader.model_config();
        assert_eq!(config.tied, !case.contains(&"--head"));
        let tokenizer = ridgepoint::text::Tokenizer::load(&out, config.vocab_size).unwrap();
        let tokens = tokenizer.encode(&fs::read_to_string(rated).unwrap(), true).unwrap();
        let found: Vec<f32> =
            tokens.chunks(256).flat_map(|window| nll(&config, &reader, window)).collect();
        let expected = receipt["quality"]["perplexity_after"].as_f64().unwrap();
        let found = mean(&found).exp();
        assert!((found - expected).abs() < 1e-5 * expected, "{case:?}: {found}, {expected}");
        let before = receipt["quality"]["perplexity_before"].as_f64().unwrap();
        assert!((expected / before - 1.0).abs() < 0.05, "{case:?}: {before} to {expected}");
        assert_ne!(before, expected);
        let kept = usize::from(case.contains(&"--keep"));
        let head = usize::from(case.contains(&"--head"));
        assert_eq!(receipt["matrices"].as_array().unwrap().len(), 28 - kept + head);
        assert!(out.join("tokenizer_config.json").exists());
        assert!(out.join("generation_config.json").exists());
    }
    let names: Vec<_> =
        fs::read_dir(temp.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("partial")), "{names:?}");
}

#[test]
fn the_configuration_names_the_formats() {
    let (config, out) = written("qwen3_tied", Algorithm::Rtn, Head::Int8, &["*.down_proj=16"]);
    let reader = Reader::open(out.path().join("model").as_path());
    let quantization = &reader.config["quantization_config"];
    assert_eq!(quantization["quant_method"], "compressed-tensors");
    assert_eq!(quantization["format"], "pack-quantized");
    let groups = quantization["config_groups"].as_object().unwrap();
    let weights = &groups["group_0"]["weights"];
    assert_eq!((&weights["num_bits"], &weights["group_size"]), (&4.into(), &64.into()));
    assert_eq!((&weights["symmetric"], &weights["strategy"]), (&true.into(), &"group".into()));
    let head = &groups["group_1"]["weights"];
    assert_eq!((&head["num_bits"], &head["strategy"]), (&8.into(), &"channel".into()));
    let ignored: Vec<String> =
        (0..config.layers).map(|i| format!("model.layers.{i}.mlp.down_proj")).collect();
    assert_eq!(quantization["ignore"], serde_json::json!(ignored));
    assert_eq!(reader.config["tie_word_embeddings"], false);
    assert_eq!(reader.config["hidden_size"], config.hidden_size);
    // Shapes as the layout defines them.
    let bytes = fs::read(out.path().join("model/model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let shape = |name: &str| file.tensor(name).unwrap().shape().to_vec();
    let module = "model.layers.0.self_attn.o_proj";
    assert_eq!(shape(&format!("{module}.weight_packed")), [64, 32]);
    assert_eq!(shape(&format!("{module}.weight_scale")), [64, 4]);
    assert_eq!(shape("lm_head.weight_packed"), [211, 16]);
    assert_eq!(shape("lm_head.weight_scale"), [211, 1]);
}

fn options(algorithm: Algorithm, head: Head, keep: &[&str]) -> Options {
    let keep = keep.iter().map(|keep| keep.parse().unwrap()).collect();
    Options { algorithm, grid: grid(64, false), head, keep, ordered: false }
}

/// Quantises a fixture into a directory; its down projections have no whole groups.
fn written(
    name: &str,
    algorithm: Algorithm,
    head: Head,
    keep: &[&str],
) -> (ModelConfig, tempfile::TempDir) {
    let dir = fixture(name);
    let config = ModelConfig::load(&dir).unwrap();
    let checkpoint = Checkpoint::open(&dir).unwrap();
    let options = options(algorithm, head, keep);
    options.check(&config).unwrap();
    let calibration: Vec<Vec<TokenId>> =
        (0..4).map(|seed| tokens(200, config.vocab_size, seed)).collect();
    let calibration = if algorithm.calibrates() { &calibration[..] } else { &[] };
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("model");
    let mut output = Output::create(&out, &checkpoint, &config, &options).unwrap();
    let job = Job {
        source: &checkpoint,
        config: &config,
        options: &options,
        calibration,
        rated: &[],
        go_on: &|_| true,
    };
    assert!(run(&job, &mut output).unwrap().is_some());
    assert!(!out.exists(), "no model under this name before all of it is written");
    output.finish().unwrap();
    (config, temp)
}

/// Biases, norms of heads, values that take over scales: what awq folds must cancel.
#[test]
fn every_family_stays_itself() {
    for name in ["llama2_mha", "qwen2_gqa7", "qwen3_tied"] {
        let stored = Checkpoint::open(&fixture(name)).unwrap();
        let mut errors = Vec::new();
        for algorithm in [Algorithm::Rtn, Algorithm::Awq, Algorithm::Gptq] {
            let (config, out) = written(name, algorithm, Head::Stored, &["*.down_proj=16"]);
            let reader = Reader::open(&out.path().join("model"));
            // Scales of columns are taken over by the norm before them, which no other method
            // changes.
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                let norm = format!("model.layers.0.{norm}.weight");
                let before = stored.vector(&norm, config.hidden_size).unwrap().to_f32();
                let (_, after) = &reader.tensors[&norm];
                assert_eq!(before != *after, algorithm == Algorithm::Awq, "{name} {algorithm}");
            }
            let tokens = tokens(200, config.vocab_size, 9);
            let before = nll(&config, &stored, &tokens);
            let after = nll(&reader.model_config(), &reader, &tokens);
            let off = before.iter().zip(&after).map(|(a, b)| f64::from(a - b).powi(2));
            errors.push((off.sum::<f64>() / before.len() as f64).sqrt());
        }
        let [rtn, awq, gptq] = errors[..] else { unreachable!() };
        assert!(rtn > 0.0 && awq < 1.3 * rtn && gptq < 1.3 * rtn, "{name}: {errors:?}");
    }
}

/// Rated text is no calibration text.
#[test]
#[should_panic(expected = "awq without a calibration text")]
fn a_method_that_calibrates_needs_a_text() {
    let dir = fixture("qwen3_tied");
    let config = ModelConfig::load(&dir).unwrap();
    let checkpoint = Checkpoint::open(&dir).unwrap();
    let options = &options(Algorithm::Awq, Head::Stored, &["*.down_proj=16"]);
    let rated = &[tokens(20, config.vocab_size, 1)][..];
    let (source, config, go_on) = (&checkpoint, &config, &|_: usize| true);
    let _ = run(&Job { source, config, options, calibration: &[], rated, go_on }, &mut Nowhere);
}

#[test]
fn what_ends_early_leaves_nothing() {
    let dir = root().join("models/target");
    let config = ModelConfig::load(&dir).unwrap();
    let checkpoint = Checkpoint::open(&dir).unwrap();
    let options = options(Algorithm::Rtn, Head::Stored, &[]);
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("model");
    let mut output = Output::create(&out, &checkpoint, &config, &options).unwrap();
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "written beside it");
    let (source, options) = (&checkpoint, &options);
    let go_on: &dyn Fn(usize) -> bool = &|done| done < 2;
    let job = Job { source, config: &config, options, calibration: &[], rated: &[], go_on };
    assert!(run(&job, &mut output).unwrap().is_none());
    drop(output);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    let go_on: &dyn Fn(usize) -> bool = &|_| true;
    let job = Job { go_on, ..job };
    let outcome = run(&job, &mut Nowhere).unwrap().unwrap();
    assert_eq!(outcome.receipt.bits, 4.25);
    let dtype = checkpoint.tensor("model.norm.weight", &[256]).unwrap().dtype;
    assert_eq!(dtype, Dtype::Bf16);
}
