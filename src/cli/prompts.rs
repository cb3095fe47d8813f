//! Requests from a file, one JSON object a line, over the defaults of the command line.

use crate::cli::session::Session;
use crate::error::{Error, Result};
use crate::request::{Request, SamplingParams, TokenId};
use crate::text::{ChatTemplate, Message, Tokenizer};
use serde::Deserialize;
use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// A larger file of prompts is refused: it is read whole.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What a line leaves out.
pub struct Defaults {
    /// How tokens are drawn.
    pub sampling: SamplingParams,
    /// The most tokens to generate.
    pub max_tokens: usize,
    /// Stop strings.
    pub stop: Vec<String>,
    /// Whether to go on past end-of-sequence tokens.
    pub ignore_eos: bool,
}

impl Defaults {
    /// A request with these settings.
    pub fn request(&self, prompt: Vec<TokenId>, session: &Session) -> Request {
        Request {
            prompt,
            max_tokens: self.max_tokens,
            sampling: self.sampling.clone(),
            stop: self.stop.clone(),
            stop_tokens: stop_tokens(session, self.ignore_eos),
        }
    }
}

/// One request, or why its line has none.
pub struct Job {
    /// The line's `id`, whatever JSON it is.
    pub id: Option<Value>,
    /// The request.
    pub request: Result<Request>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[allow(dead_code)] // read before, so that a bad line can be named too
    id: Option<Value>,
    prompt: Option<String>,
    tokens: Option<Vec<TokenId>>,
    messages: Option<Vec<Message>>,
    max_tokens: Option<usize>,
    temperature: Option<f32>,
    top_k: Option<u32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    logit_bias: Option<std::collections::BTreeMap<u32, f32>>,
    seed: Option<u64>,
    logprobs: Option<u32>,
    stop: Option<OneOrMany>,
    ignore_eos: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Encodes a prompt's text with the special tokens the tokenizer adds.
pub fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<TokenId>> {
    if text.is_empty() {
        return Err(Error::Request("the prompt is empty, expected at least one token".to_string()));
    }
    tokenizer.encode(text, true)
}

/// Reads every line of `path` (`-` is standard input). Blank lines are skipped; a bad line becomes
/// a job that carries its error.
pub fn read(path: &Path, session: &Session, defaults: &Defaults) -> Result<Vec<Job>> {
    let text = read_text(path)?;
    let template = ChatTemplate::load(&session.dir)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let jobs: Vec<Job> = lines
        .map(|(number, line)| {
            let id = serde_json::from_str::<Value>(line).ok().and_then(|v| v.get("id").cloned());
            let request = parse(line, session, template.as_ref(), defaults).map_err(|error| {
                Error::Request(format!("{} line {}: {error}", path.display(), number + 1))
            });
            Job { id, request }
        })
        .collect();
    match jobs.is_empty() {
        true => Err(Error::invalid(path, "content", "no line", "one JSON object a line")),
        false => Ok(jobs),
    }
}

/// The text of a file, or of standard input for `-`, that is not absurdly large.
pub fn read_text(path: &Path) -> Result<String> {
    let mut text = String::new();
    let limit = FILE_BYTES_MAX + 1;
    let read = match path.as_os_str() == "-" {
        true => std::io::stdin().lock().take(limit).read_to_string(&mut text),
        false => {
            std::fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text))
        }
    };
    let read = read.map_err(Error::io(path, "cannot read the prompts"))?;
    match read as u64 > FILE_BYTES_MAX {
        true => {
            let found = format!("more than {FILE_BYTES_MAX} bytes");
            Err(Error::invalid(path, "file size", found, "several smaller files"))
        }
        false => Ok(text),
    }
}

fn parse(
    line: &str,
    session: &Session,
    template: Option<&ChatTemplate>,
    defaults: &Defaults,
) -> Result<Request> {
    let line: Line = serde_json::from_str(line)
        .map_err(|e| Error::Request(format!("not a request object: {e}")))?;
    let prompt = match (&line.prompt, &line.tokens, &line.messages) {
        (Some(text), None, None) => encode(session.tokenizer()?, text)?,
        (None, Some(ids), None) => ids.clone(),
        (None, None, Some(messages)) => {
            let template = template.ok_or_else(|| no_template(&session.dir))?;
            session.tokenizer()?.encode(&template.render(messages, true)?, false)?
        }
        _ => {
            let message = "expected exactly one of \"prompt\", \"tokens\" and \"messages\"";
            return Err(Error::Request(message.to_string()));
        }
    };
    let request = Request {
        prompt,
        max_tokens: line.max_tokens.unwrap_or(defaults.max_tokens),
        stop: match &line.stop {
            None => defaults.stop.clone(),
            Some(OneOrMany::One(stop)) => vec![stop.clone()],
            Some(OneOrMany::Many(stops)) => stops.clone(),
        },
        stop_tokens: stop_tokens(session, line.ignore_eos.unwrap_or(defaults.ignore_eos)),
        sampling: line.sampling(&defaults.sampling),
    };
    Ok(request)
}

impl Line {
    fn sampling(&self, defaults: &SamplingParams) -> SamplingParams {
        let bias = self.logit_bias.as_ref();
        SamplingParams {
            temperature: self.temperature.unwrap_or(defaults.temperature),
            top_k: self.top_k.unwrap_or(defaults.top_k),
            top_p: self.top_p.unwrap_or(defaults.top_p),
            min_p: self.min_p.unwrap_or(defaults.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(defaults.repetition_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(defaults.frequency_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(defaults.presence_penalty),
            logit_bias: match bias {
                Some(bias) => bias.iter().map(|(&id, &bias)| (TokenId(id), bias)).collect(),
                None => defaults.logit_bias.clone(),
            },
            seed: self.seed.unwrap_or(defaults.seed),
            logprobs: self.logprobs.or(defaults.logprobs),
        }
    }
}

fn stop_tokens(session: &Session, ignore_eos: bool) -> Vec<TokenId> {
    if ignore_eos { Vec::new() } else { session.config.eos.clone() }
}

/// The error of a model directory without a chat template.
pub fn no_template(dir: &Path) -> Error {
    let expected = "chat_template.jinja, or a chat_template in tokenizer_config.json";
    Error::invalid(dir, "chat template", "none", expected)
}
