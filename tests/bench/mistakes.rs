//! Bad input to `ridgepoint bench`: one message, exit code 2, and nothing is run.

use crate::common::{ridgepoint, stderr, stdout};
use std::fs;

fn fails(args: &[&str], parts: &[&str]) {
    let output = ridgepoint(&[&["bench"], args].concat());
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
    assert!(!message.contains("panicked") && !message.contains("loaded"), "{args:?}: {message}");
    assert!(stdout(&output).is_empty(), "{args:?}");
    for part in parts {
        assert!(message.contains(part), "{args:?}: {message:?} does not say {part:?}");
    }
}

#[test]
fn rates_and_counts_must_be_positive() {
    let load = |rate: &str, part: &str| fails(&["load", "--rate", rate], &["--rate", part]);
    load("0", "0");
    load("-2", "-2");
    load("1,0", "0");
    load("inf", "inf");
    load("NaN", "NaN");
    load("fast", "fast");
    fails(&["load"], &["--rate"]);
    let load =
        |args: &[&str], parts: &[&str]| fails(&[&["load", "--rate", "9"], args].concat(), parts);
    load(&["--requests", "0"], &["--requests is 0"]);
    load(&["--prompt", "0"], &["--prompt is 0"]);
    load(&["--output", "0"], &["--output is 0"]);
    load(&["--concurrency", "0"], &["--concurrency is 0"]);
    load(&["--spread", "1.5"], &["--spread is 1.5"]);
    load(&["--spread", "-1"], &["--spread is -1"]);
    load(&["--workload", "shared-prefix", "--prefix", "0"], &["--prefix is 0"]);
    load(&["--workload", "multi-turn", "--turns", "0"], &["--turns is 0"]);
    load(&["--slo-ttft-ms", "0"], &["--slo-ttft-ms is 0"]);
    load(&["--slo-tpot-ms", "-5"], &["--slo-tpot-ms is -5"]);
    load(&["--price-per-hour", "-1"], &["--price-per-hour is -1"]);
    load(&["--running", "0"], &["--running is 0"]);
    load(&["--requests", "4000000", "--prompt", "900"], &["3600000000 tokens"]);
    fails(&["latency", "--batch", "0"], &["--batch is 0"]);
    fails(&["latency", "--prompt", "0"], &["--prompt is 0"]);
    fails(&["latency", "--output", "1"], &["--output is 1", "at least 2"]);
    fails(&["latency", "--repeat", "0"], &["--repeat is 0"]);
    fails(&["latency", "--depth", "0"], &["--depth is 0"]);
}

#[test]
fn names_must_be_known() {
    fails(&["speed"], &["speed"]);
    fails(&["load", "--rate", "1", "--workload", "chat"], &["chat", "shared-prefix", "multi-turn"]);
    fails(&["load", "--rate", "1", "--arrivals", "bursts"], &["bursts", "poisson"]);
    fails(&["throughput", "--gpu", "h900"], &["h900", "h200"]);
    fails(&["throughput", "--dummy-weights"], &["--model"]);
    fails(&["throughput", "--model", "/nowhere"], &["/nowhere"]);
    fails(&["throughput", "--model", "/nowhere", "--dummy-weights"], &["/nowhere"]);
}

#[test]
fn requests_must_fit() {
    fails(&["throughput", "--prompt", "1000", "--output", "100"], &["1100 tokens", "holds 1024"]);
    let small = ["throughput", "--prompt", "60", "--output", "20", "--context", "64"];
    fails(&small, &["80 tokens", "holds 64"]);
    let turns = ["load", "--rate", "1", "--workload", "multi-turn", "--turns", "8"];
    fails(&turns, &["1536 tokens", "holds 1024"]);
    fails(&["latency", "--prompt", "1024"], &["--prompt is 1024"]);
    fails(&["latency", "--output", "1024"], &["1025 tokens", "holds 1024"]);
    fails(&["throughput", "--kv-pages", "2"], &["--kv-pages is 2", "takes 3"]);
    fails(&["latency", "--kv-pages", "2", "--prompt", "128"], &["--kv-pages is 2", "takes 3"]);
}

#[test]
fn files_must_be_there_and_sound() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.jsonl");
    fs::write(&path, "{\"arrival_s\": 0, \"prompt_tokens\": 3, \"max_tokens\": 0}").unwrap();
    let path = path.to_str().unwrap();
    fails(&["load", "--trace", path], &["t.jsonl", "line 1, max_tokens", "found 0"]);
    fails(&["throughput", "--trace", path], &["t.jsonl", "line 1, max_tokens"]);
    fails(&["throughput", "--prompts", path], &["t.jsonl", "line 1", "arrival_s"]);
    fails(&["load", "--trace", "/nowhere.jsonl"], &["/nowhere.jsonl"]);
    fails(&["load", "--trace", path, "--rate", "1"], &["cannot be used with"]);
    fails(&["throughput", "--trace", path, "--prompt", "1"], &["cannot be used with"]);
}

/// A path that cannot be written is found before anything has run.
#[test]
fn results_must_have_a_place() {
    for flag in ["--json", "--csv"] {
        fails(
            &["throughput", "--requests", "1", flag, "/nowhere/r"],
            &["/nowhere/r", "cannot write"],
        );
    }
    fails(
        &["load", "--rate", "1", "--plot", "/nowhere/r.svg"],
        &["/nowhere/r.svg", "cannot write"],
    );
    let dir = tempfile::tempdir().unwrap();
    fails(&["latency", "--json", dir.path().to_str().unwrap()], &["cannot write"]);
}
