//! Cuts PTX text into tokens. A word takes in its dots and `::`, so that an opcode with all its
//! modifiers, a directive and `%tid.x` are one token each.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name, directive or opcode.
    Word,
    /// Starts with a digit.
    Number,
    /// A string, with its quotes.
    Text,
    /// One of the marks of the grammar.
    Mark,
    /// The end of the text.
    End,
    /// A character, string or comment that PTX does not know; what was expected is the parser's
    /// to say, unless it is an open end.
    Stray,
}

/// A piece of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// As written.
    pub text: &'a str,
    /// Line where it starts, from 1.
    pub line: u32,
}

/// All tokens of a text; the last one is the only [`Kind::End`].
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer { text, at: 0, line: 1 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next();
        tokens.push(token);
        if token.kind == Kind::End {
            return tokens;
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

impl<'a> Lexer<'a> {
    fn byte(&self, ahead: usize) -> u8 {
        // A zero byte ends no token and starts none, so it can stand for the end.
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn next(&mut self) -> Token<'a> {
        let open_comment = self.skip_blanks();
        let (start, line) = (self.at, self.line);
        if self.at >= self.text.len() {
            return Token { kind: Kind::End, text: "", line };
        }
        let kind = match self.byte(0) {
            _ if open_comment => self.stray(2),
            b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b if is_word(b) || b == b'.' => self.word(),
            b'<' | b'>' if self.byte(1) == self.byte(0) => self.mark(2),
            b if b"{}()[],;:@!|+-<>=*/&^~".contains(&b) => self.mark(1),
            _ => self.stray(1),
        };
        Token { kind, text: &self.text[start..self.at], line }
    }

    /// Returns whether it stopped at a comment that is never closed.
    fn skip_blanks(&mut self) -> bool {
        loop {
            match (self.byte(0), self.byte(1)) {
                (b'\n', _) => {
                    self.line = self.line.saturating_add(1);
                    self.at += 1;
                }
                (b' ' | b'\t' | b'\r' | 0x0b | 0x0c, _) => self.at += 1,
                (b'/', b'/') => {
                    let rest = &self.text[self.at..];
                    self.at += rest.find('\n').unwrap_or(rest.len());
                }
                (b'/', b'*') => {
                    let Some(length) = self.text[self.at + 2..].find("*/") else { return true };
                    let comment = &self.text[self.at..self.at + 2 + length];
                    let lines = comment.bytes().filter(|b| *b == b'\n').count();
                    self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
                    self.at += length + 4;
                }
                _ => return false,
            }
        }
    }

    fn mark(&mut self, bytes: usize) -> Kind {
        self.at += bytes;
        Kind::Mark
    }

    /// Steps over what is not PTX without cutting a character in two.
    fn stray(&mut self, bytes: usize) -> Kind {
        self.at += bytes;
        while !self.text.is_char_boundary(self.at) {
            self.at += 1;
        }
        Kind::Stray
    }

    /// A name or an opcode with its modifiers; or one directive, since `.reg.b32` is two of them.
    fn word(&mut self) -> Kind {
        let directive = self.byte(0) == b'.';
        self.at += usize::from(directive);
        loop {
            match (self.byte(0), self.byte(1)) {
                (b, _) if is_word(b) || (b == b'.' && !directive) => self.at += 1,
                (b':', b':') if self.byte(2).is_ascii_alphanumeric() => self.at += 2,
                _ => return Kind::Word,
            }
        }
    }

    fn number(&mut self) -> Kind {
        let start = self.at;
        while self.byte(0).is_ascii_alphanumeric() || self.byte(0) == b'.' {
            let exponent = matches!(self.byte(0), b'e' | b'E');
            self.at += 1;
            // The sign of an exponent belongs to a decimal; in hexadecimal `e` is a digit.
            if exponent && matches!(self.byte(0), b'+' | b'-') {
                let mantissa = &self.text.as_bytes()[start..self.at - 1];
                if mantissa.iter().all(|b| b.is_ascii_digit() || *b == b'.') {
                    self.at += 1;
                }
            }
        }
        Kind::Number
    }

    fn string(&mut self) -> Kind {
        let rest = &self.text[self.at + 1..];
        let end = rest.find(['"', '\n']).unwrap_or(rest.len());
        if rest.as_bytes().get(end) != Some(&b'"') {
            self.at += 1 + end;
            return Kind::Stray;
        }
        self.at += end + 2;
        Kind::Text
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'%')
}
