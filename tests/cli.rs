//! The binary as its user meets it: results, messages, exit codes.

use crate::common::{binary, fixture, interrupted, ridgepoint, root, stderr, stdout};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs a command that must fail with this code and say these things, without a panic.
fn fails(args: &[&str], code: i32, parts: &[&str]) {
    let output = ridgepoint(args);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
    assert!(!message.contains("panicked"), "{args:?}: {message}");
    for part in parts {
        assert!(message.contains(part), "{args:?}: {message:?} does not say {part:?}");
    }
}

#[test]
fn text_streams_and_ends() {
    let output = ridgepoint(&["generate", "--prompt", "Once upon a time", "--max-tokens", "900"]);
    let (text, log) = (stdout(&output), stderr(&output));
    assert!(output.status.success(), "{log}");
    assert!(text.split_whitespace().count() > 10, "{text:?}");
    assert!(log.contains("finished: eos"), "a story ends by itself: {log}");
}

#[test]
fn json_has_every_field() {
    let args = ["generate", "--prompt", "The", "--max-tokens", "5", "--json", "--logprobs", "2"];
    let lines = json_lines(&stdout(&ridgepoint(&args)));
    assert_eq!(lines.len(), 1);
    let result = &lines[0];
    assert_eq!(result["tokens"].as_array().unwrap().len(), 5);
    assert_eq!(result["finish_reason"], "length");
    assert!(result["prompt_tokens"].as_u64().unwrap() >= 1);
    for part in ["load", "prefill", "decode"] {
        assert!(result["seconds"][part].as_f64().unwrap() >= 0.0, "{part}");
    }
    let logprobs = result["logprobs"].as_array().unwrap();
    assert_eq!(logprobs.len(), 5);
    // At temperature 0 the drawn token is the most probable one.
    assert_eq!(logprobs[0]["logprob"], logprobs[0]["top"][0][1]);
    assert_eq!(logprobs[0]["top"].as_array().unwrap().len(), 2);
}

#[test]
fn equal_seeds_give_equal_text() {
    let run = |seed: &str| {
        let args = ["generate", "--prompt", "The", "--temperature", "1", "--seed", seed, "--json"];
        json_lines(&stdout(&ridgepoint(&args))).remove(0)["tokens"].clone()
    };
    assert_eq!(run("5"), run("5"));
    assert_ne!(run("5"), run("6"));
}

#[test]
fn stop_strings_are_cut_off() {
    let base = ["generate", "--prompt", "Once upon a time", "--json", "--max-tokens", "40"];
    let whole = json_lines(&stdout(&ridgepoint(&base))).remove(0);
    let text = whole["text"].as_str().unwrap();
    let word = text.split_whitespace().nth(6).unwrap();
    let mut args = base.to_vec();
    args.extend(["--stop", word]);
    let cut = json_lines(&stdout(&ridgepoint(&args))).remove(0);
    assert_eq!(cut["finish_reason"], "stop");
    assert_eq!(cut["text"].as_str().unwrap(), text.split(word).next().unwrap());
    assert!(cut["tokens"].as_array().unwrap().len() < whole["tokens"].as_array().unwrap().len());
}

#[test]
fn a_model_without_tokenizer_works_on_ids() {
    let model = fixture("qwen3_gqa2");
    let model = model.to_str().unwrap();
    let args = ["generate", "--model", model, "--tokens", "1,2,3", "--max-tokens", "4", "--json"];
    let result = json_lines(&stdout(&ridgepoint(&args))).remove(0);
    assert_eq!(result["text"], Value::Null);
    assert_eq!(result["prompt_tokens"], 3);
    fails(&["generate", "--model", model, "--prompt", "x"], 2, &["tokenizer.json", "no such file"]);
    let stop = ["generate", "--model", model, "--tokens", "1", "--stop", "x"];
    fails(&stop, 2, &["stop strings need a tokenizer"]);
}

