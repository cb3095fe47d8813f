//! `mma` against the PTX ISA's fragment formulas and plain sums.
