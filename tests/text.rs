//! Tokenizer, incremental decoding, stop strings and chat templates.

mod chat;
mod detokenize;
mod limits;
mod stop;
mod tokenizer;

use crate::common::fixture;
use ridgepoint::request::TokenId;
use ridgepoint::text::Tokenizer;
use serde_json::Value;

const TOKENIZERS: [&str; 3] = ["tokenizer", "tokenizer_bytefallback", "tokenizer_metaspace"];

/// A fixture's tokenizer and what the reference makes of texts and ids.
fn load(name: &str) -> (Tokenizer, Value) {
    let dir = fixture(name);
    let expected = std::fs::read_to_string(dir.join("expected.json")).unwrap();
    (Tokenizer::load(&dir, 1000).unwrap(), serde_json::from_str(&expected).unwrap())
}

fn ids(value: &Value) -> Vec<TokenId> {
    value.as_array().unwrap().iter().map(|id| TokenId(id.as_u64().unwrap() as u32)).collect()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    let list = value[key].as_array().unwrap();
    assert!(!list.is_empty(), "no {key}");
    list
}
