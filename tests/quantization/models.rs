//! Each checkpoint against its twin: the same model with its matrices in f32 as numpy computed
//! them, whose digests, log-likelihoods and continuations `expected.json` holds.

use super::{CASES, case, json};
use crate::common::{fixture, ridgepoint, stderr, stdout};
use crate::reference::{continuation, expected, load};
use ridgepoint::backend::Phase;
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::load::{Checkpoint, Quantization, Source};
use ridgepoint::model::budget::{Formats, HeadFormat, Int4Group, WeightFormat, weight_bytes};
use ridgepoint::model::parts::Part;
use ridgepoint::model::{ModelConfig, refuse_strangers};
use ridgepoint::quantize::Dequantized;
use ridgepoint::tensor::MatrixFormat;
use std::fs;

/// The greatest |dNLL| of any token: what an f32 engine and a f64 twin of the same weights differ.
const NLL_TOLERANCE: f32 = 1e-3;
/// Where the two best logits are closer than this, either may win.
const MARGIN: f32 = 1e-3;

/// FNV-1a over the bits of f32 numbers, word by word.
fn digest(values: &[f32]) -> String {
    let state = values.iter().fold(0xcbf2_9ce4_8422_2325u64, |state, value| {
        (state ^ u64::from(value.to_bits())).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{state:016x}")
}

/// Names and shapes of all matrices that inputs are multiplied with.
fn modules(config: &ModelConfig) -> Vec<(String, [usize; 2])> {
    let layers = (0..config.layers)
        .flat_map(|i| Part::ALL.into_iter().map(move |part| (part.module(i), part.shape(config))));
    let head = ("lm_head".to_string(), [config.vocab_size, config.hidden_size]);
    layers.chain([head]).collect()
}

#[test]
fn every_checkpoint_is_compared() {
    let mut found: Vec<String> = fs::read_dir(fixture("quantised"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_string())
        .collect();
    found.sort();
    assert_eq!(found, CASES);
}

#[test]
fn matrices_have_the_bits_of_their_twins() {
    for name in CASES {
        let (config, expected) =
            (ModelConfig::load(&case(name)).unwrap(), json(case(name).join("expected.json")));
        let checkpoint = Checkpoint::open(&case(name)).unwrap();
        refuse_strangers(&config, &checkpoint).unwrap();
        let modules = modules(&config);
        assert_eq!(expected["twin"].as_object().unwrap().len(), modules.len());
        for (module, shape) in modules {
            let weight = format!("{module}.weight");
            let matrix = Dequantized(&checkpoint).matrix(&weight, shape).unwrap();
            let found = digest(&matrix.as_plain().unwrap().to_f32());
            assert_eq!(expected["twin"][&module], found, "{name} {module}");
            let (stored, read) =
                (checkpoint.format(&weight, shape), checkpoint.matrix(&weight, shape));
            assert_eq!(stored.unwrap(), read.unwrap().format(), "{name} {module}");
        }
    }
}

#[test]
fn nll_is_that_of_the_twin() {
    for name in CASES {
        let mut generator = load(&case(name), CpuBackend::new(), 64);
        for phase in [Phase::Prefill, Phase::Decode] {
            for sequence in expected(&format!("quantised/{name}")).sequences {
                let nll = generator.score(&sequence.tokens, phase).unwrap();
                assert_eq!(nll.len(), sequence.nll.len());
                for (t, (ours, twin)) in nll.iter().zip(&sequence.nll).enumerate() {
                    let off = (ours - twin).abs();
                    assert!(off <= NLL_TOLERANCE, "{name} {phase:?} token {}: {off}", t + 1);
                }
            }
        }
    }
}

#[test]
fn greedy_tokens_are_those_of_the_twin() {
    for name in CASES {
        let mut generator = load(&case(name), CpuBackend::new(), 64);
        for greedy in expected(&format!("quantised/{name}")).greedy {
            assert!(greedy.margins.iter().all(|margin| *margin > MARGIN), "{name}");
            let tokens = continuation(&mut generator, &greedy.prompt, greedy.tokens.len());
            assert_eq!(tokens, greedy.tokens, "{name}");
        }
    }
}

#[test]
fn zero_points_reach_both_ends() {
    let range = |name: &str| {
        let config = ModelConfig::load(&case(name)).unwrap();
        let checkpoint = Checkpoint::open(&case(name)).unwrap();
        let weight = "model.layers.0.self_attn.q_proj.weight";
        let shape = Part::Query.shape(&config);
        let ridgepoint::tensor::HostMatrix::Int4(tensor) =
            checkpoint.matrix(weight, shape).unwrap()
        else {
            panic!("{name} is not quantised")
        };
        let zeros = tensor.matrix.zero_points?;
        Some((*zeros.iter().min().unwrap(), *zeros.iter().max().unwrap()))
    };
    assert_eq!(range("gptq_v1"), None);
    assert_eq!(range("gptq_v1_zeros"), Some((1, 16)));
    assert_eq!(range("gptq_v2_rows"), Some((0, 15)));
    assert_eq!(range("awq_64"), Some((0, 15)));
    assert_eq!(range("compressed_128_zeros"), Some((0, 15)));
}

/// What a model takes on a GPU, where columns in an order of their own make a matrix bf16.
#[test]
fn budgets_count_the_formats_that_are_held() {
    let formats = |name: &str| {
        let config = ModelConfig::load(&case(name)).unwrap();
        let checkpoint = Checkpoint::open(&case(name)).unwrap();
        let formats = Formats::stored(&config, &|name, shape| checkpoint.format(name, shape));
        (config, formats.unwrap())
    };
    let int4 = |group, zero_points| WeightFormat::Int4 { group, zero_points };
    let (g64, g128) = (Int4Group::G64, Int4Group::G128);
    let bf16 = HeadFormat::Bf16;
    assert_eq!(formats("gptq_v1").1, Formats::of(int4(g64, false), bf16));
    assert_eq!(formats("awq_128").1, Formats::of(int4(g128, true), bf16));
    assert_eq!(formats("gptq_v1_act_order").1, Formats::default());
    assert_eq!(formats("compressed_head_8").1, Formats::of(int4(g64, false), HeadFormat::Int8));
    let (config, kept) = formats("compressed_128_zeros");
    assert_eq!((kept.weights, kept.head), (int4(g128, true), int4(g128, true).into()));
    let others: Vec<(usize, &str)> =
        kept.others.iter().map(|other| (other.layer, other.matrix)).collect();
    assert_eq!(others, [(0, "down"), (1, "down")]);
    let all = weight_bytes(&config, &Formats { others: Vec::new(), ..kept.clone() });
    let down = 128 * 192;
    let packed = int4(g128, true).bytes(128, 192);
    assert_eq!(weight_bytes(&config, &kept), all + 2 * (2 * down - packed));
    // Rows of 128 are one kind of group, and rows of 192 another.
    let (_, rows) = formats("gptq_v2_rows");
    assert_eq!(rows.weights, int4(g128, true));
    assert_eq!(rows.others.len(), 1);
    assert_eq!(rows.others[0].format, int4(g64, true));
    // config.json alone says the same, but for what it leaves to the tensors.
    for name in ["gptq_v1_zeros", "gptq_v1_act_order", "awq_128", "compressed_128_zeros"] {
        let (config, stored) = formats(name);
        let found = Quantization::find(&case(name).join("config.json")).unwrap().unwrap();
        let declared = Formats::stored(&config, &|name, shape| {
            let plain = MatrixFormat::Plain(ridgepoint::tensor::Dtype::Bf16);
            Ok(found.declared(name, shape)?.unwrap_or(plain))
        });
        assert_eq!(declared.unwrap(), stored, "{name}");
    }
}

#[test]
fn commands_load_them_and_say_what_they_are() {
    let path = |name: &str| case(name).to_str().unwrap().to_string();
    let run = |args: &[&str]| {
        let output = ridgepoint(args);
        (output.status.code(), stdout(&output), stderr(&output))
    };
    let generate = ["generate", "--tokens", "1,5,9", "--max-tokens", "4", "--device", "cpu"];
    for (name, says) in [
        ("gptq_v1", "(gptq, int4 in groups of 64)"),
        ("gptq_v1_act_order", "(gptq, int4 in groups of 64 sorted by activation)"),
        ("awq_64", "(awq, int4 in groups of 64 with zero points)"),
        ("compressed_head_8", "(compressed-tensors, int4 in groups of 64, int8 in rows)"),
    ] {
        let model = path(name);
        let (code, _, message) = run(&[&generate[..], &["--model", &model]].concat());
        assert_eq!(code, Some(0), "{name}: {message}");
        assert!(message.contains(says), "{name}: {message}");
        let (code, _, message) =
            run(&[&generate[..], &["--model", &model, "--quantize", "int4"]].concat());
        assert_eq!(code, Some(2), "{message}");
        assert!(message.contains("quantised already"), "{message}");
    }
    let model = path("compressed_128_zeros");
    let (code, plan, message) = run(&["plan", &model, "--json"]);
    assert_eq!(code, Some(0), "{message}");
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let found = (&plan["weights"], &plan["head"]);
    assert_eq!(found, (&"int4:group=128,zero-point".into(), &"int4".into()), "{plan}");
    let mut bench = vec!["bench", "throughput", "--model", &model, "--device", "cpu"];
    bench.extend(["--requests", "1", "--prompt", "4", "--output", "2", "--json", "-"]);
    let (code, report, message) = run(&bench);
    assert_eq!(code, Some(0), "{message}");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let config = &report["config"];
    assert_eq!(config["weights"], "int4:group=128,zero-point", "{config}");
    assert_eq!(
        (&config["head"], &config["matrices_in_other_formats"]),
        (&"int4".into(), &2.into())
    );
}
