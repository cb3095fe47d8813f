//! The one integration binary.
#![allow(clippy::unwrap_used)] // in a test, a panic is the report

mod bugs;
mod cli;
mod common;
mod decoder;
mod hopper;
mod hostile;
mod library;
mod model;
mod parser;
mod probes;
mod readme;
mod report;
mod sectors;
mod tensor;
