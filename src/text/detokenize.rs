//! Incremental decoding: the text of an output while its tokens come.
//!
//! A token's text depends on its neighbours: a character may be spread over several tokens, and
//! sentencepiece-like decoders drop the space before the first word of a text. Decoding everything
//! anew for each token is quadratic. As vLLM and TGI do it, a short window of tokens is decoded
//! with the new token and the part of its text that was given out before is cut off. The window
//! starts in text already given out, so that its first word is not the first of the text.
//!
//! What is certain is given out: an incomplete character, which decodes to U+FFFD, is held back.
//! Byte tokens (`<0x..>`) need more care. A decoder turns a run of them into characters if the run
//! as a whole is UTF-8, and every byte into U+FFFD if it is not, so a run is certain when it has
//! ended, or when it is [`RUN_MAX`] long and complete, whichever comes first.

use crate::error::Result;
use crate::request::TokenId;
use crate::text::tokenizer::{Piece, Tokenizer};

/// What an incomplete character decodes to.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;
/// Tokens of the prompt, and of a window that was cut. A character is at most 4 tokens.
const CONTEXT: usize = 16;
/// A window with something held back that is longer than this is cut to [`CONTEXT`].
const WINDOW_MAX: usize = 64;
/// Byte tokens that are held back until their run ends. Only a longer run that turns out not to be
/// UTF-8 after all gives other text than decoding everything at once.
const RUN_MAX: usize = 32;

/// Decodes an output token by token. Joined, what [`push`](Detokenizer::push) and
/// [`finish`](Detokenizer::finish) give is what the output adds to the prompt's text.
#[derive(Debug, Clone)]
pub struct Detokenizer {
    tokenizer: Tokenizer,
    /// The last tokens that have text.
    window: Vec<TokenId>,
    /// Tokens of the window whose text has been given out in full.
    done: usize,
    /// Bytes of the window's text that have been given out.
    sent: usize,
    /// Byte tokens at the end of the window that have not been given out.
    run: Vec<u8>,
    /// The last token with text of its own, for the start of a window.
    anchor: Option<TokenId>,
    /// How many U+FFFD the prompt's text ends with that the output may still turn into a character.
    echoed: usize,
    /// Whether the output has a token.
    started: bool,
}

impl Detokenizer {
    /// A decoder for the tokens that follow `prompt`. If the prompt ends inside a character, the
    /// character belongs to the output that completes it.
    ///
    /// # Errors
    /// [`crate::error::Error::Request`] if the tokenizer's decoder fails.
    pub fn new(tokenizer: &Tokenizer, prompt: &[TokenId]) -> Result<Detokenizer> {
        let mut this = Detokenizer {
            tokenizer: tokenizer.clone(),
            window: Vec::new(),
            done: 0,
            sent: 0,
            run: Vec::new(),
            anchor: None,
            echoed: 0,
            started: false,
        };
        let mut wanted = CONTEXT;
        let text = loop {
            let visible = prompt.iter().filter(|&&id| tokenizer.piece(id) != Piece::Silent);
            this.window = visible.rev().take(wanted).copied().collect();
            this.window.reverse();
            let text = tokenizer.decode(&this.window)?;
            // A window without text would make the output's first word that of a text.
            if !text.is_empty() || this.window.len() < wanted {
                break text;
            }
            wanted *= 4;
        };
        this.find_anchor()?;
        this.done = this.window.len();
        this.sent = certain(&text);
        let bytes = this.trailing_bytes();
        if !bytes.is_empty() {
            let open = open_character(&bytes);
            let tail = this.window.split_off(this.window.len() - open);
            this.restart()?;
            this.window.extend(tail);
            this.run = bytes[bytes.len() - open..].to_vec();
            this.echoed = open;
        } else if this.sent < text.len() {
            this.echoed = 1;
        }
        Ok(this)
    }

