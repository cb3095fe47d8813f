//! How the clusters of `gemm_decode_sm90` divide K among them, and the scratch memory that shared
//! tiles need. No bit depends on the division: what a range leaves is added up in the order of the
//! slices.

use crate::backend::cuda::params::{
    GEMM_DECODE_FEATURES, GEMM_DECODE_SM90_TOKENS, GEMM_DECODE_WARPS, GEMM_SM90_CLUSTER,
    GEMM_SM90_FEATURES,
};

use super::gemm::{MULTIPROCESSORS, decode_splits};

/// Clusters that a large GPU runs at once.
const CLUSTERS: u32 = MULTIPROCESSORS / GEMM_SM90_CLUSTER;
/// Clocks of 64 columns of a tile with int4 weights: of the tensor cores 256, of L2 for what is
/// fetched 260. With bf16 weights it is L2's 640, and sums that ranges leave each other cost less
/// beside them, but scratch memory is asked for by the shape of W alone.
const CLOCKS: u64 = 260;
/// The same of writing the sums of a range and of reading them again, 32 KiB a block.
const SHARE_CLOCKS: u64 = 1024;
/// The same of an epilogue.
const EPILOGUE_CLOCKS: u64 = 1250;
/// Rounds of tiles on all clusters from which on the last round counts for little, so that K is not
/// divided.
const ROUNDS: u32 = 8;
/// Tokens whose sums lie together.
const OCTET: usize = 8;

/// Pairs of tiles of features, and tiles of tokens.
fn tiles(n: usize, rows: usize) -> (u32, u32) {
    let pairs = (n as u32).div_ceil(GEMM_SM90_CLUSTER * GEMM_SM90_FEATURES);
    (pairs, (rows as u32).div_ceil(GEMM_DECODE_SM90_TOKENS))
}

/// Ranges of K that a tile of `gemm_decode_sm90` can be divided into, fewest first: all of K, the
/// splits of the portable kernel, or its slices.
pub fn possible_ranges(n: usize, k: usize) -> impl Iterator<Item = u32> + Clone {
    let splits = decode_splits(n, k);
    let all = [1, splits, GEMM_DECODE_WARPS * splits].into_iter().enumerate();
    all.filter(move |(i, _)| *i != 1 || splits > 1).map(|(_, ranges)| ranges)
}

/// The ranges with which a product takes the least time on a large GPU, of equal ones the fewest.
pub fn decode_ranges(n: usize, k: usize, rows: usize) -> u32 {
    let (pairs, token_tiles) = tiles(n, rows);
    let tiles = pairs.saturating_mul(token_tiles);
    if tiles >= ROUNDS * CLUSTERS {
        return 1;
    }
    let clocks = |ranges: &u32| {
        let rounds = u64::from((tiles * ranges).div_ceil(CLUSTERS));
        let products = CLOCKS * k.div_ceil(64 * *ranges as usize) as u64;
        match ranges {
            1 => rounds * (products + EPILOGUE_CLOCKS),
            // Who comes last reads what all have written.
            _ => {
                rounds * (products + SHARE_CLOCKS)
                    + u64::from(*ranges) * SHARE_CLOCKS
                    + EPILOGUE_CLOCKS
            }
        }
    };
    possible_ranges(n, k).min_by_key(clocks).unwrap_or(1)
}

/// Scratch memory for the sums of so many ranges.
pub fn range_partials_bytes(n: usize, rows: usize, ranges: u32) -> u64 {
    let width = n.next_multiple_of(GEMM_DECODE_FEATURES as usize);
    let sums = rows.next_multiple_of(OCTET) * width;
    if ranges == 1 { 0 } else { u64::from(ranges) * (sums * size_of::<f32>()) as u64 }
}

/// Counters for tiles that ranges share, one for each 64 features.
pub fn range_arrivals_count(n: usize, rows: usize, ranges: u32) -> usize {
    let (_, token_tiles) = tiles(n, rows);
    let feature_tiles = n.div_ceil(GEMM_DECODE_FEATURES as usize);
    if ranges == 1 { 0 } else { feature_tiles * token_tiles as usize }
}

/// The most memory and the most counters that any number of rows up to `rows` needs.
pub(super) fn range_scratch(n: usize, k: usize, rows: usize) -> (u64, usize) {
    let (pairs, token_tiles) = tiles(n, rows);
    let shared = token_tiles.min(ROUNDS * CLUSTERS / pairs.max(1));
    let most = |(bytes, count): (u64, usize), tile: u32| {
        let rows = rows.min((tile * GEMM_DECODE_SM90_TOKENS) as usize);
        let ranges = decode_ranges(n, k, rows);
        let needs = (range_partials_bytes(n, rows, ranges), range_arrivals_count(n, rows, ranges));
        (bytes.max(needs.0), count.max(needs.1))
    };
    (1..=shared).fold((0, 0), most)
}
