//! Scalar arithmetic, exact to the bit, and the table of register-only instructions.

pub mod formats;
