// What the kernels share: how an entry is declared, and vectors.

#pragma once

#include "params.h"
#include "ptx.cuh"

// Declares one kernel of the table at the foot of a file. The name is the symbol, unmangled, that
// the Rust side asks for; the argument is one struct by value, readable as `p` and kept in the
// constant bank rather than copied to the stack. The thread count is what the host launches with.
#define KERNEL(symbol, Params, threads) \
    extern "C" __global__ void __launch_bounds__(threads) symbol(const __grid_constant__ Params p)
