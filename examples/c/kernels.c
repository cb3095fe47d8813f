/* Calls single kernels on device memory: RMSNorm, and attention over one page. On a machine with a
   GPU, make a CUDA context current and take RP_DEVICE_CURRENT; here the simulator runs them. */
#include <ridgepoint.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(rp_status status, const char *what) {
    if (status != RP_OK) {
        fprintf(stderr, "%s: %s\n", what, rp_error_message());
        exit(1);
    }
}

static uint16_t to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float from_bf16(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static uint64_t upload(rp_kernels *kernels, const void *data, size_t bytes) {
    uint64_t at;
    check(rp_memory_alloc(kernels, bytes, &at), "rp_memory_alloc");
    check(rp_memory_write(kernels, at, data, bytes), "rp_memory_write");
    return at;
}

/* Two rows of 64: the result against the same in double precision. */
static void rmsnorm(rp_kernels *kernels) {
    enum { ROWS = 2, HIDDEN = 64 };
    uint16_t x[ROWS * HIDDEN], gamma[HIDDEN], out[ROWS * HIDDEN];
    for (int i = 0; i < ROWS * HIDDEN; i++) x[i] = to_bf16((float)(i % 13) - 6.0f);
    for (int i = 0; i < HIDDEN; i++) gamma[i] = to_bf16(1.0f + 0.01f * (float)i);
    memset(out, 0, sizeof out);
    rp_rmsnorm op = {
        .size = sizeof op,
        .input = upload(kernels, x, sizeof x),
        .gamma = upload(kernels, gamma, sizeof gamma),
        .out = upload(kernels, out, sizeof out),
        .rows = ROWS,
        .hidden = HIDDEN,
        .epsilon = 1e-5f,
    };
    check(rp_rmsnorm_run(kernels, &op), "rp_rmsnorm_run");
    check(rp_memory_read(kernels, op.out, (uint8_t *)out, sizeof out), "rp_memory_read");
    double worst = 0;
    for (int row = 0; row < ROWS; row++) {
        double squares = 0;
        for (int i = 0; i < HIDDEN; i++) squares += pow(from_bf16(x[row * HIDDEN + i]), 2);
        for (int i = 0; i < HIDDEN; i++) {
            double scale = 1 / sqrt(squares / HIDDEN + 1e-5);
            double right = from_bf16(x[row * HIDDEN + i]) * scale * from_bf16(gamma[i]);
            double error = fabs(from_bf16(out[row * HIDDEN + i]) - right) / (fabs(right) + 1e-3);
            if (error > worst) worst = error;
        }
    }
    printf("rmsnorm: largest relative error %.4f\n", worst);
    if (worst > 0.01) exit(1);
    check(rp_memory_free(kernels, op.input), "rp_memory_free");
    check(rp_memory_free(kernels, op.gamma), "rp_memory_free");
    check(rp_memory_free(kernels, op.out), "rp_memory_free");
}

/* One sequence of 5 tokens, of which the last is the query: with equal keys every token has the
   same weight, so the output is the mean of the values. */
static void attention(rp_kernels *kernels) {
    enum { TOKENS = 5, DIM = 64, PAGE = 64 };
    rp_heads heads = {.query = 1, .kv = 1, .dim = DIM};
    uint16_t qkv[TOKENS * 3 * DIM];
    float cos_sin[TOKENS * DIM];
    uint32_t positions[TOKENS], slots[TOKENS], table[1] = {0};
    for (int t = 0; t < TOKENS; t++) {
        for (int i = 0; i < DIM; i++) {
            qkv[t * 3 * DIM + i] = to_bf16(0.5f);
            qkv[t * 3 * DIM + DIM + i] = to_bf16(0.25f);
            qkv[t * 3 * DIM + 2 * DIM + i] = to_bf16((float)t);
        }
        for (int i = 0; i < DIM / 2; i++) {
            cos_sin[t * DIM + 2 * i] = 1; /* no rotation */
            cos_sin[t * DIM + 2 * i + 1] = 0;
        }
        positions[t] = (uint32_t)t;
        slots[t] = (uint32_t)t; /* page 0 */
    }
    static uint16_t page[PAGE * DIM];
    uint16_t q[TOKENS * DIM], out[DIM];
    memset(q, 0, sizeof q);
    memset(out, 0, sizeof out);
    rp_rope_append append = {
        .size = sizeof append,
        .qkv = upload(kernels, qkv, sizeof qkv),
        .cos_sin = upload(kernels, cos_sin, sizeof cos_sin),
        .positions = upload(kernels, positions, sizeof positions),
        .slots = upload(kernels, slots, sizeof slots),
        .q_out = upload(kernels, q, sizeof q),
        .k_pages = upload(kernels, page, sizeof page),
        .v_pages = upload(kernels, page, sizeof page),
        .heads = heads,
        .tokens = TOKENS,
    };
    check(rp_rope_append_run(kernels, &append), "rp_rope_append_run");

    /* Once a step on the host... */
    rp_attention_shape shape = {
        .size = sizeof shape,
        .phase = RP_PHASE_DECODE,
        .heads = heads,
        .rows = 1,
        .sequences = 1,
        .sequence_rows = 1,
        .context = PAGE,
        .pages = 1,
        .table_stride = 1,
    };
    rp_attention_sizes sizes = {.size = sizeof sizes};
    check(rp_attention_workspace_size(kernels, &shape, &sizes), "rp_attention_workspace_size");
    uint8_t *plan_bytes = calloc(1, sizes.plan_bytes), *zeros = calloc(1, sizes.workspace_bytes);
    rp_sequence sequence = {.row = 0, .rows = 1, .position = TOKENS - 1, .table = 0};
    rp_attention_plan plan = {.size = sizeof plan};
    check(rp_attention_make_plan(kernels, &shape, &sequence, 1, table, 1, plan_bytes,
                                 sizes.plan_bytes, &plan),
          "rp_attention_make_plan");
    /* ...and once a layer on the device. */
    rp_attention op = {
        .size = sizeof op,
        .shape = &shape,
        .plan = &plan,
        .plan_at = upload(kernels, plan_bytes, plan.bytes),
        .q = append.q_out + (TOKENS - 1) * DIM * sizeof(uint16_t),
        .k_pages = append.k_pages,
        .v_pages = append.v_pages,
        .block_tables = upload(kernels, table, sizeof table),
        .out = upload(kernels, out, sizeof out),
        .workspace = upload(kernels, zeros, sizes.workspace_bytes),
    };
    check(rp_attention_run(kernels, &op), "rp_attention_run");
    check(rp_memory_read(kernels, op.out, (uint8_t *)out, sizeof out), "rp_memory_read");
    float mean = (TOKENS - 1) / 2.0f;
    printf("attention: %.3f, the mean of the values is %.3f\n", from_bf16(out[0]), mean);
    for (int i = 0; i < DIM; i++) {
        if (fabsf(from_bf16(out[i]) - mean) > 0.02f) exit(1);
    }
    free(plan_bytes);
    free(zeros);
}

int main(void) {
    rp_kernels_options options = {.size = sizeof options, .device = RP_DEVICE_SIM};
    rp_kernels *kernels;
    check(rp_kernels_create(&options, &kernels), "rp_kernels_create");
    char name[256];
    check(rp_kernels_describe(kernels, name, sizeof name, NULL), "rp_kernels_describe");
    printf("%s\n", name);
    rmsnorm(kernels);
    attention(kernels);
    /* What there is no kernel for is known before anything is allocated. */
    rp_query query = {
        .size = sizeof query,
        .op = RP_OP_ATTENTION,
        .phase = RP_PHASE_DECODE,
        .heads = {.query = 8, .kv = 2, .dim = 96},
        .page_tokens = RP_PAGE_TOKENS,
    };
    uint32_t supported;
    char reason[256];
    check(rp_kernels_supports(kernels, &query, &supported, reason, sizeof reason),
          "rp_kernels_supports");
    printf("head_dim 96: %s\n", supported ? "yes" : reason);
    check(rp_kernels_synchronize(kernels), "rp_kernels_synchronize");
    check(rp_kernels_destroy(kernels), "rp_kernels_destroy");
    return 0;
}
