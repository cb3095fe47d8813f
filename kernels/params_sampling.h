// Arguments of sample and logprobs, and what their two launches tell each other.

#ifndef RIDGEPOINT_PARAMS_SAMPLING_H
#define RIDGEPOINT_PARAMS_SAMPLING_H

#include "params_common.h"

/// Threads in a block of the kernels that pick from a vocabulary, `sample` and `logprobs`.
static const uint32_t SAMPLE_THREADS = 256;

/// Neighbouring tokens that such a block takes at a time: a tile. A row's tiles are spread over
/// blocks along x, rows lie along y.
static const uint32_t SAMPLE_TILE = 2048;

/// Bins in which the values of a row are counted.
static const uint32_t SAMPLE_BINS = 256;

/// Bit of `SampleRowParams::flags`: nothing is drawn; the token is 0, and the logits are not read.
static const uint32_t SAMPLE_SKIP = 1;

/// Bit of `SampleRowParams::flags`: values are divided by the temperature, and a token is drawn.
/// Without it the largest value wins.
static const uint32_t SAMPLE_DRAW = 2;

/// Bit of `SampleRowParams::flags`: top-k, top-p or min-p is set, and `SAMPLE_DRAW`. Such a row
/// needs the second launch.
static const uint32_t SAMPLE_FILTER = 4;

/// Bit of `SampleRowParams::flags`: the row has adjustments.
static const uint32_t SAMPLE_ADJUST = 8;

/// `top_p` of `SampleRowParams` in this many fraction bits; 1 removes nothing.
static const uint32_t SAMPLE_TOP_P_BITS = 32;

/// Bit of `SampleAdjustment::flags`: the bias is added.
static const uint32_t ADJUST_BIAS = 1;

/// Bit of `SampleAdjustment::flags`: the token stands in prompt or output, and the repetition
/// penalty is applied.
static const uint32_t ADJUST_REPETITION = 2;

/// Status of a row whose token was drawn.
static const uint32_t SAMPLE_OK = 0;

/// Bits of the status of a row that cannot be drawn from: what the first bad logit is, with its
/// token in the lower 24 bits; or that all logits are -inf.
static const uint32_t SAMPLE_NAN = 0x1000000;
/// As `SAMPLE_NAN`.
static const uint32_t SAMPLE_INFINITY = 0x2000000;
/// As `SAMPLE_NAN`.
static const uint32_t SAMPLE_NO_TOKEN = 0x4000000;

/// How one row is drawn: `src/sample.rs` says what is done with it.
typedef struct SampleRowParams {
    /// Key of the noise.
    uint64_t seed;
    /// `ceil(top_p * 2^32)`.
    uint64_t top_p;
    /// Least weight of a token that min-p leaves; 0 leaves all.
    uint64_t min_weight;
    /// With `SAMPLE_ADJUST`: bytes from the first row to u32 `[tiles + 1]`, where the adjustments
    /// of each tile begin and the last ends.
    uint64_t tiles;
    /// With `SAMPLE_ADJUST`: bytes from the first row to the adjustments, by ascending token.
    uint64_t adjustments;
    /// What values are divided by.
    float temperature;
    /// What is added to the largest value, 0 or less, gives a value below which no token need be
    /// looked at. -inf where only the counts of values can tell.
    float reach;
    /// Tokens that top-k leaves; 0 leaves all.
    uint32_t top_k;
    /// Length of prompt and output: part of the counter of the noise.
    uint32_t position;
    /// Divides positive and multiplies negative values of tokens in prompt or output.
    float repetition;
    /// Subtracted for each time that a token stands in the output.
    float frequency;
    /// Subtracted if a token stands in the output.
    float presence;
    /// `SAMPLE_SKIP`, `SAMPLE_DRAW`, `SAMPLE_FILTER`, `SAMPLE_ADJUST`.
    uint32_t flags;
} SampleRowParams;

/// What is done to the logit of one token before all else.
typedef struct SampleAdjustment {
    /// The token.
    uint32_t token;
    /// `ADJUST_BIAS`, `ADJUST_REPETITION`.
    uint32_t flags;
    /// Times that it stands in the output.
    uint32_t output_count;
    /// Sum of its biases.
    float bias;
} SampleAdjustment;

