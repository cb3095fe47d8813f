//! Typed access to the fields of a JSON object, with messages that name file and field.
//!
//! A field that is null counts as absent, as the published checkpoints use it.

use crate::error::{Error, Result};
use crate::request::TokenId;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;

/// More ids than any model has to end its sequences.
const TOKEN_IDS_MAX: usize = 1024;

/// One object of a JSON file.
pub struct Fields<'a> {
    object: Cow<'a, Map<String, Value>>,
    path: &'a Path,
    /// `""` at the top, else the object's own name and a dot.
    prefix: String,
}

impl<'a> Fields<'a> {
    /// Parses `json`, which must be an object.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the parser's line and column.
    pub fn parse(json: &str, path: &'a Path) -> Result<Fields<'a>> {
        match serde_json::from_str(json) {
            Ok(Value::Object(object)) => {
                Ok(Fields { object: Cow::Owned(object), path, prefix: String::new() })
            }
            Ok(other) => Err(Error::invalid(path, "content", shown(&other), "a JSON object")),
            Err(e) => Err(Error::invalid(path, "content", e, "a JSON object")),
        }
    }

    /// An [`Error::Invalid`] about the field `name`.
    pub fn invalid(&self, name: &str, found: impl Display, expected: impl Display) -> Error {
        Error::invalid(self.path, format!("{}{name}", self.prefix), found, expected)
    }

    /// An [`Error::Unsupported`] about this file.
    pub fn unsupported(&self, what: impl Into<String>, supported: &str) -> Error {
        Error::Unsupported {
            path: self.path.to_path_buf(),
            what: what.into(),
            supported: supported.to_string(),
        }
    }

    /// An [`Error::Unsupported`] about the field `name`, which is `found`.
    pub fn refusal(&self, name: &str, found: &str, supported: &str) -> Error {
        self.unsupported(format!("{}{name} {found}", self.prefix), supported)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.path
    }

    /// A field's name with those of the objects that it is in.
    pub fn prefixed(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// Whether the field is there and not null.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A size: a whole number from 1 to `max`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is absent or anything else; likewise in the methods below.
    pub fn size(&self, name: &str, max: usize) -> Result<usize> {
        self.whole(name, 1, max)
    }

    /// A size, or `default` if it is absent.
    pub fn size_or(&self, name: &str, max: usize, default: usize) -> Result<usize> {
        if self.has(name) { self.whole(name, 1, max) } else { Ok(default) }
    }

    /// A whole number from 0 to `max`, or `default` if it is absent.
    pub fn count_or(&self, name: &str, max: usize, default: usize) -> Result<usize> {
        if self.has(name) { self.whole(name, 0, max) } else { Ok(default) }
    }

    fn whole(&self, name: &str, min: usize, max: usize) -> Result<usize> {
        let expected = || format!("a whole number from {min} to {max}");
        let value =
            self.get(name).ok_or_else(|| self.invalid(name, "no such field", expected()))?;
        value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| (min..=max).contains(n))
            .ok_or_else(|| self.invalid(name, shown(value), expected()))
    }

    /// A finite number.
    pub fn number(&self, name: &str) -> Result<f64> {
        let value =
            self.get(name).ok_or_else(|| self.invalid(name, "no such field", "a number"))?;
        value
            .as_f64()
            .filter(|n| n.is_finite())
            .ok_or_else(|| self.invalid(name, shown(value), "a number"))
    }

    /// A finite number, or `default` if it is absent.
    pub fn number_or(&self, name: &str, default: f64) -> Result<f64> {
        if self.has(name) { self.number(name) } else { Ok(default) }
    }

    /// true or false, or `default` if it is absent.
    pub fn flag_or(&self, name: &str, default: bool) -> Result<bool> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.invalid(name, shown(other), "true or false")),
        }
    }

    /// A string, if it is there.
    pub fn string(&self, name: &str) -> Result<Option<String>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.invalid(name, shown(other), "a string")),
        }
    }

    /// A list of strings, if it is there.
    pub fn strings(&self, name: &str) -> Result<Option<Vec<String>>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let strings = value.as_array().and_then(|items| {
            items.iter().map(|item| item.as_str().map(str::to_string)).collect::<Option<Vec<_>>>()
        });
        match strings {
            Some(strings) => Ok(Some(strings)),
            None => Err(self.invalid(name, shown(value), "a list of strings")),
        }
    }

    /// The first of a list of strings, if there is one.
    pub fn first_string(&self, name: &str) -> Result<Option<String>> {
        Ok(self.strings(name)?.and_then(|strings| strings.into_iter().next()))
    }

    /// An object inside this one, if it is there.
    pub fn object(&self, name: &str) -> Result<Option<Fields<'_>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(Fields {
                object: Cow::Borrowed(object),
                path: self.path,
                prefix: format!("{}{name}.", self.prefix),
            })),
            Some(other) => Err(self.invalid(name, shown(other), "an object")),
        }
    }

    /// A whole number of `range`, or `default` if it is absent.
    pub fn integer_or(&self, name: &str, range: RangeInclusive<i64>, default: i64) -> Result<i64> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value.as_i64().filter(|n| range.contains(n)).ok_or_else(|| {
            let (low, high) = (range.start(), range.end());
            self.invalid(name, shown(value), format!("a whole number from {low} to {high}"))
        })
    }

    /// The names of all fields, in the order of the file.
    pub fn names(&self) -> Vec<String> {
        self.object.keys().cloned().collect()
    }

    /// The field as a message shows it, if it is there.
    pub fn shown(&self, name: &str) -> Option<String> {
        self.get(name).map(shown)
    }

    /// Whether the field is there and no empty object.
    pub fn says(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.as_object().is_none_or(|o| !o.is_empty()))
    }

    /// One token id or a list of them, each below `vocab_size`, if the field is there.
    pub fn token_ids(&self, name: &str, vocab_size: usize) -> Result<Option<Vec<TokenId>>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let items = match value {
            Value::Array(items) if items.len() <= TOKEN_IDS_MAX => items.as_slice(),
            Value::Number(_) => std::slice::from_ref(value),
            other => return Err(self.invalid(name, shown(other), "a token id or a list of them")),
        };
        let id = |item: &Value| {
            let id = item.as_u64().filter(|&id| id < vocab_size as u64);
            let expected = || format!("token ids below vocab_size {vocab_size}");
            id.map(|id| TokenId(id as u32))
                .ok_or_else(|| self.invalid(name, shown(item), expected()))
        };
        items.iter().map(id).collect::<Result<Vec<_>>>().map(Some)
    }
}

/// A value as a message shows it: short, whatever the file holds.
fn shown(value: &Value) -> String {
    const CHARS: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
