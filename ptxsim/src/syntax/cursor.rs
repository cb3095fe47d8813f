//! Where the parser stands in the tokens, and how it says what it missed.

use super::lexer::{Kind, Token, tokens};
use crate::error::Error;

/// How much of a token an error shows.
const SHOWN: usize = 60;

/// A position in the tokens of a module.
pub(super) struct Cursor<'a> {
    module: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(module: &'a str, text: &'a str) -> Cursor<'a> {
        Cursor { module, tokens: tokens(text), at: 0 }
    }

    /// The token after the next `ahead` ones. Past the end it is the end.
    pub fn peek(&self, ahead: usize) -> Token<'a> {
        let last = self.tokens.len() - 1;
        self.tokens[(self.at + ahead).min(last)]
    }

    /// Takes the next token. The end is never passed.
    pub fn next(&mut self) -> Token<'a> {
        let token = self.peek(0);
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    pub fn line(&self) -> u32 {
        self.peek(0).line
    }

    pub fn is(&self, text: &str) -> bool {
        let token = self.peek(0);
        token.text == text && token.kind != Kind::End
    }

    pub fn at_end(&self) -> bool {
        self.peek(0).kind == Kind::End
    }

    /// Passes over everything up to this mark and over it, but not over a block's end.
    pub fn skip_to(&mut self, mark: &str) -> Result<(), Error> {
        while !self.accept(mark) {
            if matches!(self.peek(0).kind, Kind::End | Kind::Stray) || self.is("}") {
                return Err(self.fail(&format!("`{mark}`")));
            }
            self.next();
        }
        Ok(())
    }

    /// Takes the next token if it is this one.
    pub fn accept(&mut self, text: &str) -> bool {
        let taken = self.is(text);
        if taken {
            self.next();
        }
        taken
    }

    /// Takes this token or fails.
    pub fn expect(&mut self, text: &str) -> Result<(), Error> {
        if self.accept(text) { Ok(()) } else { Err(self.fail(&format!("`{text}`"))) }
    }

    /// Takes a name: a word that is not a directive.
    pub fn name(&mut self, what: &str) -> Result<&'a str, Error> {
        let token = self.peek(0);
        if token.kind != Kind::Word || token.text.starts_with('.') {
            return Err(self.fail(what));
        }
        Ok(self.next().text)
    }

    /// Takes a directive or another word that starts with a dot, without the dot.
    pub fn dotted(&mut self, what: &str) -> Result<&'a str, Error> {
        let token = self.peek(0);
        match (token.kind, token.text.strip_prefix('.')) {
            (Kind::Word, Some(rest)) => {
                self.next();
                Ok(rest)
            }
            _ => Err(self.fail(what)),
        }
    }

    /// Takes a string and returns what is between its quotes.
    pub fn string(&mut self, what: &str) -> Result<&'a str, Error> {
        let token = self.peek(0);
        if token.kind != Kind::Text {
            return Err(self.fail(what));
        }
        self.next();
        Ok(token.text.trim_matches('"'))
    }

    /// Where the parser is, for [`fail_at`](Cursor::fail_at).
    pub fn position(&self) -> usize {
        self.at
    }

    /// The error that something else stands where the parser is.
    pub fn fail(&self, expected: &str) -> Error {
        self.fail_at(self.at, expected)
    }

    /// The error that something else stands where the parser was.
    pub fn fail_at(&self, position: usize, expected: &str) -> Error {
        let token = self.tokens[position];
        let found = match token.kind {
            Kind::End => "the end of the text".to_owned(),
            Kind::Stray if token.text.starts_with("/*") => "a comment without an end".to_owned(),
            Kind::Stray if token.text.starts_with('"') => "a string without an end".to_owned(),
            _ if token.text.chars().nth(SHOWN).is_some() => {
                let start: String = token.text.chars().take(SHOWN).collect();
                format!("`{start}...`")
            }
            _ => format!("`{}`", token.text.escape_debug()),
        };
        self.fail_with(token.line, expected, &found)
    }

    /// An error at a line, in words.
    pub fn fail_with(&self, line: u32, expected: &str, found: &str) -> Error {
        Error::Syntax {
            module: self.module.to_owned(),
            line,
            expected: expected.to_owned(),
            found: found.to_owned(),
        }
    }
}
