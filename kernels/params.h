// Launch arguments of every kernel and the constants that host and device share: the one
// definition of both. They stand in the files below, one for each family of kernels. Plain C with
// <stdint.h> alone, because three compilers read it: nvcc for the kernels, libclang for
// `make params`, which writes src/backend/cuda/params, and a C compiler in anyone's binding.
//
// Each kernel takes exactly one of these structs, by value. The driver checks neither the number
// nor the order nor the type of launch arguments, so a struct whose size and offsets both sides
// assert is the only argument list that cannot be got wrong in silence.

#ifndef RIDGEPOINT_PARAMS_H
#define RIDGEPOINT_PARAMS_H

#include "params_attention.h"
#include "params_common.h"
#include "params_gemm.h"
#include "params_rows.h"
#include "params_sampling.h"

#endif