/// What the scan of a row has found, for the choice that follows.
typedef struct SelectionScan {
    /// First key of the order.
    uint64_t top;
    /// Least value of a candidate, as an ordered integer.
    uint32_t bound;
    /// Keeps the size a multiple of 8 without implicit padding. Zero.
    uint32_t reserved;
} SelectionScan;

/// What the blocks of a row tell each other. All 0 before the first launch, and but for `scan`
/// after each.
typedef struct SelectionState {
    /// Largest key of a scan that is under way.
    uint64_t best;
    /// Sum of weights of a choice that is under way.
    uint64_t mass;
    /// Candidates listed so far.
    uint32_t candidates;
    /// Blocks that have arrived.
    uint32_t arrivals;
    /// From the scan to the choice.
    SelectionScan scan;
} SelectionState;

/// Arguments of `sample_scan` and `sample_choose`: draws one token from each row of logits.
typedef struct SampleParams {
    /// f32 `[row_count, stride]`, of which `vocab` columns are logits.
    DEVICE_PTR(const float) logits;
    /// How each row is drawn, `[row_count]`, and behind them what they refer to.
    DEVICE_PTR(const SampleRowParams) rows;
    /// `[row_count]`.
    DEVICE_PTR(SelectionState) states;
    /// Counts, `[row_count, SAMPLE_BINS]`, 0 before and after.
    DEVICE_PTR(uint32_t) bins;
    /// Keys, `[row_count, vocab]`.
    DEVICE_PTR(uint64_t) candidates;
    /// Drawn tokens, `[row_count]`, written whole; 0 where none could be drawn.
    DEVICE_PTR(uint32_t) tokens;
    /// `SAMPLE_OK` or what is wrong, `[row_count]`, written whole.
    DEVICE_PTR(uint32_t) status;
    /// Rows: the y size of the grid.
    uint32_t row_count;
    /// Tokens of the vocabulary, at most 2^23.
    uint32_t vocab;
    /// Elements from a row of logits to the next.
    uint32_t stride;
    /// Tiles that a block takes: the x size of the grid is the row's tiles by it, rounded up.
    uint32_t tiles_per_block;
} SampleParams;

/// Stands in `LogprobsParams::tops` for a row of which nothing is wanted.
static const uint32_t LOGPROBS_SKIP = 0xffffffff;

/// The most tokens whose log-probabilities a row may ask for, and the width of the result.
static const uint32_t LOGPROBS_TOP_MAX = 64;

/// Arguments of `logprobs_scan` and `logprobs_choose`: log-probabilities of the raw logits.
typedef struct LogprobsParams {
    /// f32 `[row_count, stride]`, of which `vocab` columns are logits.
    DEVICE_PTR(const float) logits;
    /// The token of each row whose log-probability is wanted, `[row_count]`, each below `vocab`.
    DEVICE_PTR(const uint32_t) tokens;
    /// How many of the most probable tokens each row wants, `[row_count]`: at most
    /// `LOGPROBS_TOP_MAX`, or `LOGPROBS_SKIP`.
    DEVICE_PTR(const uint32_t) tops;
    /// `[row_count]`.
    DEVICE_PTR(SelectionState) states;
    /// Counts, `[row_count, SAMPLE_BINS]`, 0 before and after.
    DEVICE_PTR(uint32_t) bins;
    /// Keys, `[row_count, vocab]`.
    DEVICE_PTR(uint64_t) candidates;
    /// Log-probability of the token, f32 `[row_count]`; not written where skipped.
    DEVICE_PTR(float) logprobs;
    /// How many of the wanted tokens there are, `[row_count]`; not written where skipped.
    DEVICE_PTR(uint32_t) top_counts;
    /// The most probable tokens, `[row_count, LOGPROBS_TOP_MAX]`, as many as counted written.
    DEVICE_PTR(uint32_t) top_tokens;
    /// Their log-probabilities, f32, likewise.
    DEVICE_PTR(float) top_logprobs;
    /// Rows: the y size of the grid.
    uint32_t row_count;
    /// Tokens of the vocabulary, at most 2^23.
    uint32_t vocab;
    /// Elements from a row of logits to the next.
    uint32_t stride;
    /// Tiles that a block takes: the x size of the grid is the row's tiles by it, rounded up.
    uint32_t tiles_per_block;
} LogprobsParams;

#endif
