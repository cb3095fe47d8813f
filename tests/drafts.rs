//! `--draft` as its user meets it: figures, refusals before anything is loaded, interrupts.

use crate::common::{fixture, interrupted, ridgepoint, root, stderr, stdout};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn shipped(name: &str) -> String {
    root().join("models").join(name).to_str().unwrap().to_string()
}

fn json_of(args: &[&str]) -> Value {
    let output = ridgepoint(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// What a result says of drafts of four tokens must add up, for an output of `tokens`.
fn check_figures(figures: &Value, tokens: f64) {
    let number = |name: &str| figures[name].as_f64().unwrap_or_else(|| panic!("{name}: {figures}"));
    let (steps, per_step) = (number("steps"), number("tokens_per_step"));
    assert!((steps * per_step - tokens).abs() < 1e-6 * tokens, "{figures}, {tokens} tokens");
    assert!(per_step > 1.5 && per_step <= 5.0, "{figures}");
    assert_eq!(
        number("drafted_tokens"),
        number("accepted_tokens") + number("wasted_tokens"),
        "{figures}"
    );
    let acceptance = numbers(&figures["acceptance_by_position"]);
    assert_eq!(acceptance.len(), 4, "{figures}");
    assert!(acceptance[0] > 0.4 && acceptance.iter().all(|x| (0.0..=1.0).contains(x)), "{figures}");
}

#[test]
fn results_tell_what_drafts_did() {
    let draft = shipped("draft");
    let base = ["generate", "--prompt", "The fox", "--max-tokens", "60", "--ignore-eos"];
    let drafted = [&base[..], &["--draft", &draft, "--depth", "4"]].concat();
    let result = json_of(&[&drafted[..], &["--json"]].concat());
    check_figures(&result["speculation"], 59.0);
    assert_eq!(
        json_of(&[&drafted[..], &["--json"]].concat())["speculation"],
        result["speculation"]
    );
    let plain = json_of(&[&base[..], &["--json"]].concat());
    assert!(plain.get("speculation").is_none() && plain["tokens"] == result["tokens"], "{plain}");
    let log = stderr(&ridgepoint(&drafted));
    for part in ["tokens a step", "drafted", "accepted (% by position:", "wasted"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(!stderr(&ridgepoint(&base)).contains("drafted"));
}

#[test]
fn a_benchmark_tells_what_drafts_did() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let (json, csv, prompts) = (path("r.json"), path("r.csv"), path("p.jsonl"));
    let line =
        |text: &str| json!({"prompt": text, "max_tokens": 40, "temperature": 0.8}).to_string();
    fs::write(&prompts, ["Once upon a time", "The fox", "It was"].map(line).join("\n")).unwrap();
    let draft = shipped("draft");
    let args = ["bench", "throughput", "--prompts", &prompts, "--json", &json, "--csv", &csv];
    let output = ridgepoint(&[&args[..], &["--draft", &draft, "--depth", "4"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let tables = stdout(&output);
    for part in ["tokens/step", "drafted", "accepted", "wasted", "% accepted by position"] {
        assert!(tables.contains(part), "{part}: {tables}");
    }
    let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(
        (&report["config"]["draft"], &report["config"]["depth"]),
        (&json!(draft), &json!(4))
    );
    let result = &report["results"][0];
    check_figures(&result["speculation"], 3.0 * 39.0);
    assert!(result["speculation"]["seconds"].as_f64().unwrap() > 0.0, "{result}");
    assert_eq!(result["speculation"]["faults"], 0);
    // Tokens a second are those that were drawn, not the rows that were computed for them.
    let rate = result["decode_tokens_per_s"].as_f64().unwrap();
    let seconds = ["decode", "speculation"].map(|part| result[part]["seconds"].as_f64().unwrap());
    assert!((rate * seconds.iter().sum::<f64>() - 117.0).abs() < 1e-3, "{result}");
    let csv = fs::read_to_string(&csv).unwrap();
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0].len(), rows[1].len(), "{csv}");
    let column = |name: &str| {
        let at = rows[0].iter().position(|column| *column == name);
        rows[1][at.unwrap_or_else(|| panic!("{name}: {csv}"))].to_string()
    };
    let acceptance = numbers(&result["speculation"]["acceptance_by_position"]);
    assert_eq!(column("speculation_acceptance_by_position_4"), acceptance[3].to_string());
    assert_eq!(
        column("speculation_drafted_tokens"),
        result["speculation"]["drafted_tokens"].to_string()
    );
    let plain = ridgepoint(&args);
    assert!(!stdout(&plain).contains("tokens/step"), "{}", stdout(&plain));
    let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert!(
        report["results"][0].get("speculation").is_none()
            && report["config"].get("draft").is_none()
    );
}

/// The shipped draft with something changed in one of its files.
fn altered(dir: &Path, file: &str, change: impl Fn(&mut Value)) -> String {
    for entry in fs::read_dir(shipped("draft")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
    }
    let path = dir.join(file);
    let mut value: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut value);
    fs::write(&path, value.to_string()).unwrap();
    dir.to_str().unwrap().to_string()
}

/// Runs a command that must be refused with these words before any weights are looked at: the line
/// that tells the model's size and device comes first of all that happens to them.
fn refused(args: &[&str], code: i32, parts: &[&str]) {
    let output = ridgepoint(args);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
    assert!(stdout(&output).is_empty() && !message.contains("panicked"), "{message}");
    assert!(code != 2 || !message.contains("MB of weights"), "{args:?} loads: {message}");
    for part in parts {
        assert!(message.contains(part), "{args:?}: {message:?} does not say {part:?}");
    }
}

const STORY: [&str; 5] = ["generate", "--prompt", "The fox", "--max-tokens", "40"];

#[test]
fn a_draft_of_another_vocabulary_is_refused() {
    let other = fixture("llama2_mha");
    let args = [&STORY[..], &["--draft", other.to_str().unwrap()]].concat();
    refused(&args, 2, &["config.json", "vocab_size: found 211, expected 1024, as the model has"]);
}

#[test]
fn a_draft_with_another_tokenizer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let draft = altered(dir.path(), "tokenizer.json", |json| json["version"] = json!("1.1"));
    let said = ["tokenizer.json", "another tokenizer", "that of", "models/target"];
    refused(&[&STORY[..], &["--draft", &draft]].concat(), 2, &said);
}

#[test]
fn a_draft_with_a_shorter_context_is_refused_where_it_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let draft =
        altered(dir.path(), "config.json", |json| json["max_position_embeddings"] = json!(32));
    let args = [&STORY[..], &["--draft", &draft]].concat();
    refused(&args, 2, &["max_position_embeddings: found 32", "or a smaller --context"]);
    let fits = [&args[..], &["--context", "32", "--json"]].concat();
    assert_eq!(json_of(&fits)["finish_reason"], "length");
}

