//! Requests from a file: `{"arrival_s", "prompt_tokens" | "tokens", "max_tokens"}` a line.

use super::workload::{Random, Script, request};
use crate::cli::prompts::read_text;
use crate::error::{Error, Result};
use crate::request::TokenId;
use serde_json::{Map, Value};
use std::path::Path;
use std::time::Duration;

/// Arrivals later than this are in another unit.
const ARRIVAL_S_MAX: f64 = 1e7;
/// The fields of a line.
const FIELDS: [&str; 4] = ["arrival_s", "prompt_tokens", "tokens", "max_tokens"];

/// What the requests of a trace are read for.
pub struct Reader<'a> {
    /// The file, for messages.
    pub path: &'a Path,
    /// How many lines are read, at most.
    pub requests: usize,
    /// Tokens are below it.
    pub vocab_size: usize,
    /// The most tokens of a prompt or an output.
    pub context: usize,
    /// The seed of prompts of which only the length is given.
    pub seed: u64,
}

impl Reader<'_> {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming line and field, [`Error::Io`] if the file cannot be read.
    pub fn read(&self) -> Result<Vec<Script>> {
        self.parse(&read_text(self.path)?)
    }

    /// The same of a text that has been read.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn parse(&self, text: &str) -> Result<Vec<Script>> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let mut random = Random::new(self.seed);
        let mut scripts: Vec<Script> = Vec::new();
        for (number, line) in lines.take(self.requests) {
            let line = Line::parse(line, self, number + 1)?;
            let due = line.arrival()?;
            if let Some(before) = scripts.last().filter(|before| before.due > due) {
                let expected = format!("at least {}, as before it", before.due.as_secs_f64());
                return Err(line.invalid("arrival_s", due.as_secs_f64(), expected));
            }
            let prompt = line.prompt(&mut random)?;
            let max_tokens = line.count("max_tokens")?;
            scripts.push(Script::single(due, request(prompt, max_tokens)));
        }
        match scripts.is_empty() {
            true => Err(Error::invalid(self.path, "content", "no line", "one JSON object a line")),
            false => Ok(scripts),
        }
    }
}

struct Line<'a> {
    reader: &'a Reader<'a>,
    number: usize,
    fields: Map<String, Value>,
}

impl Line<'_> {
    fn parse<'a>(text: &str, reader: &'a Reader<'a>, number: usize) -> Result<Line<'a>> {
        let what = format!("line {number}");
        let fields: Map<String, Value> = serde_json::from_str(text)
            .map_err(|e| Error::invalid(reader.path, what, e, "a JSON object a line"))?;
        let line = Line { reader, number, fields };
        match line.fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            Some(name) => Err(line.invalid(name, "an unknown field", FIELDS.join(", "))),
            None => Ok(line),
        }
    }

    fn invalid(
        &self,
        field: &str,
        found: impl std::fmt::Display,
        expected: impl std::fmt::Display,
    ) -> Error {
        Error::invalid(self.reader.path, format!("line {}, {field}", self.number), found, expected)
    }

    /// What stands in a field, for a message.
    fn found(&self, field: &str) -> String {
        self.fields.get(field).map_or("no such field".to_string(), Value::to_string)
    }

    fn arrival(&self) -> Result<Duration> {
        let seconds = self.fields.get("arrival_s").and_then(Value::as_f64);
        match seconds.filter(|seconds| (0.0..=ARRIVAL_S_MAX).contains(seconds)) {
            Some(seconds) => Ok(Duration::from_secs_f64(seconds)),
            None => {
                let expected = format!("seconds, 0 to {ARRIVAL_S_MAX}");
                Err(self.invalid("arrival_s", self.found("arrival_s"), expected))
            }
        }
    }

    fn count(&self, field: &str) -> Result<usize> {
        let count = self.fields.get(field).and_then(Value::as_u64);
        let most = self.reader.context;
        match count.filter(|count| (1..=most as u64).contains(count)) {
            Some(count) => Ok(count as usize),
            None => {
                let expected = format!("1 to {most}, the context");
                Err(self.invalid(field, self.found(field), expected))
            }
        }
    }

    fn prompt(&self, random: &mut Random) -> Result<Vec<TokenId>> {
        let vocab_size = self.reader.vocab_size;
        let Some(tokens) = self.fields.get("tokens") else {
            return Ok(random.tokens(self.count("prompt_tokens")?, vocab_size));
        };
        if self.fields.contains_key("prompt_tokens") {
            return Err(self.invalid("tokens", "prompt_tokens too", "one of them"));
        }
        let id = |value: &Value| value.as_u64().filter(|&id| id < vocab_size as u64);
        let ids = tokens.as_array().filter(|ids| !ids.is_empty()).and_then(|ids| {
            ids.iter().map(|value| Some(TokenId(id(value)? as u32))).collect::<Option<Vec<_>>>()
        });
        ids.ok_or_else(|| {
            let mut found = tokens.to_string();
            found.truncate(found.char_indices().nth(80).map_or(found.len(), |(at, _)| at));
            self.invalid("tokens", found, format!("token ids below {vocab_size}, at least one"))
        })
    }
}
