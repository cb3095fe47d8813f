//! The engines that work beside the warps.

pub mod wgmma;
