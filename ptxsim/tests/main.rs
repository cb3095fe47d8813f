//! Tests.

mod common;
mod parser;
