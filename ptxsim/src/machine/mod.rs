//! Runs decoded programs: `device` takes launches, `schedule` chooses which warp goes on, `run`
//! executes it until it waits or its turn is over, `barrier`, `control` and `order` are the
//! instructions that concern warps themselves.

pub mod barrier;
pub mod builtin;
pub mod control;
pub mod ctx;
pub mod decode;
pub mod device;
pub mod grid;
pub mod order;
pub mod rng;
pub mod run;
pub mod schedule;
pub mod sectors;
pub mod start;
pub mod state;

pub use ctx::{Ctx, Flow};
