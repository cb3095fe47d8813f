//! The command on the model that ships, with tiny counts.

use crate::common::{binary, fixture, ridgepoint, stderr, stdout};
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Stdio};

/// Runs a command that must succeed, and gives the JSON of its stdout.
fn report(args: &[&str]) -> Value {
    let output = ridgepoint(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    let text = stdout(&output);
    assert_eq!(text.lines().count(), 1, "one object: {text}");
    serde_json::from_str(&text).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn latency_is_measured_for_each_length_and_batch() {
    let args = ["bench", "latency", "--prompt", "16,40", "--output", "4", "--batch", "1,3"];
    let report = report(&[&args[..], &["--repeat", "2"]].concat());
    let results = report["results"].as_array().unwrap();
    let names: Vec<&str> = results.iter().map(|r| r["name"].as_str().unwrap()).collect();
    let expected = ["pp16 batch 1", "pp40 batch 1", "tg4 batch 1"].map(str::to_string);
    let three = expected.clone().map(|name| name.replace("batch 1", "batch 3"));
    assert_eq!(names, [expected, three].concat());
    for (result, batch) in results.iter().zip([1, 1, 1, 3, 3, 3]) {
        assert_eq!(result["finished"], 2 * batch, "{result}");
        let (rate, ms) = (number(&result["tokens_per_s"]["mean"]), number(&result["ms"]["mean"]));
        assert!(rate > 0.0 && ms > 0.0, "{result}");
        assert!(number(&result["tokens_per_s"]["spread"]) >= 0.0);
        assert_eq!(result["prefix_hit_tokens"], 0);
    }
    assert_eq!(
        (&results[0]["prompt_tokens"], &results[0]["output_tokens"]),
        (&json!(16.0), &json!(1.0))
    );
    assert_eq!(results[0]["tpot_ms"]["mean"], Value::Null, "one token has none");
    assert_eq!(
        (&results[5]["prompt_tokens"], &results[5]["output_tokens"]),
        (&json!(1.0), &json!(4.0))
    );
    // Three tokens of each request come after the first.
    assert_eq!(results[5]["decode"]["rows"], 2 * 3 * 3);
    assert_eq!(report["config"]["running"], 3);
}

#[test]
fn the_json_has_the_schema_that_others_read() {
    let args = ["bench", "throughput", "--requests", "5", "--prompt", "20", "--output", "6"];
    let more = ["--price-per-hour", "2", "--gpu", "0.05,0.2", "--slo-ttft-ms", "1e6"];
    let report = report(&[&args[..], &more].concat());
    assert_eq!(report["schema"], 1);
    assert!(report["device"].as_str().unwrap().starts_with("CPU"), "{report}");
    let date = report["date"].as_str().unwrap();
    assert!(date.len() == 20 && date.starts_with("20") && date.ends_with('Z'), "{date}");
    let config = &report["config"];
    for (field, value) in [
        ("command", json!("throughput")),
        ("context", json!(26)),
        ("running", json!(5)),
        ("kv_pages", json!(5)),
        ("weights", json!("bf16")),
        ("prefix_cache", json!(true)),
        ("seed", json!(0)),
    ] {
        assert_eq!(config[field], value, "{field}");
    }
    assert!(config["model"].as_str().unwrap().ends_with("models/target"));
    let result = &report["results"][0];
    assert_eq!((&result["finished"], &result["prompt_tokens"]), (&json!(5), &json!(20.0)));
    for figure in ["ttft_ms", "tpot_ms", "itl_ms", "e2e_ms"] {
        let [mean, p50, p90, p99] =
            ["mean", "p50", "p90", "p99"].map(|of| number(&result[figure][of]));
        assert!(0.0 < mean && 0.0 < p50 && p50 <= p90 && p90 <= p99, "{figure}: {result}");
    }
    let rate = number(&result["requests_per_s"]);
    let close = |field: &str, expected: f64| {
        let found = number(&result[field]);
        assert!((found - expected).abs() < 1e-6 * expected, "{field}: {found}, not {expected}");
    };
    close("input_tokens_per_s", 20.0 * rate);
    close("output_tokens_per_s", 6.0 * rate);
    close("goodput_per_s", rate);
    close("duration_s", 5.0 / rate);
    assert!((0.5..5.1).contains(&number(&result["concurrency"])), "{result}");
    assert_eq!(result["decode"]["rows"], 25);
    assert_eq!(result["prefill"]["rows"], 100);
    for field in ["prefill_tokens_per_s", "decode_tokens_per_s", "host_us_per_step", "steps"] {
        assert!(number(&result[field]) > 0.0, "{field}");
    }
    for phase in ["prefill", "decode"] {
        assert!(number(&result[phase]["roofline_share"]) > 0.0, "{phase}");
    }
    assert_eq!(result["dollars"]["cached_per_million"], Value::Null);
    // All that was paid for is told: what the tokens cost together is what the time did.
    let dollars = |field: &str| number(&result["dollars"][field]);
    let paid = dollars("input_per_million") * 1e-4 + dollars("output_per_million") * 3e-5;
    let spent = 2.0 / 3600.0 * number(&result["duration_s"]);
    assert!((paid - spent).abs() < 1e-9 * spent, "{paid} of {spent}");
}

#[test]
fn a_load_writes_tables_files_and_a_plot() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let (json, csv, svg) = (path("r.json"), path("r.csv"), path("r.svg"));
    let output = ridgepoint(&[
        "bench",
        "load",
        "--rate",
        "100,200",
        "--requests",
        "6",
        "--workload",
        "shared-prefix",
        "--prefix",
        "128",
        "--prompt",
        "10",
        "--output",
        "4",
        "--concurrency",
        "1",
        "--json",
        &json,
        "--csv",
        &csv,
        "--plot",
        &svg,
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let tables = stdout(&output);
    for part in ["shared-prefix 100/s", "shared-prefix 200/s", "TTFT", "TPOT", "p99", "hit tokens"]
    {
        assert!(tables.contains(part), "{part}: {tables}");
    }
    let text = fs::read_to_string(&json).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    for (result, rate) in report["results"].as_array().unwrap().iter().zip([100.0, 200.0]) {
        assert_eq!((&result["rate"], &result["finished"]), (&json!(rate), &json!(6)));
        // One at a time: all but the first find two pages, and nothing of the rate before.
        assert_eq!(result["prefix_hit_tokens"], 5 * 128);
        assert_eq!(result["prefix_query_tokens"], 6 * 138);
    }
    let csv = fs::read_to_string(csv).unwrap();
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{csv}");
    let column = |name: &str| rows[0].iter().position(|column| *column == name).unwrap();
    assert_eq!(rows[2][column("rate")], "200.0");
    // As text: a parsed number may differ in its last bit from the one that was written.
    let p99 = format!("\"p99\":{}}},\"tpot_ms\"", rows[2][column("ttft_ms_p99")]);
    assert!(text.contains(&p99), "{p99}: {text}");
    assert_eq!(rows[1][column("goodput_per_s")], "", "without targets there is none");
    let audit = ridgepoint(&["plan", "--audit", &json, "--gpu", "h100", "--json"]);
    assert!(audit.status.success(), "{}", stderr(&audit));
    assert!(stdout(&audit).contains("shared-prefix 200/s"), "{}", stdout(&audit));
    let svg = fs::read_to_string(svg).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for part in ["TTFT against load", "TPOT against load", "p50", "p99"] {
        assert!(svg.contains(part), "{part}");
    }
    // Two panels of two lines with two points each.
    assert_eq!(svg.matches("<circle").count(), 8);
}

#[test]
fn a_trace_is_played_at_its_times_or_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.jsonl");
    let lines = [
        json!({"arrival_s": 0.0, "prompt_tokens": 12, "max_tokens": 3}),
        json!({"arrival_s": 0.2, "tokens": [5, 6, 7], "max_tokens": 5}),
    ];
    fs::write(&path, lines.map(|line| line.to_string()).join("\n")).unwrap();
    let path = path.to_str().unwrap();
    let load = report(&["bench", "load", "--trace", path]);
    let result = &load["results"][0];
    assert_eq!((&result["name"], &result["rate"]), (&json!("trace"), &Value::Null));
    assert_eq!((&result["prompt_tokens"], &result["output_tokens"]), (&json!(7.5), &json!(4.0)));
    assert!(number(&result["duration_s"]) > 0.2, "the second waits: {result}");
    let first = report(&["bench", "throughput", "--trace", path, "--requests", "1"]);
    assert_eq!(first["results"][0]["finished"], 1);
    assert_eq!(first["results"][0]["prompt_tokens"], 12.0);
}

#[test]
fn prompts_of_a_file_run_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.jsonl");
    let lines = [
        json!({"id": 1, "prompt": "Once upon a time", "max_tokens": 3}),
        json!({"id": 2, "tokens": [5, 6, 7]}),
    ];
    fs::write(&path, lines.map(|line| line.to_string()).join("\n")).unwrap();
    let path = path.to_str().unwrap();
    let report = report(&["bench", "throughput", "--prompts", path, "--output", "9"]);
    assert_eq!(report["results"][0]["finished"], 2);
    assert_eq!(report["results"][0]["output_tokens"], 6.0, "three, and nine by default");
}

#[test]
fn a_configuration_is_enough_of_a_model() {
    let model = fixture("qwen3_gqa2").join("config.json");
    let model = model.to_str().unwrap();
    let args = ["--model", model, "--requests", "3", "--prompt", "9", "--output", "4"];
    let output = ridgepoint(&[&["bench", "throughput"], &args[..]].concat());
    assert_eq!(output.status.code(), Some(2), "the weights are missed");
    let report = report(&[&["bench", "throughput", "--dummy-weights"], &args[..]].concat());
    assert_eq!(report["results"][0]["finished"], 3);
    assert_eq!(
        (&report["config"]["dummy_weights"], &report["config"]["weights"]),
        (&json!(true), &json!("bf16"))
    );
}

#[cfg(unix)]
#[test]
fn an_interrupt_reports_what_had_finished() {
    let mut child = Command::new(binary())
        .args(["bench", "load", "--rate", "20", "--arrivals", "constant", "--requests", "100000"])
        .args(["--prompt", "8", "--output", "2", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The line that says that the model is loaded comes just before the first request.
    let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("loaded") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut log, &mut line).unwrap() > 0, "it has ended");
    }
    std::thread::sleep(std::time::Duration::from_millis(700));
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    // The tables, which go to stderr, must have a reader.
    std::io::copy(&mut log, &mut std::io::sink()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let finished = report["results"][0]["finished"].as_u64().unwrap();
    assert!((1..1000).contains(&finished), "{finished}");
}

#[test]
fn conversations_find_generated_tokens_where_they_are_shared() {
    let args = ["bench", "load", "--rate", "1000", "--requests", "3", "--workload", "multi-turn"];
    let sizes = ["--turns", "3", "--prompt", "40", "--output", "40", "--concurrency", "1"];
    let hits = |more: &[&str]| {
        let report = report(&[&args[..], &sizes, more].concat());
        let result = &report["results"][0];
        assert_eq!(result["finished"], 3, "{result}");
        number(&result["prefix_hit_tokens"])
    };
    // The second turn's prompt, 120 tokens, is its own; the third, 200, finds its first page. With
    // generated tokens the first turn leaves a page as well (40 + 39), and the second two
    // (120 + 39).
    assert_eq!(hits(&[]), 64.0);
    assert_eq!(hits(&["--share-generated"]), 64.0 + 128.0);
    let both = [&args[..], &sizes, &["--share-generated", "--no-prefix-cache"]].concat();
    assert!(stderr(&ridgepoint(&both)).contains("cannot be used with"));
}
