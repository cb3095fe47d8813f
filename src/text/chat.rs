//! Chat templates: the Jinja program of a model that turns messages into a prompt.
//!
//! What transformers renders is the measure. A template is a program from a stranger (SGLang
//! CVE-2026-5760, vLLM CVE-2025-62426): it sees the messages and nothing else, and has a budget of
//! steps and bytes, a limit on recursion and one on its output.

mod environment;
mod methods;
mod strftime;
mod tojson;

use crate::error::{Error, Result};
use crate::text::file;
use minijinja::Environment;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

const TEMPLATE_BYTES_MAX: u64 = 1 << 20;
/// Besides the template it may list every added token.
const CONFIG_BYTES_MAX: u64 = 64 << 20;
/// The variables that transformers gives a template if the tokenizer's configuration has them.
const TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The time in UTC, as strftime's pattern has it.
pub fn utc_now(pattern: &str) -> String {
    strftime::format(pattern, strftime::now_unix_s())
}

/// One message of a conversation. What else a message has (`name`, `tool_calls` and so on) is
/// passed to the template as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant` or what else the template knows.
    pub role: String,
    /// A string, or a list of typed parts if the template knows those. Absent and null differ.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub content: Option<Value>,
    /// All other fields.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Reads a field that is there: null is a value too.
fn present<'de, D: Deserializer<'de>>(field: D) -> std::result::Result<Option<Value>, D::Error> {
    Value::deserialize(field).map(Some)
}

impl Message {
    /// A message of plain text.
    pub fn new(role: impl Into<String>, text: impl Into<String>) -> Message {
        Message { role: role.into(), content: Some(Value::String(text.into())), rest: Map::new() }
    }
}

/// What a template gets besides the messages.
#[derive(Debug, Clone, Default)]
pub struct RenderOptions {
    /// Whether to end with the beginning of the assistant's answer.
    pub add_generation_prompt: bool,
    /// Tools that may be called, as JSON schemas; null for none.
    pub tools: Value,
    /// More variables, such as `enable_thinking`; they win over the special tokens.
    pub variables: Map<String, Value>,
    /// What `strftime_now` tells, in seconds since 1970; `None` for the real time.
    pub now_unix_s: Option<u64>,
}

/// A compiled chat template with the special tokens of its tokenizer.
#[derive(Debug)]
pub struct ChatTemplate {
    path: PathBuf,
    environment: Environment<'static>,
    tokens: Map<String, Value>,
}

impl ChatTemplate {
    /// Reads the template of a model directory: `chat_template.jinja`, or `chat_template` in
    /// `tokenizer_config.json` (a string, or a list of named templates, of which `default` is
    /// taken). `None` if there is neither.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Invalid`] for files that cannot be read, [`Error::Template`] with
    /// file and line for a template that does not compile.
    pub fn load(dir: &Path) -> Result<Option<ChatTemplate>> {
        let config_path = dir.join("tokenizer_config.json");
        let config = match file::read_text(&config_path, CONFIG_BYTES_MAX)? {
            None => Map::new(),
            Some(text) => serde_json::from_str(&text)
                .map_err(|error| Error::invalid(&config_path, "content", error, "a JSON object"))?,
        };
        let path = dir.join("chat_template.jinja");
        if let Some(source) = file::read_text(&path, TEMPLATE_BYTES_MAX)? {
            return ChatTemplate::compile(&source, &path, &config).map(Some);
        }
        match source_in(&config, &config_path)? {
            Some(source) => ChatTemplate::compile(source, &config_path, &config).map(Some),
            None => Ok(None),
        }
    }

    /// Compiles a template. `path` is for messages; `config` is the content of
    /// `tokenizer_config.json`, for its special tokens.
    ///
    /// # Errors
    /// [`Error::Template`] with the line.
    pub fn compile(source: &str, path: &Path, config: &Map<String, Value>) -> Result<ChatTemplate> {
        if source.len() as u64 > TEMPLATE_BYTES_MAX {
            let message = format!("{} bytes, at most {TEMPLATE_BYTES_MAX}", source.len());
            return Err(Error::Template { path: path.to_path_buf(), message });
        }
        let environment = environment::build(source)
            .map_err(|message| Error::Template { path: path.to_path_buf(), message })?;
        let token = |&name: &&str| Some((name.to_string(), spelling(config.get(name)?)?));
        let tokens = TOKENS.iter().filter_map(token).collect();
        Ok(ChatTemplate { path: path.to_path_buf(), environment, tokens })
    }

    /// The prompt for `messages`; with `add_generation_prompt` it ends with the beginning of the
    /// assistant's answer.
    ///
    /// # Errors
    /// [`Error::Template`] if the template refuses the messages, fails, or exceeds a limit.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        self.render_with(
            messages,
            &RenderOptions { add_generation_prompt, ..RenderOptions::default() },
        )
    }

    /// As [`ChatTemplate::render`], with tools and variables.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_with(&self, messages: &[Message], options: &RenderOptions) -> Result<String> {
        let mut context = environment::Context::default();
        for (name, value) in self.tokens.iter().chain(&options.variables) {
            context.set(name, value);
        }
        context.set("messages", &messages);
        context.set("tools", &options.tools);
        context.set("documents", &Value::Null);
        context.set("add_generation_prompt", &options.add_generation_prompt);
        let now = options.now_unix_s.unwrap_or_else(strftime::now_unix_s);
        environment::render(&self.environment, context, now)
            .map_err(|message| Error::Template { path: self.path.clone(), message })
    }
}

/// A special token's text: a string, or an object with `content`.
fn spelling(token: &Value) -> Option<Value> {
    let text = token.as_str().or_else(|| token.get("content")?.as_str())?;
    Some(Value::String(text.to_string()))
}

/// The `chat_template` of a tokenizer's configuration.
fn source_in<'a>(config: &'a Map<String, Value>, path: &Path) -> Result<Option<&'a str>> {
    let expected = "a string, or a list of {name, template} with one named \"default\"";
    let invalid = |found: String| Error::invalid(path, "chat_template", found, expected);
    match config.get("chat_template") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(source)) => Ok(Some(source)),
        Some(Value::Array(named)) => {
            let name = |entry: &'a Value| entry.get("name")?.as_str();
            let default = named.iter().find(|&entry| name(entry) == Some("default"));
            let source = default.and_then(|entry| entry.get("template")?.as_str());
            let names = || named.iter().filter_map(name).collect::<Vec<_>>().join(", ");
            source.map(Some).ok_or_else(|| invalid(format!("a list of [{}]", names())))
        }
        Some(_) => Err(invalid("neither".to_string())),
    }
}
