/* A library in the place of NVIDIA's driver, which runs nothing: it counts what is under way on
   each stream, and ends the process where a driver would read freed memory or work elsewhere than
   the caller meant. For programs of one thread. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 8
#define STREAMS 8

typedef struct {
    void *context;
    int is_live;
    int launches; /* which nobody has waited for; they outlive their stream */
} stream;

typedef struct {
    uint32_t grid[3], block[3], shared_bytes;
    void *stream;
} launch_config;

static void *contexts[DEPTH];
static int depth;
static void *home; /* the context that modules were loaded in */
static stream streams[STREAMS];
static int made;

static void demand(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "the driver: %s\n", what);
        abort();
    }
}

static void *current(void) { return depth > 0 ? contexts[depth - 1] : NULL; }

static void at_home(void) {
    demand(current() != NULL, "a call without a context");
    if (home == NULL) home = current();
    demand(current() == home, "a call in another context than that of the kernels");
}

static stream *live(void *handle) {
    size_t number = (size_t)(uintptr_t)handle;
    demand(number > 0 && number <= (size_t)made, "no such stream");
    demand(streams[number - 1].is_live, "a stream that was destroyed");
    return &streams[number - 1];
}

static int all_done(void) {
    for (int i = 0; i < made; i++) {
        if (streams[i].launches > 0) return 0;
    }
    return 1;
}

int cuDriverGetVersion(int *version) { return *version = 13000, 0; }
int cuInit(unsigned flags) { return (int)flags; }
int cuDeviceGetCount(int *count) { return *count = 1, 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { return *bytes = (size_t)80 << 30, device; }

int cuDeviceGetName(char *name, int room, int device) {
    return snprintf(name, (size_t)room, "none") > 0 ? device : 1;
}

int cuDeviceGetAttribute(int *value, int which, int device) {
    switch (which) {
    case 16: *value = 132; break;     /* multiprocessors */
    case 75: *value = 9; break;       /* compute capability */
    case 76: *value = 0; break;
    case 97: *value = 227 << 10; break; /* shared memory of a block */
    default: demand(0, "an attribute that it does not know");
    }
    return device;
}

int cuCtxGetCurrent(void **context) { return *context = current(), 0; }
int cuCtxGetDevice(int *device) { return *device = 0; }

int cuCtxSetCurrent(void *context) {
    if (depth > 0) depth--;
    if (context != NULL) contexts[depth++] = context;
    return 0;
}

int cuCtxPushCurrent_v2(void *context) {
    demand(depth < DEPTH, "contexts are pushed and never popped");
    contexts[depth++] = context;
    return 0;
}

int cuCtxPopCurrent_v2(void **context) {
    demand(depth > 0, "more contexts are popped than pushed");
    *context = contexts[--depth];
    return 0;
}

int cuCtxSynchronize(void) {
    at_home();
    for (int i = 0; i < made; i++) streams[i].launches = 0;
    return 0;
}

int cuStreamCreate(void **handle, unsigned flags) {
    demand(made < STREAMS, "too many streams");
    streams[made++] = (stream){.context = current(), .is_live = 1};
    *handle = (void *)(uintptr_t)made;
    return (int)flags;
}

int cuStreamDestroy_v2(void *handle) { return live(handle)->is_live = 0; }
int cuStreamGetCtx(void *handle, void **context) { return *context = live(handle)->context, 0; }

int cuStreamSynchronize(void *handle) {
    at_home();
    return live(handle)->launches = 0;
}

int cuModuleLoadData(void **module, const void *image) {
    at_home();
    *module = (void *)(uintptr_t)1;
    return image == NULL;
}

int cuModuleGetFunction(void **function, void *module, const char *name) {
    at_home();
    *function = module;
    return strlen(name) == 0;
}

int cuFuncSetAttribute(void *function, int which, int value) {
    at_home();
    (void)which, (void)value;
    return function == NULL;
}

int cuLaunchKernelEx(const launch_config *config, void *function, void **values, void **extra) {
    at_home();
    (void)values, (void)extra;
    live(config->stream)->launches++;
    return function == NULL;
}

int cuModuleUnload(void *module) {
    at_home();
    demand(all_done(), "code is unloaded while it runs");
    return module == NULL;
}