#[test]
fn a_file_of_prompts_survives_bad_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.jsonl");
    let lines = [
        json!({"id": "a", "prompt": "The", "max_tokens": 3}).to_string(),
        json!({"id": "b", "prompt": "The", "max_tokens": 0}).to_string(),
        "not json".to_string(),
        json!({"id": 4, "tokens": [5, 6], "max_tokens": 2, "temperature": 0.5}).to_string(),
        json!({"id": 5, "tokens": [999_999]}).to_string(),
        json!({"id": 6, "prompt": "x", "tokens": [1]}).to_string(),
        json!({"id": 7, "prompt": "x", "tempreature": 1}).to_string(),
        String::new(),
        json!({"messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 4})
            .to_string(),
    ];
    fs::write(&path, lines.join("\n")).unwrap();
    let output = ridgepoint(&["generate", "--prompts", path.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let results = json_lines(&stdout(&output));
    assert_eq!(results.len(), 8);
    let error = |i: usize| results[i]["error"].as_str().unwrap_or_default();
    assert_eq!(
        (&results[0]["id"], results[0]["tokens"].as_array().unwrap().len()),
        (&json!("a"), 3)
    );
    assert!(results[1]["id"] == "b" && error(1).contains("max_tokens"), "{}", results[1]);
    assert!(results[2]["id"].is_null() && error(2).contains("line 3"), "{}", results[2]);
    assert_eq!(results[3]["tokens"].as_array().unwrap().len(), 2);
    assert!(results[4]["id"] == 5 && error(4).contains("999999"), "{}", results[4]);
    assert!(error(5).contains("exactly one of"), "{}", results[5]);
    assert!(error(6).contains("tempreature"), "{}", results[6]);
    assert_eq!(results[7]["tokens"].as_array().unwrap().len(), 4);
}

#[test]
fn eval_rates_tokens_and_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens.json");
    fs::write(&path, "[[1,2,3,4],[5]]").unwrap();
    let model = fixture("llama2_mha");
    let args = ["eval", "--model", model.to_str().unwrap(), "--tokens", path.to_str().unwrap()];
    let output = ridgepoint(&[&args[..], &["--json"]].concat());
    let results = json_lines(&stdout(&output));
    assert_eq!(results.len(), 2, "{}", stderr(&output));
    assert_eq!(results[0]["nll"].as_array().unwrap().len(), 3);
    assert!(results[0]["perplexity"].as_f64().unwrap() > 1.0);
    assert_eq!((&results[1]["index"], &results[1]["nll"]), (&json!(1), &json!([])));
    assert_eq!(results[1]["perplexity"], Value::Null);
    let text = root().join("models/heldout.txt");
    let perplexity = |phase: &str| {
        let text = text.to_str().unwrap();
        let args = ["eval", "--text", text, "--window", "256", "--json", "--phase", phase];
        let results = json_lines(&stdout(&ridgepoint(&args)));
        assert!(results.len() > 1);
        results[0]["perplexity"].as_f64().unwrap()
    };
    let (prefill, decode) = (perplexity("prefill"), perplexity("decode"));
    assert!((2.0..20.0).contains(&prefill), "{prefill}");
    assert!((prefill - decode).abs() < 1e-3, "{prefill} and {decode}");
}

#[test]
fn mistakes_have_one_message_and_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    };
    let (empty, bad, over) =
        (file("empty", ""), file("bad", "[[1,"), file("over", "[[1,9999999]]"));
    let (none, hollow) = (file("none", "[]"), file("hollow", "[[]]"));
    fails(&["generate"], 2, &["--prompt", "--tokens"]);
    fails(&["generate", "--prompt", "a", "--tokens", "1"], 2, &["cannot be used with"]);
    fails(&["generate", "--prompt", ""], 2, &["the prompt is empty"]);
    fails(&["generate", "--tokens", "999999"], 2, &["999999", "vocabulary"]);
    fails(&["generate", "--tokens", "1,x"], 2, &["invalid value"]);
    fails(&["generate", "--prompt", "a", "--max-tokens", "0"], 2, &["max_tokens is 0"]);
    fails(&["generate", "--prompt", "a", "--context", "1"], 2, &["--context is 1"]);
    fails(&["generate", "--prompt", "a b c d", "--context", "2"], 2, &["the context holds 2"]);
    fails(&["generate", "--prompt", "a", "--temperature", "-1"], 2, &["-1"]);
    fails(&["generate", "--prompt", "a", "--top-p", "0"], 2, &["top_p is 0"]);
    fails(&["generate", "--prompt", "a", "--temperature", "NaN"], 2, &["temperature is NaN"]);
    fails(&["generate", "--prompt", "a", "--logit-bias", "7"], 2, &["ID:X"]);
    fails(&["generate", "--prompt", "a", "--logprobs", "3"], 2, &["--json"]);
    fails(&["generate", "--prompt", "a", "--stop", ""], 2, &["stop string of 0 bytes"]);
    fails(&["generate", "--prompt", "a", "--threads", "0"], 2, &["--threads is 0"]);
    fails(&["generate", "--prompt", "a", "--device", "tpu"], 2, &["tpu", "cpu"]);
    fails(&["generate", "--model", "/nowhere", "--prompt", "a"], 2, &["/nowhere", "no such model"]);
    fails(&["generate", "--prompts", "/nowhere.jsonl"], 2, &["/nowhere.jsonl"]);
    fails(&["generate", "--prompts", &empty], 2, &["no line"]);
    fails(&["eval", "--text", "/nowhere.txt"], 2, &["/nowhere.txt"]);
    fails(&["eval", "--text", &empty], 2, &["an empty file"]);
    fails(&["eval", "--tokens", &bad], 2, &["bad", "array of arrays"]);
    fails(&["eval", "--tokens", &over], 2, &["sequence 0", "9999999"]);
    fails(&["eval", "--tokens", &none], 2, &["no sequence"]);
    fails(&["eval", "--tokens", &hollow], 2, &["sequence 0", "0 tokens"]);
    fails(&["eval", "--text", &bad, "--window", "1"], 2, &["--window is 1"]);
}

