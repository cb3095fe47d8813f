// Two kernels of which the second starts before the first is over (programmatic dependent
// launch), and asks for what the first writes.

#include <stdint.h>

extern "C" __global__ void producer(uint32_t *data) {
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    data[i] = 3 * i + 1;
}

extern "C" __global__ void consumer(const uint32_t *data, const uint32_t *weights, uint32_t *out) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const uint32_t weight = weights[i];
#ifndef BUG_NO_GRID_WAIT
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
    out[i] = data[i ^ 1] * weight; // FAULT BUG_NO_GRID_WAIT GridNotWaitedFor
}
