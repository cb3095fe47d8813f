//! `ridgepoint plan`: its arithmetic against figures worked out by hand, and what the binary says.

mod command;
mod fit;
mod predict;