#[test]
fn a_draft_that_is_no_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().to_str().unwrap();
    refused(&[&STORY[..], &["--draft", empty]].concat(), 2, &["config.json"]);
    let draft = altered(dir.path(), "config.json", |_| ());
    fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    refused(&[&STORY[..], &["--draft", &draft]].concat(), 2, &["safetensors"]);
}

#[test]
fn a_draft_larger_than_its_model_is_warned_of_and_used() {
    let (model, draft) = (shipped("draft"), shipped("target"));
    let base = [&STORY[..], &["--model", &model, "--json"]].concat();
    let output = ridgepoint(&[&base[..], &["--draft", &draft, "--depth", "2"]].concat());
    let message = stderr(&output);
    assert!(output.status.success(), "{message}");
    assert_eq!(message.matches("warning:").count(), 1, "{message}");
    assert!(message.contains("it will hardly pay"), "{message}");
    let result: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(result["tokens"], json_of(&base)["tokens"]);
    assert!(result["speculation"]["drafted_tokens"].as_u64().unwrap() > 0);
}

/// The model fits, and so does its draft, but not both: what would fit is told, the same wherever
/// one comes from, and one page more is too much.
#[cfg(feature = "cuda")]
#[test]
fn a_draft_that_does_not_fit_beside_its_model_is_refused() {
    let draft = shipped("draft");
    let base = ["generate", "--tokens", "5,6", "--max-tokens", "2", "--device", "sim"];
    let with = |pages: &str| {
        let more = ["--kv-pages", pages, "--draft", &draft, "--depth", "1"];
        ridgepoint(&[&base[..], &more].concat())
    };
    // The simulator's device has 64 GiB; a page of the model takes 128 KiB, one of the draft 32.
    let fitting_instead_of = |pages: usize| -> usize {
        let output = with(&pages.to_string());
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{message}");
        for part in ["too little for the model", "its draft", "KV cache", "weights", "Both fit"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        message.split("--kv-pages ").nth(1).unwrap().split('.').next().unwrap().parse().unwrap()
    };
    let fitting = fitting_instead_of(450_000);
    assert!((400_000..440_000).contains(&fitting), "{fitting}");
    assert_eq!(fitting_instead_of(440_000), fitting);
    assert_eq!(fitting_instead_of(fitting + 1), fitting);
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_drafted_outputs_and_reports_them() {
    let rest = interrupted(&["--draft", &shipped("draft"), "--depth", "3"]);
    let cancelled = rest.iter().filter(|result| result["finish_reason"] == "cancelled");
    let drafted = |result: &Value| result["speculation"]["drafted_tokens"].as_u64() > Some(0);
    assert!(cancelled.clone().count() > 0 && cancelled.clone().any(drafted), "{rest:?}");
}
