//! The engine: requests alone and together, the scheduler by itself, and what goes wrong.

mod alone;
mod faults;
mod faulty;
mod scheduler;
mod speculate;
pub mod together;
