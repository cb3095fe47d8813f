//! Tests.

mod tensor;
