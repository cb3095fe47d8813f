//! Encoding and decoding against transformers, and files that are refused.

use super::{TOKENIZERS, ids, list, load};
use crate::common::{fixture, root};
use ridgepoint::request::TokenId;
use ridgepoint::text::Tokenizer;
use std::fs;

#[test]
fn encodes_and_decodes_as_transformers() {
    for name in TOKENIZERS {
        let (tokenizer, expected) = load(name);
        assert_eq!(tokenizer.vocab_size() as u64, expected["vocab_size"].as_u64().unwrap());
        for case in list(&expected, "encode") {
            let text = case["text"].as_str().unwrap();
            let found = tokenizer.encode(text, true).unwrap();
            assert_eq!(found, ids(&case["ids"]), "{name}: {text:?}");
            let plain = tokenizer.encode(text, false).unwrap();
            assert_eq!(plain, ids(&case["ids_plain"]), "{name}: {text:?}");
            let decoded = tokenizer.decode(&plain).unwrap();
            assert_eq!(decoded, case["decoded"].as_str().unwrap(), "{name}: {text:?}");
        }
        for case in list(&expected, "decode") {
            let found = tokenizer.decode(&ids(&case["ids"])).unwrap();
            assert_eq!(found, case["decoded"].as_str().unwrap(), "{name}: {}", case["ids"]);
        }
    }
}

#[test]
fn finds_tokens_by_name() {
    let (tokenizer, _) = load("tokenizer");
    assert_eq!(tokenizer.token_id("<|stop|>"), Some(TokenId(417)));
    assert_eq!(tokenizer.token_id("no such token"), None);
}

#[test]
fn ignores_truncation_and_padding() {
    let text = fs::read_to_string(fixture("tokenizer/tokenizer.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["truncation"] = serde_json::json!({
        "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0
    });
    json["padding"] = serde_json::json!({
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "!"
    });
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
    let found = Tokenizer::load(dir.path(), 1000).unwrap();
    let (tokenizer, _) = load("tokenizer");
    let text = "The river rises in the hills.";
    assert_eq!(found.encode(text, true).unwrap(), tokenizer.encode(text, true).unwrap());
}

#[test]
fn names_the_file_and_the_fault() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    let refused = |rows: usize, parts: &[&str]| {
        let message = Tokenizer::load(dir.path(), rows).unwrap_err().to_string();
        for part in parts.iter().chain(&["tokenizer.json"]) {
            assert!(message.contains(part), "{message:?} does not say {part:?}");
        }
        assert!(!message.contains('\n'), "more than a line: {message:?}");
    };
    refused(10, &["no such file"]);
    fs::write(&path, "{\"version\": 1").unwrap();
    refused(10, &["found", "expected a tokenizer.json"]);
    fs::write(&path, "[]").unwrap();
    refused(10, &["expected a tokenizer.json"]);
    fs::copy(fixture("tokenizer/tokenizer.json"), &path).unwrap();
    refused(419, &["id 419", "\"</think>\"", "ids below 419"]);
    assert!(Tokenizer::load(dir.path(), 420).is_ok());
    fs::write(&path, r#"{"decoder": {"type": "\\ud800"}}"#).unwrap();
    refused(10, &["line 1", "expected a tokenizer.json"]);
    let huge = fs::File::create(&path).unwrap();
    huge.set_len((256 << 20) + 1).unwrap();
    refused(10, &["file size", "at most 268435456 bytes"]);
}

/// The decoder is told to cut more characters than there are, at which the library panics.
#[test]
fn a_panic_of_the_library_is_an_error() {
    let path = root().join("fuzz/corpus/tokenizer_json/strip_more_than_there_is.json");
    let tokenizer = Tokenizer::parse(&fs::read(&path).unwrap(), &path, 1000).unwrap();
    let error = tokenizer.decode(&[TokenId(3)]).unwrap_err();
    assert!(error.to_string().contains("tokenizers library"), "{error}");
}

#[test]
fn is_shared_between_threads() {
    let (tokenizer, _) = load("tokenizer");
    let text = "a tokenizer is cheap to clone";
    let expected = tokenizer.encode(text, false).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (tokenizer, expected) = (tokenizer.clone(), &expected);
            scope.spawn(move || assert_eq!(&tokenizer.encode(text, false).unwrap(), expected));
        }
    });
}
