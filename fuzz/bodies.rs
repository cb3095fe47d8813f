//! What each fuzz target does with its input. The tests replay the corpora with the same bodies.
//!
//! No input may panic, and what is accepted must hold what the rest of the engine builds on.

#[path = "prefix.rs"]
mod prefix;

pub use prefix::prefix;

use ridgepoint::error::Error;
use ridgepoint::load::Quantization;
use ridgepoint::load::fields::Fields;
use ridgepoint::load::safetensors::parse_header;
use ridgepoint::model::config::ModelConfig;
use ridgepoint::request::TokenId;
use ridgepoint::tensor::MatrixFormat;
use ridgepoint::text::{ChatTemplate, Detokenizer, Message, RenderOptions, Tokenizer};
use serde_json::{Map, Value, json};
use std::path::Path;

/// What a target does with an input.
pub type Body = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Body); 6] = [
    ("safetensors_header", safetensors_header),
    ("config_json", config_json),
    ("quantization_config", quantization_config),
    ("chat_template", chat_template),
    ("tokenizer_json", tokenizer_json),
    ("prefix", prefix),
];

/// A whole file of weights: every tensor lies in it, as long as its shape says.
pub fn safetensors_header(data: &[u8]) {
    let Ok(header) = parse_header(data, Path::new("fuzz.safetensors")) else { return };
    for (name, entry) in header {
        let bytes = &data[entry.range.clone()];
        if let Some(dtype) = entry.dtype {
            let elements: usize = entry.shape.iter().product();
            assert_eq!(bytes.len(), elements * dtype.size(), "tensor {name}");
        }
    }
}

/// A `config.json`: what is accepted can be calculated with.
pub fn config_json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(config) = ModelConfig::parse(text, Path::new("config.json")) else { return };
    assert!(config.vocab_size > 0 && config.context > 0, "{config:?}");
    for token in &config.eos {
        assert!(token.index() < config.vocab_size, "{config:?}");
    }
}

/// A `quantization_config`, and after an empty line a module that it may mean: what is accepted is
/// of 4 bits, or of 8 for the head, in groups that devices know.
pub fn quantization_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, module) = text.split_once("\n\n").unwrap_or((text, "model.layers.0.mlp.up_proj"));
    let text = format!("{{\"quantization_config\": {text}}}");
    let Ok(fields) = Fields::parse(&text, Path::new("config.json")) else { return };
    let Ok(Some(quantization)) = Quantization::parse(&fields) else { return };
    assert!(!quantization.to_string().is_empty());
    for module in [module, "lm_head", "model.layers.10.self_attn.q_proj"] {
        let declared = quantization.declared(&format!("{module}.weight"), [64, 192]);
        match declared {
            Ok(Some(MatrixFormat::Int4 { group, .. })) => {
                assert!(group == 64 || group == 192 || group % 128 == 0, "{module}: {group}");
            }
            Ok(Some(MatrixFormat::Int8)) => assert_eq!(module, "lm_head"),
            Ok(Some(other)) => panic!("{module} is declared {other}"),
            Ok(None) | Err(_) => {}
        }
    }
}

/// A chat template on a conversation with all kinds of messages.
pub fn chat_template(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let path = Path::new("chat_template.jinja");
    let mut tokens = Map::new();
    tokens.insert("bos_token".to_string(), json!("<s>"));
    tokens.insert("eos_token".to_string(), json!({"content": "</s>"}));
    let template = match ChatTemplate::compile(source, path, &tokens) {
        Ok(template) => template,
        Err(error) => return refused(&error),
    };
    let parts = json!([{"type": "text", "text": "so"}, {"type": "image", "url": null}]);
    let mut call = Message::new("assistant", "");
    call.content = Some(Value::Null);
    call.rest
        .insert("tool_calls".to_string(), json!([{"function": {"name": "f", "arguments": {}}}]));
    let mut messages = vec![
        Message::new("system", "Be brief."),
        Message::new("user", "Grüße <b>&'\"\\\n"),
        call,
        Message::new("tool", "1"),
    ];
    messages.push(Message { content: Some(parts), ..Message::new("user", "") });
    let options = RenderOptions {
        add_generation_prompt: true,
        tools: json!([{"name": "f", "parameters": {"a": [1, 2.5, null, true]}}]),
        now_unix_s: Some(0),
        ..RenderOptions::default()
    };
    match template.render_with(&messages, &options) {
        Ok(text) => assert!(text.len() <= 16 << 20),
        Err(error) => refused(&error),
    }
}

fn refused(error: &Error) {
    assert!(matches!(error, Error::Template { .. }), "{error:?}");
    assert!(error.to_string().starts_with("chat_template.jinja: "), "{error}");
}

/// A `tokenizer.json`: what is loaded encodes to ids that it knows, and decodes whatever it is
/// told.
pub fn tokenizer_json(data: &[u8]) {
    const ROWS: usize = 1000;
    let Ok(tokenizer) = Tokenizer::parse(data, Path::new("tokenizer.json"), ROWS) else { return };
    if let Ok(ids) = tokenizer.encode(" The café 日本\n<0x41> ", true) {
        assert!(ids.iter().all(|id| id.index() < ROWS), "{ids:?}");
        // A decoder that fails is an error of the request, not a crash.
        let _ = tokenizer.decode(&ids);
    }
    let Ok(mut detokenizer) = Detokenizer::new(&tokenizer, &[TokenId(1)]) else { return };
    for id in 0..64 {
        if detokenizer.push(TokenId(id)).is_err() {
            return;
        }
    }
    detokenizer.finish();
}