    /// The text that became certain with `token`; often empty.
    ///
    /// # Errors
    /// As [`Detokenizer::new`].
    pub fn push(&mut self, token: TokenId) -> Result<String> {
        let piece = self.tokenizer.piece(token);
        if piece == Piece::Silent {
            return Ok(String::new());
        }
        self.started = true;
        self.window.push(token);
        if let Piece::Byte(byte) = piece {
            self.run.push(byte);
            if self.run.len() < RUN_MAX || incomplete(&self.run) > 0 {
                return Ok(String::new());
            }
            let text = self.unsent()?;
            self.run.clear();
            self.restart()?;
            return Ok(self.without_echo(text));
        }
        self.run.clear();
        let text = self.tokenizer.decode(&self.window)?;
        let end = certain(&text);
        let new = text.get(self.sent..end).unwrap_or_default().to_string();
        let new = self.without_echo(new);
        self.sent = self.sent.max(end);
        if end == text.len() {
            self.advance()?;
        } else if self.window.len() > WINDOW_MAX {
            self.cut(text.len() - end)?;
        }
        Ok(new)
    }

    /// The text that was held back, as the tokenizer decodes it where it stops.
    pub fn finish(&mut self) -> String {
        // `push` has decoded these tokens before; it would have failed first.
        let text = if self.started { self.unsent().unwrap_or_default() } else { String::new() };
        self.sent += text.len();
        self.started = false;
        self.without_echo(text)
    }

    /// Takes away what the prompt's text ends with and the output did not complete.
    fn without_echo(&mut self, mut text: String) -> String {
        if !text.is_empty() {
            for _ in 0..std::mem::take(&mut self.echoed) {
                if text.starts_with(REPLACEMENT) {
                    text.remove(0);
                }
            }
        }
        text
    }

    fn unsent(&self) -> Result<String> {
        let text = self.tokenizer.decode(&self.window)?;
        Ok(text.get(self.sent..).unwrap_or_default().to_string())
    }

    /// All of the window has been given out: drops its older part, unless the rest has no text.
    fn advance(&mut self) -> Result<()> {
        let rest = &self.window[self.done..];
        let text = self.tokenizer.decode(rest)?;
        if !text.is_empty() {
            self.anchor = Some(rest[rest.len() - 1]).filter(|_| rest.len() == 1).or(self.anchor);
            self.window.drain(..self.done);
            self.sent = text.len();
        }
        self.done = self.window.len();
        Ok(())
    }

    /// Keeps the last tokens of a window whose last `held` bytes have not been given out.
    fn cut(&mut self, held: usize) -> Result<()> {
        self.window.drain(..self.window.len() - CONTEXT);
        self.done = 0;
        self.sent = self.tokenizer.decode(&self.window)?.len().saturating_sub(held);
        Ok(())
    }

    /// Starts over with the anchor alone, whose text has been given out.
    fn restart(&mut self) -> Result<()> {
        self.window.clear();
        self.window.extend(self.anchor);
        self.done = self.window.len();
        self.sent = self.tokenizer.decode(&self.window)?.len();
        Ok(())
    }

    fn find_anchor(&mut self) -> Result<()> {
        for &token in self.window.iter().rev() {
            let is_text = self.tokenizer.piece(token) == Piece::Text;
            if is_text && !self.tokenizer.decode(&[token])?.is_empty() {
                self.anchor = Some(token);
                break;
            }
        }
        Ok(())
    }

    fn trailing_bytes(&self) -> Vec<u8> {
        let pieces = self.window.iter().rev().map(|&id| self.tokenizer.piece(id));
        let byte = |piece| match piece {
            Piece::Byte(byte) => Some(byte),
            _ => None,
        };
        let mut bytes: Vec<u8> = pieces.map_while(byte).collect();
        bytes.reverse();
        bytes
    }
}

/// The length of `text` without the U+FFFD at its end, which may be half a character.
fn certain(text: &str) -> usize {
    text.strip_suffix(REPLACEMENT).unwrap_or(text).len()
}

/// How many bytes at the end of a run are the beginning of a character. The run's own beginning may
/// be cut off.
fn open_character(run: &[u8]) -> usize {
    let is_open = |&length: &usize| incomplete(&run[run.len() - length..]) == length;
    (1..=run.len().min(3)).find(is_open).unwrap_or(0)
}

/// How many bytes at the end begin a character that more bytes could complete; 0 also where the
/// bytes cannot become UTF-8.
fn incomplete(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => bytes.len() - error.valid_up_to(),
        _ => 0,
    }
}
