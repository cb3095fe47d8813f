//! The binary's answers and refusals.

use crate::common::{LLAMA_8B, ridgepoint, root, stderr, stdout};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// A directory with nothing but the config.json of Llama-3.1-8B.
fn llama() -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), LLAMA_8B).unwrap();
    let path = dir.path().to_str().unwrap().to_string();
    (dir, path)
}

fn answer(args: &[&str]) -> String {
    let output = ridgepoint(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stdout(&output)
}

fn object(args: &[&str]) -> Value {
    let text = answer(&[args, &["--json"]].concat());
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn refused(args: &[&str], parts: &[&str]) {
    let output = ridgepoint(args);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
    assert!(stdout(&output).is_empty() && !message.contains("panicked"), "{args:?}: {message}");
    for part in parts {
        assert!(message.contains(part), "{args:?}: {message:?} does not say {part:?}");
    }
}

#[test]
fn a_plan_tells_memory_times_limits_and_cost() {
    let (_dir, model) = llama();
    let args = ["plan", &model, "--gpu", "h100", "--batch", "8", "--price-per-hour", "2.5"];
    let text = answer(&args);
    for part in [
        "KV cache",
        "activations",
        "logits",
        "scratch",
        "driver",
        "free",
        "Largest batch",
        "TTFT",
        "TPOT",
        "prefill tokens/s",
        "decode tokens/s",
        "floor",
        "expected",
        "limited by",
        "gate_up",
        "$ per million tokens",
        "estimates",
        "16.1 GB",
        "ridge at 295",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    // A config.json by itself is a model too.
    let file = PathBuf::from(&model).join("config.json");
    let by_file = answer(&["plan", file.to_str().unwrap(), "--gpu", "h100", "--batch", "8"]);
    assert!(by_file.contains("16.1 GB") && !by_file.contains("$ per million"), "{by_file}");
}

#[test]
fn the_ledger_adds_up() {
    let (_dir, model) = llama();
    let plan = object(&["plan", &model, "--gpu", "h200", "--batch", "32", "--context", "8192"]);
    let memory = plan["memory_bytes"].as_object().unwrap();
    assert_eq!(memory["weights"], 16_060_522_496u64);
    assert_eq!(memory["KV_cache"], 32 * 8192 * 131_072u64);
    let used: u64 = memory.values().map(|bytes| bytes.as_u64().unwrap()).sum();
    let usable = plan["usable_bytes"].as_u64().unwrap();
    assert_eq!(used + plan["free_bytes"].as_u64().unwrap(), usable);
    assert!((140_000_000_000..141_000_000_000).contains(&usable));
    assert_eq!((&plan["prompt"], &plan["output"]), (&json!(7936), &json!(256)));
    assert_eq!(plan["decode"]["limited_by"], "memory");
    assert_eq!(plan["prefill"]["limited_by"], "arithmetic");
    for figure in ["ttft_ms", "tpot_ms", "loaded_tpot_ms"] {
        assert!(plan["floor"][figure].as_f64() < plan["expected"][figure].as_f64(), "{figure}");
    }
    let largest = plan["largest"].as_array().unwrap();
    assert_eq!((&largest[0]["context"], &largest[7]["context"]), (&json!(1024), &json!(131_072)));
    let batches: Vec<u64> = largest.iter().map(|row| row["batch"].as_u64().unwrap()).collect();
    assert!(batches.is_sorted_by(|a, b| a > b) && batches[3] >= 32, "{batches:?}");
}

#[test]
fn utilisation_divides_the_money_and_nothing_else() {
    let (_dir, model) = llama();
    let base = ["plan", &model, "--price-per-hour", "3", "--utilisation"];
    let [half, whole] = ["0.5", "1"].map(|share| object(&[&base[..], &[share]].concat()));
    for tokens in ["input", "output", "all"] {
        let dollars =
            |plan: &Value| plan["expected"]["dollars_per_million"][tokens].as_f64().unwrap();
        assert!((dollars(&half) / dollars(&whole) - 2.0).abs() < 1e-9, "{tokens}");
    }
    assert_eq!(half["expected"]["tpot_ms"], whole["expected"]["tpot_ms"]);
    let rate = whole["expected"]["decode_tokens_per_s"].as_f64().unwrap();
    let output = whole["expected"]["dollars_per_million"]["output"].as_f64().unwrap();
    assert!((output - 3.0 / 3600.0 / rate * 1e6).abs() < 1e-9);
}

#[test]
fn what_fits_is_answered_in_a_line_and_both_ways() {
    let (_dir, model) = llama();
    for (gpu, weights) in [("h100", "bf16"), ("4090", "bf16"), ("4090", "int4")] {
        let base = ["plan", &model, "--gpu", gpu, "--weights", weights, "--fit"];
        let context =
            object(&[&base[..], &["context", "--batch", "4"]].concat())["context"].clone();
        let text = context.to_string();
        let batch = object(&[&base[..], &["batch", "--context", &text]].concat())["batch"].clone();
        assert!(batch.as_u64() >= Some(4), "{gpu} {weights}: {batch} of {context}");
        let line = answer(&[&base[..], &["context", "--batch", "4"]].concat());
        assert!(line.lines().count() == 1 && line.contains(&text), "{line}");
        // The plan of that load is drawn up, and one token more is refused.
        let plan = &base[..base.len() - 1];
        answer(&[plan, &["--batch", "4", "--context", &text]].concat());
        let more = (context.as_u64().unwrap() + 1).to_string();
        if more != "131073" {
            let expected = [&format!("up to a context of {context}"), "up to a batch of 3"];
            refused(
                &[plan, &["--batch", "4", "--context", &more]].concat(),
                &expected.map(|s| s as &str),
            );
        }
    }
}

#[test]
fn a_comparison_says_up_to_which_batch_int4_helps() {
    let (_dir, model) = llama();
    let base = ["plan", &model, "--gpu", "h200", "--context", "1024", "--compare"];
    let text = answer(&base);
    assert!(text.contains("helps up to batch"), "{text}");
    let json = answer(&[&base[..], &["--json"]].concat());
    let rows: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let batches: Vec<u64> = rows.iter().map(|row| row["batch"].as_u64().unwrap()).collect();
    assert_eq!(batches, [1, 2, 4, 8, 16, 32, 64, 128, 256]);
    assert!(rows[0]["gain"].as_f64().unwrap() > 2.0, "{}", rows[0]);
    assert_eq!((&rows[0]["helps"], &rows[8]["helps"]), (&json!(true), &json!(false)));
    // The sentence and the table agree.
    let last: u64 = text
        .split("helps up to batch ")
        .nth(1)
        .unwrap()
        .split(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    for row in &rows {
        assert_eq!(row["helps"], row["batch"].as_u64().unwrap() <= last, "{last}: {row}");
    }
}

#[test]
fn what_cannot_be_planned_is_refused_with_what_could() {
    let (_dir, model) = llama();
    let plan = |more: &[&str], parts: &[&str]| refused(&[&["plan", &model], more].concat(), parts);
    plan(&["--gpu", "gtx"], &["--gpu is gtx", "h100", "h200", "a100", "l40s", "4090"]);
    plan(&["--gpu", "4.8,989"], &["memory"]);
    plan(&["--gpu", "nowhere.json"], &["nowhere.json"]);
    plan(&["--weights", "int3"], &["int3", "int4:group=64,zero-point"]);
    for bad in ["0", "-1", "nan", "inf"] {
        plan(&["--price-per-hour", bad], &["--price-per-hour"]);
        plan(&["--utilisation", bad], &["--utilisation"]);
    }
    plan(&["--utilisation", "1.01"], &["--utilisation is 1.01"]);
    let mut narrow: Value = serde_json::from_str(LLAMA_8B).unwrap();
    narrow["intermediate_size"] = json!(1000);
    let file = PathBuf::from(&model).join("narrow.json");
    fs::write(&file, narrow.to_string()).unwrap();
    for question in [["--weights", "int4"], ["--compare", "--json"]] {
        let said = ["groups of 128", "1000 columns of down"];
        refused(&[&["plan", file.to_str().unwrap()], &question[..]].concat(), &said);
    }
    plan(&["--batch", "0"], &["--batch is 0"]);
    plan(&["--prefill-tokens", "0"], &["--prefill-tokens is 0"]);
    plan(&["--context", "131073"], &["--context is 131073", "131072"]);
    plan(&["--context", "1"], &["--context is 1"]);
    plan(&["--prompt", "131000", "--output", "100"], &["131100", "131072"]);
    plan(&["--context", "100", "--prompt", "90", "--output", "11"], &["--prompt 90", "100"]);
    plan(&["--prompt", "0"], &["--prompt 0"]);
    plan(&["--output", "5000"], &["--output 5000"]);
    plan(&["--fit", "batch", "--compare"], &["--compare"]);
    let too_much = ["batch of 64", "up to a context of 14", "up to a batch of 7"];
    plan(&["--gpu", "h200", "--batch", "64", "--context", "131072"], &too_much);
    refused(&["plan"], &["MODEL"]);
    refused(&["plan", "/nowhere"], &["/nowhere"]);
}

#[test]
fn weights_that_do_not_fit_are_named_alone() {
    let (dir, model) = llama();
    let mut config: Value = serde_json::from_str(LLAMA_8B).unwrap();
    config["num_hidden_layers"] = json!(100);
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let said = ["weights alone", "in bf16", "int4", "4090"];
    refused(&["plan", &model, "--gpu", "4090"], &said);
    refused(&["plan", &model, "--gpu", "4090", "--fit", "batch"], &said);
    refused(&["plan", &model, "--gpu", "4090", "--fit", "context"], &said);
}

/// A result file of one run on a device.
fn result(device: &str, model: &str) -> Value {
    json!({
        "schema": 1,
        "device": device,
        "config": {"model": model, "context": 4096, "running": 8, "weights": "bf16", "more": [1]},
        "results": [{
            "name": "all at once", "prompt_tokens": 1000.4, "output_tokens": 101.0,
            "concurrency": 8.0, "ttft_ms": {"mean": 60.0, "p50": 55.0, "p90": 70.0, "p99": 80.0},
            "tpot_ms": {"mean": 9.0}, "output_tokens_per_s": 700.0, "input_tokens_per_s": 7000.0,
            "unknown": true
        }]
    })
}

#[test]
fn an_audit_prints_predicted_beside_measured() {
    let (dir, model) = llama();
    let path = dir.path().join("result.json");
    let audit = ["plan", "--audit", path.to_str().unwrap()];
    let write = |value: &Value| fs::write(&path, value.to_string()).unwrap();
    write(&result("NVIDIA H200 (9.0, 151 GB), kernels for sm_90a", &model));
    let text = answer(&audit);
    for part in ["all at once", "ttft_ms", "tpot_ms", "measured/expected", "h200", "60.0"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let json = answer(&[&audit[..], &["--json"]].concat());
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    let load = ["--gpu", "h200", "--batch", "8", "--prompt", "1000", "--output", "101"];
    let plan = object(&[&["plan", &model], &load[..]].concat());
    for (line, figure) in lines.iter().zip(["ttft_ms", "loaded_tpot_ms"]) {
        assert_eq!(line["expected"], plan["expected"][figure], "{figure}");
        let number = |name: &str| line[name].as_f64().unwrap();
        let ratio = number("measured") / number("expected");
        assert!((number("measured_over_expected") - ratio).abs() < 1e-12);
    }
    // A run that was not what is predicted says so.
    assert!(!text.contains("note:") && lines.iter().all(|line| line["differences"] == json!([])));
    let mut other = result("NVIDIA H200", &model);
    other["config"]["draft"] = json!("ngram:max=4");
    other["config"]["matrices_in_other_formats"] = json!(3);
    write(&other);
    let text = answer(&audit);
    assert!(text.contains("note: 3 matrices are in formats other"), "{text}");
    assert!(text.contains("note: measured with drafts (ngram:max=4), predicted without"), "{text}");
    let json = answer(&[&audit[..], &["--json"]].concat());
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["differences"].as_array().unwrap().len(), 2, "{first}");
    // What a run leaves out is left out of the table.
    let mut partial = result("NVIDIA H200", &model);
    let run = partial["results"][0].as_object_mut().unwrap();
    for name in ["ttft_ms", "input_tokens_per_s", "concurrency"] {
        run.remove(name).unwrap();
    }
    write(&partial);
    assert_eq!(answer(&[&audit[..], &["--json"]].concat()).lines().count(), 2);
}

#[test]
fn a_processor_is_audited_by_its_own_ceilings() {
    let dir = tempfile::tempdir().unwrap();
    let (path, own) = (dir.path().join("result.json"), dir.path().join("own.json"));
    let audit = ["plan", "--audit", path.to_str().unwrap()];
    let model = root().join("models/target");
    let mut value = result("x86_64, AVX-512, 2 threads", model.to_str().unwrap());
    value["results"][0]["prompt_tokens"] = json!(100);
    fs::write(&path, value.to_string()).unwrap();
    refused(&audit, &["x86_64", "--gpu"]);
    let ceilings = r#"{"name": "two cores", "memory_gb": 8, "tb_per_s": 0.02, "tflops": 0.1}"#;
    fs::write(&own, ceilings).unwrap();
    let text = answer(&[&audit[..], &["--gpu", own.to_str().unwrap()]].concat());
    assert!(text.contains("two cores") && text.contains("output_tokens_per_s"), "{text}");
}

#[test]
fn results_that_say_too_little_are_refused_by_field() {
    let (dir, model) = llama();
    let path = dir.path().join("result.json");
    let audit = ["plan", "--audit", path.to_str().unwrap()];
    type Change = fn(&mut Value);
    let changes: [(Change, &str); 7] = [
        (|value| value["schema"] = json!(2), "schema"),
        (|value| value["schema"] = Value::Null, "schema"),
        (|value| value["results"] = json!([]), "nothing to compare"),
        (|value| value["results"] = json!("none"), "expected a sequence"),
        (|value| value["results"][0]["prompt_tokens"] = json!(1e9), "results[0].prompt_tokens"),
        (|value| value["config"]["weights"] = json!("fp8"), "config.weights"),
        (|value| value["config"]["model"] = Value::Null, "config.model"),
    ];
    for (change, part) in changes {
        let mut value = result("NVIDIA H200", &model);
        change(&mut value);
        fs::write(&path, value.to_string()).unwrap();
        refused(&audit, &[part, "result.json"]);
    }
    fs::write(&path, "not json").unwrap();
    refused(&audit, &["result.json"]);
    refused(&["plan", "--audit", "/nowhere.json"], &["/nowhere.json"]);
}
