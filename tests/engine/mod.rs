//! The engine: requests alone and together, the scheduler by itself, and what goes wrong.

mod alone;
mod faults;
mod faulty;
mod scheduler;
mod speculate;
mod speculate_chance;
mod speculate_ends;
pub mod together;
