//! `ridgepoint bench`: its figures by hand arithmetic, its workloads, and the command itself.

mod command;
mod drive;
mod figures;
mod mistakes;
mod workload;
