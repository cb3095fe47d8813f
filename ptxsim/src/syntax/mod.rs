//! PTX text to a tree: `lexer` cuts it into tokens, `parser` builds the [`tree`].

mod cursor;
mod initialisers;
mod lexer;
mod literal;
mod loc;
mod operands;
mod parser;
mod statements;
pub mod tree;
mod variables;

pub use parser::parse;
pub use variables::type_bytes;
