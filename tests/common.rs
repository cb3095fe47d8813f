//! What several test modules share: where files are, and how to run the binary.

use ridgepoint::model::ModelConfig;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The project's root. A bundle on another machine names its own by `RIDGEPOINT_ROOT`.
pub fn root() -> PathBuf {
    match std::env::var_os("RIDGEPOINT_ROOT") {
        Some(root) => root.into(),
        None => env!("CARGO_MANIFEST_DIR").into(),
    }
}

/// A directory under `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures").join(name)
}

/// The binary: where a bundle says it is, or where cargo put it.
pub fn binary() -> PathBuf {
    match std::env::var_os("RIDGEPOINT_BIN") {
        Some(path) => path.into(),
        None => env!("CARGO_BIN_EXE_ridgepoint").into(),
    }
}

/// Runs the binary to its end.
pub fn ridgepoint(args: &[&str]) -> Output {
    Command::new(binary()).args(args).output().expect("the binary starts")
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("stdout is UTF-8")
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("stderr is UTF-8")
}

/// `config.json` of Llama-3.1-8B, but for its rotary scaling, which changes no size.
pub const LLAMA_8B: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 4096,
    "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8,
    "num_hidden_layers": 32, "vocab_size": 128256, "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0, "max_position_embeddings": 131072, "hidden_act": "silu",
    "tie_word_embeddings": false, "torch_dtype": "bfloat16"}"#;

/// Llama-3.1-8B.
pub fn llama_8b() -> ModelConfig {
    ModelConfig::parse(LLAMA_8B, Path::new("config.json")).expect("a sound configuration")
}

/// What `generate --json` with `more` still prints after its first result when it is then
/// interrupted, while other requests run beside it; the code of that exit is checked.
#[cfg(unix)]
pub fn interrupted(more: &[&str]) -> Vec<Value> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("p.jsonl");
    // The first ends long before the others.
    let line = |tokens: usize| json!({"prompt": "The", "max_tokens": tokens, "ignore_eos": true});
    let prompts = format!("{}\n{}", line(40), format!("{}\n", line(1900)).repeat(199));
    std::fs::write(&path, prompts).expect("the prompts are written");
    let mut child = Command::new(binary())
        .args(["generate", "--json", "--prompts"])
        .arg(&path)
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    lines.next().expect("a first result").expect("it is text");
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("kill starts").success());
    let value = |line: std::io::Result<String>| serde_json::from_str(&line.expect("it is text"));
    let rest: Vec<Value> = lines.map(|line| value(line).expect("it is JSON")).collect();
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(rest.len() < 199, "all results were complete");
    rest
}
