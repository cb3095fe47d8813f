//! The one test binary of the simulator.

mod common;
mod decoder;
mod parser;
mod tensor;
