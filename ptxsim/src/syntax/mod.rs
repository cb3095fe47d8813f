//! PTX text to a tree: `lexer` cuts it into tokens, `parser` builds the [`tree`].

pub mod tree;
