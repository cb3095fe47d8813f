//! Launch arguments and constants that host and kernels share. Made by `make params` from
//! kernels/params.h and what it includes, where to change them.
//!
//! Headers: df4b403344dcaac622a730af92e1c12c

/// Threads in a block of the kernels that pick from a vocabulary, `sample` and `logprobs`.
pub const SAMPLE_THREADS: u32 = 256;
/// Neighbouring tokens that such a block takes at a time: a tile. A row's tiles are spread over
/// blocks along x, rows lie along y.
pub const SAMPLE_TILE: u32 = 2048;
/// Bins in which the values of a row are counted.
pub const SAMPLE_BINS: u32 = 256;
/// Bit of `SampleRowParams::flags`: nothing is drawn; the token is 0, and the logits are not read.
pub const SAMPLE_SKIP: u32 = 1;
/// Bit of `SampleRowParams::flags`: values are divided by the temperature, and a token is drawn.
/// Without it the largest value wins.
pub const SAMPLE_DRAW: u32 = 2;
/// Bit of `SampleRowParams::flags`: top-k, top-p or min-p is set, and `SAMPLE_DRAW`. Such a row
/// needs the second launch.
pub const SAMPLE_FILTER: u32 = 4;
/// Bit of `SampleRowParams::flags`: the row has adjustments.
pub const SAMPLE_ADJUST: u32 = 8;
/// `top_p` of `SampleRowParams` in this many fraction bits; 1 removes nothing.
pub const SAMPLE_TOP_P_BITS: u32 = 32;
/// Bit of `SampleAdjustment::flags`: the bias is added.
pub const ADJUST_BIAS: u32 = 1;
/// Bit of `SampleAdjustment::flags`: the token stands in prompt or output, and the repetition
/// penalty is applied.
pub const ADJUST_REPETITION: u32 = 2;
/// Status of a row whose token was drawn.
pub const SAMPLE_OK: u32 = 0;
/// Bits of the status of a row that cannot be drawn from: what the first bad logit is, with its
/// token in the lower 24 bits; or that all logits are -inf.
pub const SAMPLE_NAN: u32 = 16777216;
/// As `SAMPLE_NAN`.
pub const SAMPLE_INFINITY: u32 = 33554432;
/// As `SAMPLE_NAN`.
pub const SAMPLE_NO_TOKEN: u32 = 67108864;
/// How one row is drawn: `src/sample.rs` says what is done with it.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct SampleRowParams {
    /// Key of the noise.
    pub seed: u64,
    /// `ceil(top_p * 2^32)`.
    pub top_p: u64,
    /// Least weight of a token that min-p leaves; 0 leaves all.
    pub min_weight: u64,
    /// With `SAMPLE_ADJUST`: bytes from the first row to u32 `[tiles + 1]`, where the adjustments
    /// of each tile begin and the last ends.
    pub tiles: u64,
    /// With `SAMPLE_ADJUST`: bytes from the first row to the adjustments, by ascending token.
    pub adjustments: u64,
    /// What values are divided by.
    pub temperature: f32,
    /// What is added to the largest value, 0 or less, gives a value below which no token need be
    /// looked at. -inf where only the counts of values can tell.
    pub reach: f32,
    /// Tokens that top-k leaves; 0 leaves all.
    pub top_k: u32,
    /// Length of prompt and output: part of the counter of the noise.
    pub position: u32,
    /// Divides positive and multiplies negative values of tokens in prompt or output.
    pub repetition: f32,
    /// Subtracted for each time that a token stands in the output.
    pub frequency: f32,
    /// Subtracted if a token stands in the output.
    pub presence: f32,
    /// `SAMPLE_SKIP`, `SAMPLE_DRAW`, `SAMPLE_FILTER`, `SAMPLE_ADJUST`.
    pub flags: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SampleRowParams"][::std::mem::size_of::<SampleRowParams>() - 72usize];
    ["Alignment of SampleRowParams"][::std::mem::align_of::<SampleRowParams>() - 8usize];
    ["Offset of field: SampleRowParams::seed"]
        [::std::mem::offset_of!(SampleRowParams, seed) - 0usize];
    ["Offset of field: SampleRowParams::top_p"]
        [::std::mem::offset_of!(SampleRowParams, top_p) - 8usize];
    ["Offset of field: SampleRowParams::min_weight"]
        [::std::mem::offset_of!(SampleRowParams, min_weight) - 16usize];
    ["Offset of field: SampleRowParams::tiles"]
        [::std::mem::offset_of!(SampleRowParams, tiles) - 24usize];
    ["Offset of field: SampleRowParams::adjustments"]
        [::std::mem::offset_of!(SampleRowParams, adjustments) - 32usize];
    ["Offset of field: SampleRowParams::temperature"]
        [::std::mem::offset_of!(SampleRowParams, temperature) - 40usize];
    ["Offset of field: SampleRowParams::reach"]
        [::std::mem::offset_of!(SampleRowParams, reach) - 44usize];
    ["Offset of field: SampleRowParams::top_k"]
        [::std::mem::offset_of!(SampleRowParams, top_k) - 48usize];
    ["Offset of field: SampleRowParams::position"]
        [::std::mem::offset_of!(SampleRowParams, position) - 52usize];
    ["Offset of field: SampleRowParams::repetition"]
        [::std::mem::offset_of!(SampleRowParams, repetition) - 56usize];
    ["Offset of field: SampleRowParams::frequency"]
        [::std::mem::offset_of!(SampleRowParams, frequency) - 60usize];
    ["Offset of field: SampleRowParams::presence"]
        [::std::mem::offset_of!(SampleRowParams, presence) - 64usize];
    ["Offset of field: SampleRowParams::flags"]
        [::std::mem::offset_of!(SampleRowParams, flags) - 68usize];
};
/// What is done to the logit of one token before all else.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct SampleAdjustment {
    /// The token.
    pub token: u32,
    /// `ADJUST_BIAS`, `ADJUST_REPETITION`.
    pub flags: u32,
    /// Times that it stands in the output.
    pub output_count: u32,
    /// Sum of its biases.
    pub bias: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SampleAdjustment"][::std::mem::size_of::<SampleAdjustment>() - 16usize];
    ["Alignment of SampleAdjustment"][::std::mem::align_of::<SampleAdjustment>() - 4usize];
    ["Offset of field: SampleAdjustment::token"]
        [::std::mem::offset_of!(SampleAdjustment, token) - 0usize];
    ["Offset of field: SampleAdjustment::flags"]
        [::std::mem::offset_of!(SampleAdjustment, flags) - 4usize];
    ["Offset of field: SampleAdjustment::output_count"]
        [::std::mem::offset_of!(SampleAdjustment, output_count) - 8usize];
    ["Offset of field: SampleAdjustment::bias"]
        [::std::mem::offset_of!(SampleAdjustment, bias) - 12usize];
};
/// What the scan of a row has found, for the choice that follows.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct SelectionScan {
    /// First key of the order.
    pub top: u64,
    /// Least value of a candidate, as an ordered integer.
    pub bound: u32,
    /// Keeps the size a multiple of 8 without implicit padding. Zero.
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SelectionScan"][::std::mem::size_of::<SelectionScan>() - 16usize];
    ["Alignment of SelectionScan"][::std::mem::align_of::<SelectionScan>() - 8usize];
    ["Offset of field: SelectionScan::top"][::std::mem::offset_of!(SelectionScan, top) - 0usize];
    ["Offset of field: SelectionScan::bound"]
        [::std::mem::offset_of!(SelectionScan, bound) - 8usize];
    ["Offset of field: SelectionScan::reserved"]
        [::std::mem::offset_of!(SelectionScan, reserved) - 12usize];
};
/// What the blocks of a row tell each other. All 0 before the first launch, and but for `scan`
/// after each.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct SelectionState {
    /// Largest key of a scan that is under way.
    pub best: u64,
    /// Sum of weights of a choice that is under way.
    pub mass: u64,
    /// Candidates listed so far.
    pub candidates: u32,
    /// Blocks that have arrived.
    pub arrivals: u32,
    /// From the scan to the choice.
    pub scan: SelectionScan,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SelectionState"][::std::mem::size_of::<SelectionState>() - 40usize];
    ["Alignment of SelectionState"][::std::mem::align_of::<SelectionState>() - 8usize];
    ["Offset of field: SelectionState::best"]
        [::std::mem::offset_of!(SelectionState, best) - 0usize];
    ["Offset of field: SelectionState::mass"]
        [::std::mem::offset_of!(SelectionState, mass) - 8usize];
    ["Offset of field: SelectionState::candidates"]
        [::std::mem::offset_of!(SelectionState, candidates) - 16usize];
    ["Offset of field: SelectionState::arrivals"]
        [::std::mem::offset_of!(SelectionState, arrivals) - 20usize];
    ["Offset of field: SelectionState::scan"]
        [::std::mem::offset_of!(SelectionState, scan) - 24usize];
};
/// Arguments of `sample_scan` and `sample_choose`: draws one token from each row of logits.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct SampleParams {
    /// f32 `[row_count, stride]`, of which `vocab` columns are logits.
    pub logits: u64,
    /// How each row is drawn, `[row_count]`, and behind them what they refer to.
    pub rows: u64,
    /// `[row_count]`.
    pub states: u64,
    /// Counts, `[row_count, SAMPLE_BINS]`, 0 before and after.
    pub bins: u64,
    /// Keys, `[row_count, vocab]`.
    pub candidates: u64,
    /// Drawn tokens, `[row_count]`, written whole; 0 where none could be drawn.
    pub tokens: u64,
    /// `SAMPLE_OK` or what is wrong, `[row_count]`, written whole.
    pub status: u64,
    /// Rows: the y size of the grid.
    pub row_count: u32,
    /// Tokens of the vocabulary, at most 2^23.
    pub vocab: u32,
    /// Elements from a row of logits to the next.
    pub stride: u32,
    /// Tiles that a block takes: the x size of the grid is the row's tiles by it, rounded up.
    pub tiles_per_block: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SampleParams"][::std::mem::size_of::<SampleParams>() - 72usize];
    ["Alignment of SampleParams"][::std::mem::align_of::<SampleParams>() - 8usize];
    ["Offset of field: SampleParams::logits"]
        [::std::mem::offset_of!(SampleParams, logits) - 0usize];
    ["Offset of field: SampleParams::rows"][::std::mem::offset_of!(SampleParams, rows) - 8usize];
    ["Offset of field: SampleParams::states"]
        [::std::mem::offset_of!(SampleParams, states) - 16usize];
    ["Offset of field: SampleParams::bins"][::std::mem::offset_of!(SampleParams, bins) - 24usize];
    ["Offset of field: SampleParams::candidates"]
        [::std::mem::offset_of!(SampleParams, candidates) - 32usize];
    ["Offset of field: SampleParams::tokens"]
        [::std::mem::offset_of!(SampleParams, tokens) - 40usize];
    ["Offset of field: SampleParams::status"]
        [::std::mem::offset_of!(SampleParams, status) - 48usize];
    ["Offset of field: SampleParams::row_count"]
        [::std::mem::offset_of!(SampleParams, row_count) - 56usize];
    ["Offset of field: SampleParams::vocab"][::std::mem::offset_of!(SampleParams, vocab) - 60usize];
    ["Offset of field: SampleParams::stride"]
        [::std::mem::offset_of!(SampleParams, stride) - 64usize];
    ["Offset of field: SampleParams::tiles_per_block"]
        [::std::mem::offset_of!(SampleParams, tiles_per_block) - 68usize];
};
/// Stands in `LogprobsParams::tops` for a row of which nothing is wanted.
pub const LOGPROBS_SKIP: u32 = 4294967295;
/// The most tokens whose log-probabilities a row may ask for, and the width of the result.
pub const LOGPROBS_TOP_MAX: u32 = 64;
/// Arguments of `logprobs_scan` and `logprobs_choose`: log-probabilities of the raw logits.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct LogprobsParams {
    /// f32 `[row_count, stride]`, of which `vocab` columns are logits.
    pub logits: u64,
    /// The token of each row whose log-probability is wanted, `[row_count]`, each below `vocab`.
    pub tokens: u64,
    /// How many of the most probable tokens each row wants, `[row_count]`: at most
    /// `LOGPROBS_TOP_MAX`, or `LOGPROBS_SKIP`.
    pub tops: u64,
    /// `[row_count]`.
    pub states: u64,
    /// Counts, `[row_count, SAMPLE_BINS]`, 0 before and after.
    pub bins: u64,
    /// Keys, `[row_count, vocab]`.
    pub candidates: u64,
    /// Log-probability of the token, f32 `[row_count]`; not written where skipped.
    pub logprobs: u64,
    /// How many of the wanted tokens there are, `[row_count]`; not written where skipped.
    pub top_counts: u64,
    /// The most probable tokens, `[row_count, LOGPROBS_TOP_MAX]`, as many as counted written.
    pub top_tokens: u64,
    /// Their log-probabilities, f32, likewise.
    pub top_logprobs: u64,
    /// Rows: the y size of the grid.
    pub row_count: u32,
    /// Tokens of the vocabulary, at most 2^23.
    pub vocab: u32,
    /// Elements from a row of logits to the next.
    pub stride: u32,
    /// Tiles that a block takes: the x size of the grid is the row's tiles by it, rounded up.
    pub tiles_per_block: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of LogprobsParams"][::std::mem::size_of::<LogprobsParams>() - 96usize];
    ["Alignment of LogprobsParams"][::std::mem::align_of::<LogprobsParams>() - 8usize];
    ["Offset of field: LogprobsParams::logits"]
        [::std::mem::offset_of!(LogprobsParams, logits) - 0usize];
    ["Offset of field: LogprobsParams::tokens"]
        [::std::mem::offset_of!(LogprobsParams, tokens) - 8usize];
    ["Offset of field: LogprobsParams::tops"]
        [::std::mem::offset_of!(LogprobsParams, tops) - 16usize];
    ["Offset of field: LogprobsParams::states"]
        [::std::mem::offset_of!(LogprobsParams, states) - 24usize];
    ["Offset of field: LogprobsParams::bins"]
        [::std::mem::offset_of!(LogprobsParams, bins) - 32usize];
    ["Offset of field: LogprobsParams::candidates"]
        [::std::mem::offset_of!(LogprobsParams, candidates) - 40usize];
    ["Offset of field: LogprobsParams::logprobs"]
        [::std::mem::offset_of!(LogprobsParams, logprobs) - 48usize];
    ["Offset of field: LogprobsParams::top_counts"]
        [::std::mem::offset_of!(LogprobsParams, top_counts) - 56usize];
    ["Offset of field: LogprobsParams::top_tokens"]
        [::std::mem::offset_of!(LogprobsParams, top_tokens) - 64usize];
    ["Offset of field: LogprobsParams::top_logprobs"]
        [::std::mem::offset_of!(LogprobsParams, top_logprobs) - 72usize];
    ["Offset of field: LogprobsParams::row_count"]
        [::std::mem::offset_of!(LogprobsParams, row_count) - 80usize];
    ["Offset of field: LogprobsParams::vocab"]
        [::std::mem::offset_of!(LogprobsParams, vocab) - 84usize];
    ["Offset of field: LogprobsParams::stride"]
        [::std::mem::offset_of!(LogprobsParams, stride) - 88usize];
    ["Offset of field: LogprobsParams::tiles_per_block"]
        [::std::mem::offset_of!(LogprobsParams, tiles_per_block) - 92usize];
};
