//! The tokenizer of a model directory: `tokenizer.json`, by Hugging Face's own library.

use crate::error::{Error, Result};
use crate::request::TokenId;
use crate::text::file;
use crate::text::syntax::AnyJson;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

/// The largest published files are below 40 MB.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// What incremental decoding needs to know of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// Has no text in decoded output: a special token, or an id that is not in the vocabulary.
    Silent,
    /// One byte of a character that the vocabulary does not have, spelled `<0x..>`.
    Byte(u8),
    /// Anything else.
    Text,
}

#[derive(Debug)]
struct Inner {
    tokenizer: tokenizers::Tokenizer,
    /// By id.
    pieces: Vec<Piece>,
    /// Some token that has text even where it is the first.
    word: Option<TokenId>,
}

/// Text to tokens and back. Cheap to clone, and shared between threads.
#[derive(Debug, Clone)]
pub struct Tokenizer(Arc<Inner>);

impl Tokenizer {
    /// Reads `tokenizer.json` of a model directory whose embedding has `embedding_rows` rows.
    /// Truncation and padding, which the file may ask for, are switched off.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Invalid`]: no such file, not a tokenizer, or a token whose id has
    /// no row in the embedding.
    pub fn load(dir: &Path, embedding_rows: usize) -> Result<Tokenizer> {
        let path = dir.join("tokenizer.json");
        let bytes = file::read(&path, FILE_BYTES_MAX)?.ok_or_else(|| {
            Error::invalid(&path, "tokenizer", "no such file", "a tokenizer.json")
        })?;
        Tokenizer::parse(&bytes, &path, embedding_rows)
    }

    /// As [`Tokenizer::load`], from the content of the file; `path` is for messages.
    ///
    /// # Errors
    /// As [`Tokenizer::load`].
    pub fn parse(bytes: &[u8], path: &Path, embedding_rows: usize) -> Result<Tokenizer> {
        let expected = "a tokenizer.json as the tokenizers library writes it";
        serde_json::from_slice::<AnyJson>(bytes)
            .map_err(|error| Error::invalid(path, "tokenizer", error, expected))?;
        let mut tokenizer = contained(|| tokenizers::Tokenizer::from_bytes(bytes))
            .map_err(|error| Error::invalid(path, "tokenizer", error, expected))?;
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|error| Error::invalid(path, "truncation", error, "none"))?;
        let vocab = tokenizer.get_vocab(true);
        // Of equal ids, the token that sorts first: the message should not change from run to run.
        let last = vocab.iter().max_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0)));
        if let Some((token, &id)) = last
            && id as usize >= embedding_rows
        {
            let found = format!("id {id} for token {token:?}");
            let expected = format!("ids below {embedding_rows}, the rows of the embedding");
            return Err(Error::invalid(path, "token ids", found, expected));
        }
        let pieces = pieces(&tokenizer, last.map_or(0, |(_, &id)| id as usize + 1));
        let word = word(&tokenizer, &pieces);
        Ok(Tokenizer(Arc::new(Inner { tokenizer, pieces, word })))
    }

    /// The tokens of `text`; with `add_special` also those that the tokenizer's post-processor puts
    /// around it, such as a beginning-of-sequence token. A rendered chat template has them already.
    ///
    /// # Errors
    /// [`Error::Request`] if the tokenizer has no token for a part of the text.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<TokenId>> {
        let encoding = contained(|| self.0.tokenizer.encode_fast(text, add_special))
            .map_err(|error| Error::Request(format!("the text cannot be tokenized: {error}")))?;
        Ok(encoding.get_ids().iter().map(|&id| TokenId(id)).collect())
    }

    /// The text of `ids`, without special tokens. Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`Error::Request`] if the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[TokenId]) -> Result<String> {
        let ids: Vec<u32> = ids.iter().map(|id| id.0).collect();
        let text = contained(|| self.0.tokenizer.decode(&ids, true));
        text.map_err(|error| Error::Request(format!("the tokens cannot be decoded: {error}")))
    }

    /// The id of a token by its exact spelling, special tokens included.
    pub fn token_id(&self, token: &str) -> Option<TokenId> {
        self.0.tokenizer.token_to_id(token).map(TokenId)
    }

    /// How many tokens there are, added ones included. Ids may have gaps and reach further.
    pub fn vocab_size(&self) -> usize {
        self.0.tokenizer.get_vocab_size(true)
    }

    pub(super) fn piece(&self, id: TokenId) -> Piece {
        self.0.pieces.get(id.index()).copied().unwrap_or(Piece::Silent)
    }

    pub(super) fn word(&self) -> Option<TokenId> {
        self.0.word
    }
}

/// Calls the library. It indexes and subtracts by numbers from the file and panics where they do
/// not fit; one file must not stop a process that serves others.
fn contained<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> std::result::Result<T, String> {
    match std::panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the tokenizers library cannot follow this tokenizer.json".to_string()),
    }
}

fn pieces(tokenizer: &tokenizers::Tokenizer, ids: usize) -> Vec<Piece> {
    let added = tokenizer.get_added_vocabulary();
    let fallback = joins_bytes(tokenizer);
    let piece = |id: usize| match tokenizer.id_to_token(id as u32) {
        None => Piece::Silent,
        Some(token) if added.is_special_token(&token) => Piece::Silent,
        Some(token) if fallback => byte(&token).map_or(Piece::Text, Piece::Byte),
        Some(_) => Piece::Text,
    };
    (0..ids).map(piece).collect()
}

fn word(tokenizer: &tokenizers::Tokenizer, pieces: &[Piece]) -> Option<TokenId> {
    let has_text = |id: &u32| {
        pieces[*id as usize] == Piece::Text
            && contained(|| tokenizer.decode(&[*id], true))
                .is_ok_and(|text| !text.trim().is_empty())
    };
    (0..pieces.len() as u32).find(has_text).map(TokenId)
}

/// Whether the decoder joins byte tokens to characters.
fn joins_bytes(tokenizer: &tokenizers::Tokenizer) -> bool {
    use tokenizers::DecoderWrapper;
    fn within(decoder: &DecoderWrapper) -> bool {
        match decoder {
            DecoderWrapper::ByteFallback(_) => true,
            DecoderWrapper::Sequence(sequence) => sequence.get_decoders().iter().any(within),
            _ => false,
        }
    }
    tokenizer.get_decoder().is_some_and(within)
}

/// The byte that a token such as `<0x0A>` stands for.
fn byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    match digits.len() {
        2 => u8::from_str_radix(digits, 16).ok(),
        _ => None,
    }
}
