//! `ridgepoint quantize` as its user meets it: what is refused, and that nothing is left behind.

use crate::common::{fixture, ridgepoint, root, stderr, stdout};
use serde_json::Value;
use std::fs;
use std::path::Path;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn mistakes_are_named_and_leave_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let short = temp.path().join("short.txt");
    fs::write(&short, "Once upon a time.").unwrap();
    let taken = temp.path().join("taken");
    fs::create_dir(&taken).unwrap();
    let quantised = temp.path().join("quantised");
    fs::create_dir(&quantised).unwrap();
    let config = fs::read_to_string(root().join("models/target/config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["quantization_config"] = serde_json::json!({"quant_method": "gptq", "bits": 4,
        "group_size": 128});
    fs::write(quantised.join("config.json"), config.to_string()).unwrap();
    let before = names(temp.path());
    let path = |name: &str| temp.path().join(name).to_str().unwrap().to_string();
    let (out, text) = (path("out"), path("short.txt"));
    let narrow = fixture("llama_linear_new").to_str().unwrap().to_string();
    let fixture = fixture("qwen3_gqa2").to_str().unwrap().to_string();
    let held = root().join("models/heldout.txt").to_str().unwrap().to_string();
    let cases: &[(&[&str], &[&str])] = &[
        (&["--out", &path("taken")], &["taken", "exists already"]),
        (&["--out", &path("no/such/place")], &["no/such"]),
        (&["--out", &text], &["short.txt", "exists already"]),
        (&["--out", &out, "--method", "best"], &["best", "rtn, search, awq or gptq"]),
        (&["--out", &out, "--group", "32"], &["64 or 128"]),
        (&["--out", &out, "--head", "5"], &["4, 8 or 16"]),
        (&["--out", &out, "--method", "gptq"], &["--calibration"]),
        (&["--out", &out, "--method", "awq", "--calibration", &text], &[&text, "window of 1024"]),
        (&["--out", &out, "--method", "gptq", "--calibration", &path("none")], &["none"]),
        (&["--out", &out, "--receipt", &path("r")], &["--eval-text"]),
        (
            &["--out", &out, "--receipt", &path("no/r"), "--eval-text", &held],
            &["no/r", "--receipt"],
        ),
        (&["--out", &out, "--receipt", &path("taken"), "--eval-text", &held], &["--receipt"]),
        (&["--out", &out, "--keep", "*.no_proj=16"], &["*.no_proj=16", "fits no matrix"]),
        (&["--out", &out, "--keep", "*.down_proj=8"], &["PATTERN=16"]),
        (&["--out", &out, "--keep", "*.q_proj=16"], &["q_proj", "k_proj", "one format"]),
        (&["--out", &out, "--activation-order"], &["gptq"]),
        (&["--out", &out, "--window", "1"], &["--window is 1"]),
        (&["--out", &out, "--model", &path("quantised")], &["quantised already (gptq)"]),
        (&["--out", &out, "--model", &path("nowhere")], &["nowhere"]),
        (&["--out", &out, "--model", &narrow, "--group", "64"], &["q_proj", "group, 64"]),
        (&["--out", &out, "--model", &fixture, "--eval-text", &held], &["tokenizer.json"]),
        (&["--compare", "rtn", "--out", &out, "--eval-text", &held], &["cannot be used with"]),
        (&["--compare", "rtn"], &["--eval-text"]),
        (&[], &["--out"]),
    ];
    for (args, parts) in cases {
        let output = ridgepoint(&[&["quantize"], *args].concat());
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
        for part in *parts {
            assert!(message.contains(part), "{args:?}: {message:?} does not say {part:?}");
        }
        assert!(!message.contains("panicked"), "{args:?}: {message}");
        assert_eq!(names(temp.path()), before, "{args:?}");
    }
}

#[test]
fn methods_side_by_side() {
    let temp = tempfile::tempdir().unwrap();
    let held = fs::read_to_string(root().join("models/heldout.txt")).unwrap();
    let path = temp.path().join("text.txt");
    fs::write(&path, &held[..20_000]).unwrap();
    let text = path.to_str().unwrap();
    let args = ["quantize", "--compare", "rtn,gptq", "--calibration", text, "--window", "512"];
    let output = ridgepoint(&[&args[..], &["--json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!((&rows[0]["method"], &rows[1]["method"]), (&"rtn".into(), &"gptq".into()));
    assert!(rows[0]["divergence_over_first"].is_null());
    let number = |row: &Value, path: &str| row.pointer(path).unwrap().as_f64().unwrap();
    // The whole interval is below zero: gptq loses less, and not by chance.
    assert!(number(&rows[1], "/divergence_over_first/high") < 0.0, "{}", rows[1]);
    assert!(number(&rows[1], "/output_error") < number(&rows[0], "/output_error"));
    assert!(number(&rows[1], "/quality/perplexity_before") > 1.0);
    assert_eq!(names(temp.path()), ["text.txt"]);
}
