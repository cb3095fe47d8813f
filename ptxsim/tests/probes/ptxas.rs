//! ptxas takes every probe.
