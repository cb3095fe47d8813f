//! Kernels that are right give no fault whatever the schedule; kernels with a planted bug are
//! found out, and the right line is blamed.

mod bad_input;
mod orders;
mod stage;
mod tiles;