/// Copies a fixture, changes its config.json, and runs it.
#[test]
fn checkpoints_that_contradict_their_config_are_refused() {
    let source = fixture("qwen3_gqa2");
    let run = |field: &str, value: Value, code: i32, parts: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let weights = dir.path().join("model.safetensors");
        fs::copy(source.join("model.safetensors"), weights).unwrap();
        let text = fs::read_to_string(source.join("config.json")).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config[field] = value;
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let model = dir.path().to_str().unwrap();
        fails(&["generate", "--model", model, "--tokens", "1"], code, parts);
    };
    let layers = "model.layers.";
    run("num_hidden_layers", json!(7), 2, &[layers, "no such tensor"]);
    run("num_hidden_layers", json!(1), 2, &[layers, "not supported"]);
    run("intermediate_size", json!(64), 2, &["mlp.gate_proj.weight", "shape [64"]);
    run("architectures", json!(["LlamaForCausalLM"]), 2, &["k_norm", "not supported"]);
    run("architectures", json!(["Qwen2ForCausalLM"]), 2, &["norm", "not supported"]);
    run("vocab_size", json!(4_000_000), 2, &["embed_tokens", "shape"]);
}

#[test]
fn output_that_cannot_be_written_is_a_fault() {
    let run = |args: &[&str]| {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output =
            Command::new(binary()).args(args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {message}");
        assert!(message.contains("standard output: cannot write"), "{message}");
    };
    run(&["generate", "--prompt", "The", "--max-tokens", "4"]);
    run(&["generate", "--prompt", "The", "--max-tokens", "4", "--json"]);
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let mut child = Command::new(binary())
        .args(["generate", "--prompt", "The", "--max-tokens", "400", "--ignore-eos"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0u8; 1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_the_request_and_reports_it() {
    let lines = interrupted(&[]);
    assert_eq!(lines.last().expect("the cancelled ones")["finish_reason"], "cancelled");
    assert!(lines.iter().all(|line| !line["tokens"].as_array().unwrap().is_empty()));
}

#[test]
fn a_chat_reads_lines_and_answers() {
    let mut child = Command::new(binary())
        .args(["generate", "--chat", "--json", "--max-tokens", "30"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(b"Tell me a story.\n\nAnother one.\n/reset\nTell me a story.\n/exit\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let answers = json_lines(&stdout(&output));
    assert_eq!(answers.len(), 3);
    let length = |i: usize| answers[i]["prompt_tokens"].as_u64().unwrap();
    assert!(length(1) > length(0), "the second prompt holds the first turn");
    assert_eq!(answers[0]["tokens"], answers[2]["tokens"], "reset forgets");
}

#[test]
fn a_chat_goes_on_after_a_message_that_does_not_fit() {
    let mut child = Command::new(binary())
        .args(["generate", "--chat", "--json", "--context", "40", "--max-tokens", "4"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let long = "a story ".repeat(100);
    write!(child.stdin.take().unwrap(), "{long}\nHello.\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let answers = json_lines(&stdout(&output));
    assert!(answers[0]["error"].as_str().unwrap().contains("the context holds 40"));
    assert_eq!(answers[1]["tokens"].as_array().unwrap().len(), 4);
}

#[test]
fn kernels_are_listed() {
    let output = ridgepoint(&["kernels", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let rows = json_lines(&stdout(&output));
    if cfg!(feature = "cuda") {
        assert!(rows.iter().any(|row| row["symbol"].as_str().unwrap().starts_with("embed_bf16")));
        for key in ["target", "registers", "shared_bytes", "spill_bytes", "ptx_bytes"] {
            assert!(!rows[0][key].is_null(), "{key}");
        }
    } else {
        assert!(rows[0]["error"].as_str().unwrap().contains("no kernels"));
    }
}

#[cfg(feature = "cuda")]
#[test]
fn the_kernels_of_a_device_are_listed_and_the_portable_ones_can_be_forced() {
    let listed = |set: &str| {
        let mut command = Command::new(binary());
        command.args(["kernels", "--device", "sim"]).env("RIDGEPOINT_KERNELS", set);
        let output = command.output().unwrap();
        (output.status.code(), stdout(&output), stderr(&output))
    };
    let has = |text: &str, start: &str, end: &str| {
        let mut symbols = text.lines().filter_map(|line| line.split(' ').next());
        symbols.any(|symbol| symbol.starts_with(start) && symbol.ends_with(end))
    };
    let (_, hopper, _) = listed("");
    assert!(hopper.lines().next().unwrap().ends_with("hopper kernels for sm_90a"), "{hopper}");
    assert!(has(&hopper, "gemm_prefill_bf16_bf16_m256", "_sm90"), "{hopper}");
    assert!(!has(&hopper, "gemm_prefill_", "_m32"), "{hopper}");
    let confirmed =
        ridgepoint::backend::cuda::wgmma::committed().unwrap().iter().any(|result| result.equal);
    let decode = hopper.lines().nth(1).unwrap();
    assert!(decode.starts_with("decode with more than 32 rows uses"), "{hopper}");
    // The kernels of both are there, or those by mma.sync alone.
    let taken = decode.contains("uses wgmma: the probe says 9.0 ");
    assert_eq!(has(&hopper, "gemm_decode_", "_m64_sm90"), taken, "{hopper}");
    assert!(has(&hopper, "gemm_decode_", "_m32") && (confirmed || !taken), "{hopper}");
    let (_, portable, _) = listed("portable");
    assert!(portable.lines().next().unwrap().ends_with("portable kernels for sm_90a"));
    assert!(portable.contains("uses mma.sync: the kernels are the portable ones"), "{portable}");
    assert!(has(&portable, "gemm_prefill_", "_m32") && !has(&portable, "", "_sm90"), "{portable}");
    for (text, family) in [(&hopper, "gemm_decode_"), (&portable, "embed_")] {
        assert!(has(text, family, ""), "{text}");
    }
    let (code, _, error) = listed("ampere");
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("RIDGEPOINT_KERNELS=ampere"), "{error}");
}

#[test]
fn a_draft_changes_no_token_and_a_bad_one_is_refused() {
    let base = ["generate", "--prompt", "The fox", "--max-tokens", "80", "--json", "--ignore-eos"];
    let tokens = |more: &[&str]| {
        let output =
            ridgepoint(&[&base[..], &["--temperature", "0.7", "--seed", "4"], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        json_lines(&stdout(&output))[0]["tokens"].clone()
    };
    let draft = root().join("models/draft");
    let draft = draft.to_str().unwrap();
    let plain = tokens(&[]);
    for more in
        [&["--draft", draft][..], &["--draft", draft, "--depth", "5"], &["--draft", "ngram"]]
    {
        assert_eq!(tokens(more), plain, "{more:?}");
    }
    let cases: [(&[&str], &str); 4] = [
        (&["--draft", "/nowhere"], "/nowhere"),
        (&["--draft", draft, "--depth", "8"], "--depth is 8, expected 0 to 7"),
        (&["--depth", "2"], "--depth needs --draft"),
        (&["--draft", "ngram:max=17"], "max is 17, expected 1 to 16"),
    ];
    for (more, said) in cases {
        fails(&[&base[..], more].concat(), 2, &[said]);
    }
}

#[cfg(feature = "cuda")]
mod devices {
    use super::*;
    use ridgepoint::backend::cuda::driver::device_count;

    #[test]
    fn a_gpu_that_is_not_there_is_named_and_auto_says_why_it_takes_the_processor() {
        let base = ["generate", "--prompt", "The", "--max-tokens", "2"];
        let Err(missing) = device_count() else { return };
        let missing = missing.to_string();
        fails(&[&base[..], &["--device", "cuda"]].concat(), 1, &[&missing]);
        let output = ridgepoint(&base);
        let said = stderr(&output);
        assert!(output.status.success() && said.matches(&missing).count() == 1, "{said}");
        assert!(
            !stderr(&ridgepoint(&[&base[..], &["--device", "cpu"]].concat())).contains(&missing)
        );
    }

    #[test]
    fn the_simulator_gives_the_tokens_of_the_processor() {
        let base = ["generate", "--prompt", "The fox", "--max-tokens", "5", "--json"];
        let sampled = ["--temperature", "0.8", "--top-p", "0.9", "--seed", "3"];
        for more in [&[][..], &sampled[..]] {
            let tokens = |device: &str| {
                let args = [&base[..], more, &["--device", device]].concat();
                let output = ridgepoint(&args);
                assert!(output.status.success(), "{}", stderr(&output));
                json_lines(&stdout(&output))[0]["tokens"].clone()
            };
            assert_eq!(tokens("sim"), tokens("cpu"));
        }
    }

    #[test]
    fn a_model_that_does_not_fit_is_refused_with_a_table() {
        let dir = tempfile::tempdir().unwrap();
        for file in fs::read_dir(root().join("models/target")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
        }
        let path = dir.path().join("config.json");
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        config["max_position_embeddings"] = json!(16_000_000);
        config["num_hidden_layers"] = json!(40);
        fs::write(&path, config.to_string()).unwrap();
        let model = dir.path().to_str().unwrap();
        let args =
            ["generate", "--model", model, "--prompt", "a", "--device", "sim", "--max-tokens"];
        let said = ["KV cache", "weights", "scratch", "in all", "--context"];
        fails(&[&args[..], &["15000000"]].concat(), 1, &said);
    }

    #[test]
    fn shapes_without_a_kernel_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let from = fixture("llama2_mha");
        for file in fs::read_dir(&from).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
        }
        let path = dir.path().join("config.json");
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        config["head_dim"] = json!(32);
        fs::write(&path, config.to_string()).unwrap();
        let model = dir.path().to_str().unwrap();
        let args = ["generate", "--model", model, "--tokens", "1,2", "--device", "sim"];
        fails(&args, 2, &["head_dim 32", "64 and 128", "--device cpu"]);
    }

    #[test]
    fn a_plan_lists_the_launches_of_a_step() {
        let args = ["kernels", "--plan", "models/target", "--gpu", "h100", "--tokens", "100"];
        let model = root().join("models/target");
        let args = args.map(|a| if a == "models/target" { model.to_str().unwrap() } else { a });
        let text = stdout(&ridgepoint(&args));
        // embed, six launches in each of four layers, gather and head.
        assert!(text.contains("27 launches") && text.contains("on h100"), "{text}");
        for op in ["embed", "qkv", "rope_append", "attention", "output", "gate_up", "down", "head"]
        {
            assert!(text.lines().any(|line| line.starts_with(op)), "{op} in {text}");
        }
        let json = json_lines(&stdout(&ridgepoint(&[&args[..], &["--json"]].concat())));
        let launches: u64 = json.iter().map(|line| line["launches"].as_u64().unwrap()).sum();
        assert_eq!(launches, 27);
        assert!(json.iter().all(|line| line["bytes"].as_u64().unwrap() > 0));
        let prefill = [&args[..], &["--phase", "prefill", "--rows", "500"]].concat();
        assert!(stdout(&ridgepoint(&prefill)).contains("attention_prefill"));
        fails(&["kernels", "--plan", "/nowhere"], 2, &["/nowhere"]);
        fails(&[&args[..5], &["--rows", "0"]].concat(), 2, &["--rows is 0"]);
        fails(&[&args[..3], &["--gpu", "abc"]].concat(), 2, &["--gpu is abc", "h200"]);
        fails(&[&args[..3], &["--tokens", "2000"]].concat(), 2, &["2001 tokens", "1024"]);
    }
}
