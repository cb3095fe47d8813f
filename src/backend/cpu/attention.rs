//! Causal attention over pages: an online softmax that goes through the pages in ascending order.
//!
//! A task is some consecutive rows of one sequence and one key/value head with all query heads that
//! read it. For each page and each row: scores of the row's visible slots (the dot product of the
//! [module](super) times 1 / sqrt(head_dim)), their maximum, `p = exp(score - max)` with 0 for
//! slots that are not visible, the sum of p over 64 slots in sixteen lanes, and `acc = fma(p, v,
//! acc)` slot by slot. Where the maximum grows, sum and acc are multiplied by exp(old - new) first.
//! Page boundaries are multiples of 64 of the position, so a row does the same whatever rows are
//! beside it; rows share only the time for which a page is in the cache.

use super::gemm::store_some;
use super::math;
use super::parallel::{self, Tile};
use super::simd::{InstructionSet, Kernel, LANES, Simd};
use super::store::{Bf16, Element, F32, KvCache, Tensor};
use super::weight;
use crate::backend::{Batch, Heads, PAGE_SIZE, PageId, Span};
use crate::tensor::Dtype;
use std::ptr;

/// Rows of a task: how often a page is used while it is in the cache.
const TASK_ROWS: usize = 16;

/// The op, see [`crate::backend::Backend::attention`].
pub(super) fn attention(
    set: InstructionSet,
    batch: &Batch,
    layer: usize,
    window: Option<usize>,
    query: &Tensor,
    kv: &KvCache,
    out: &mut Tensor,
) {
    let heads = kv.shape.heads;
    assert_eq!(query.rows, batch.rows(), "query rows of a batch of {}", batch.rows());
    assert_eq!(query.width, heads.query * heads.dim, "query width of {heads:?}");
    assert_eq!(out.width, query.width, "width of attention's out");
    assert!(heads.query.is_multiple_of(heads.kv), "{heads:?}");
    assert!(window != Some(0), "a window of no positions");
    assert!(layer < kv.shape.layers, "layer {layer} of {}", kv.shape.layers);
    out.set_rows(batch.rows());
    let group_width = heads.query / heads.kv * heads.dim;
    let mut rows = out.rows_mut();
    let (mut tasks, mut work) = (Vec::new(), 0);
    for span in &batch.spans {
        let seen = (span.start + span.rows.len()).min(window.unwrap_or(usize::MAX));
        work += 2 * span.rows.len() * seen * query.width;
        let rows = rows.by_ref().take(span.rows.len());
        let tiles = parallel::tiles(rows, TASK_ROWS, group_width);
        tasks.extend(tiles.into_iter().map(|tile| (span, tile)));
    }
    parallel::for_each(work, tasks, |(span, tile)| {
        set.run(Job { layer, window, query, kv, span, table: batch.table(span), tile });
    });
}

/// Some rows of a sequence under one key/value head.
struct Job<'a> {
    layer: usize,
    window: Option<usize>,
    query: &'a Tensor,
    kv: &'a KvCache,
    span: &'a Span,
    table: &'a [PageId],
    /// Its rows count from the start of the span.
    tile: Tile<'a>,
}

impl Kernel for Job<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.kv.shape.dtype {
            Dtype::F32 => attend::<S, F32>(s, self),
            _ => attend::<S, Bf16>(s, self),
        }
    }
}

/// One row under one query head while the pages pass by.
struct State {
    max: f32,
    sum: f32,
}

#[inline(always)]
fn attend<S: Simd, E: Element>(s: S, mut job: Job<'_>) {
    let Heads { query: query_heads, kv: kv_heads, dim } = job.kv.shape.heads;
    let group = query_heads / kv_heads;
    let head = job.tile.col / (group * dim);
    let blocks = dim.div_ceil(LANES);
    let rows = job.tile.rows.len();
    let first_position = job.span.start + job.tile.row;
    let mut queries = vec![[0.0; LANES]; rows * group * blocks];
    for row in 0..rows {
        let from = &job.query.row(job.span.rows.start + job.tile.row + row)[job.tile.col..];
        let to = &mut queries[row * group * blocks..][..group * blocks];
        for (to, from) in to.chunks_exact_mut(blocks).zip(from.chunks_exact(dim)) {
            to.as_flattened_mut()[..dim].copy_from_slice(from);
        }
    }
    let mut acc = vec![[0.0; LANES]; rows * group * blocks];
    let mut states: Vec<State> = Vec::new();
    states.resize_with(rows * group, || State { max: f32::NEG_INFINITY, sum: 0.0 });
    let mut scores = vec![[0.0; PAGE_SIZE]; group];

    let oldest = |position: usize| job.window.map_or(0, |w| (position + 1).saturating_sub(w));
    let last_position = first_position + rows - 1;
    for page in oldest(first_position) / PAGE_SIZE..=last_position / PAGE_SIZE {
        let (keys, values) = job.kv.block(job.layer, job.table[page], head);
        let next = job.table[(page + 1).min(last_position / PAGE_SIZE)];
        let (next, _) = job.kv.block(job.layer, next, head);
        let address = |block: &[u8]| block.as_ptr().addr();
        let values_ahead = address(values).wrapping_sub(address(keys));
        let keys_ahead = address(next).wrapping_sub(address(values));
        let start = page * PAGE_SIZE;
        for row in 0..rows {
            let position = first_position + row;
            let low = oldest(position).max(start);
            let high = (position + 1).min(start + PAGE_SIZE);
            if low >= high {
                continue;
            }
            let slots =
                Slots { low: low - start, high: high - start, dim, values_ahead, keys_ahead };
            let at = row * group * blocks..(row + 1) * group * blocks;
            score_page::<S, E>(s, &queries[at.clone()], keys, &slots, &mut scores);
            let states = &mut states[row * group..][..group];
            let acc = &mut acc[at];
            for ((state, scores), acc) in
                states.iter_mut().zip(&mut scores).zip(acc.chunks_exact_mut(blocks))
            {
                soften(s, state, scores, &slots, acc);
            }
            weigh_page::<S, E>(s, &scores, values, &slots, acc);
        }
    }
    for (row, out) in job.tile.rows.iter_mut().enumerate() {
        for (head, out) in out.chunks_exact_mut(dim).enumerate() {
            let at = row * group + head;
            let total = s.splat(states[at].sum);
            let acc = &mut acc[at * blocks..][..blocks];
            for block in acc.iter_mut() {
                s.store(s.div(s.load(block), total), block);
            }
            out.copy_from_slice(&acc.as_flattened()[..dim]);
        }
    }
}

/// The visible slots of a page.
struct Slots {
    low: usize,
    high: usize,
    dim: usize,
    /// From a key of the page to the value of the same slot, in bytes, wrapping: each is asked for
    /// while the key is used.
    values_ahead: usize,
    /// From a value of the page to the key of the same slot of the next page, likewise.
    keys_ahead: usize,
}

/// Dot products of each query of a group with the visible keys of a page.
#[inline(always)]
fn score_page<S: Simd, E: Element>(
    s: S,
    queries: &[[f32; LANES]],
    keys: &[u8],
    slots: &Slots,
    scores: &mut [[f32; PAGE_SIZE]],
) {
    let group = scores.len();
    let blocks = queries.len() / group;
    let mut head = 0;
    while head < group {
        let left = (group - head).min(S::TILE.0);
        let queries = &queries[head * blocks..];
        let scores = &mut scores[head..];
        head += if S::TILE.0 >= 4 && left >= 4 {
            score_heads::<S, E, 4>(s, queries, blocks, keys, slots, scores)
        } else if S::TILE.0 >= 2 && left >= 2 {
            score_heads::<S, E, 2>(s, queries, blocks, keys, slots, scores)
        } else {
            score_heads::<S, E, 1>(s, queries, blocks, keys, slots, scores)
        };
    }
}

#[inline(always)]
fn score_heads<S: Simd, E: Element, const M: usize>(
    s: S,
    queries: &[[f32; LANES]],
    blocks: usize,
    keys: &[u8],
    slots: &Slots,
    scores: &mut [[f32; PAGE_SIZE]],
) -> usize {
    let mut x: [&[[f32; LANES]]; M] = [&[]; M];
    for (i, x) in x.iter_mut().enumerate() {
        *x = &queries[i * blocks..][..blocks];
    }
    match S::TILE.1 {
        4 => score_slots::<S, E, M, 4>(s, &x, keys, slots, scores),
        2 => score_slots::<S, E, M, 2>(s, &x, keys, slots, scores),
        _ => score_slots::<S, E, M, 1>(s, &x, keys, slots, scores),
    }
    M
}

#[inline(always)]
fn score_slots<S: Simd, E: Element, const M: usize, const N: usize>(
    s: S,
    x: &[&[[f32; LANES]]; M],
    keys: &[u8],
    slots: &Slots,
    scores: &mut [[f32; PAGE_SIZE]],
) {
    let bytes = keys.len() / PAGE_SIZE;
    for slot in (slots.low..slots.high).step_by(N) {
        // Past the last slot the last one is computed again; nobody asks for the result.
        let mut w: [&[u8]; N] = [&[]; N];
        for (j, w) in w.iter_mut().enumerate() {
            *w = &keys[(slot + j).min(slots.high - 1) * bytes..][..bytes];
        }
        let lanes = weight::stored::<S, E, M, N>(s, x, &w, slots.values_ahead);
        let cols = N.min(slots.high - slot);
        for (lanes, scores) in lanes.iter().zip(&mut *scores) {
            store_some(&s.sums(lanes), &mut scores[slot..slot + cols]);
        }
    }
}

/// Turns the scores of a page into weights and brings sum and accumulators to the new maximum.
#[inline(always)]
fn soften<S: Simd>(
    s: S,
    state: &mut State,
    scores: &mut [f32; PAGE_SIZE],
    slots: &Slots,
    acc: &mut [[f32; LANES]],
) {
    scores[..slots.low].fill(f32::NEG_INFINITY);
    scores[slots.high..].fill(f32::NEG_INFINITY);
    let scale = s.splat(1.0 / (slots.dim as f32).sqrt());
    let scores: &mut [[f32; LANES]] = scores.as_chunks_mut().0;
    let mut max = s.splat(f32::NEG_INFINITY);
    for block in scores.iter_mut() {
        let scaled = s.mul(s.load(block), scale);
        max = s.max(scaled, max);
        s.store(scaled, block);
    }
    let mut lanes = [0.0; LANES];
    s.store(max, &mut lanes);
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] = lanes[i].max(lanes[i + half]);
        }
    }
    let max = lanes[0].max(state.max);
    let mut sum = s.splat(0.0);
    for block in scores.iter_mut() {
        let weight = math::exp(s, s.sub(s.load(block), s.splat(max)));
        sum = s.add(sum, weight);
        s.store(weight, block);
    }
    s.store(math::exp(s, s.splat(state.max - max)), &mut lanes);
    let shrink = lanes[0];
    for block in acc {
        s.store(s.mul(s.load(block), s.splat(shrink)), block);
    }
    *state = State { max, sum: state.sum * shrink + s.sum(sum) };
}

/// Adds the weighted values of the visible slots, in ascending order.
#[inline(always)]
fn weigh_page<S: Simd, E: Element>(
    s: S,
    weights: &[[f32; PAGE_SIZE]],
    values: &[u8],
    slots: &Slots,
    acc: &mut [[f32; LANES]],
) {
    let group = weights.len();
    let blocks = acc.len() / group;
    let mut head = 0;
    while head < group {
        let left = (group - head).min(S::TILE.0);
        let weights = &weights[head..];
        let acc = &mut acc[head * blocks..];
        head += if S::TILE.0 >= 4 && left >= 4 {
            weigh_heads::<S, E, 4>(s, weights, values, slots, blocks, acc)
        } else if S::TILE.0 >= 2 && left >= 2 {
            weigh_heads::<S, E, 2>(s, weights, values, slots, blocks, acc)
        } else {
            weigh_heads::<S, E, 1>(s, weights, values, slots, blocks, acc)
        };
    }
}

#[inline(always)]
fn weigh_heads<S: Simd, E: Element, const M: usize>(
    s: S,
    weights: &[[f32; PAGE_SIZE]],
    values: &[u8],
    slots: &Slots,
    blocks: usize,
    acc: &mut [[f32; LANES]],
) -> usize {
    let whole = slots.dim / LANES;
    let mut block = 0;
    if S::TILE.1 == 4 {
        while block + 4 <= whole {
            weigh_blocks::<S, E, M, 4>(s, weights, values, slots, block, blocks, acc);
            block += 4;
        }
    } else if S::TILE.1 == 2 {
        while block + 2 <= whole {
            weigh_blocks::<S, E, M, 2>(s, weights, values, slots, block, blocks, acc);
            block += 2;
        }
    }
    while block < whole {
        weigh_blocks::<S, E, M, 1>(s, weights, values, slots, block, blocks, acc);
        block += 1;
    }
    if whole < blocks {
        for (weights, acc) in weights[..M].iter().zip(acc.chunks_exact_mut(blocks)) {
            weigh_rest::<S, E>(s, weights, values, slots, &mut acc[whole]);
        }
    }
    M
}

/// The rows of the visible slots.
#[inline(always)]
fn visible<'a>(block: &'a [u8], slots: &Slots) -> std::slice::ChunksExact<'a, u8> {
    let bytes = block.len() / PAGE_SIZE;
    block[slots.low * bytes..slots.high * bytes].chunks_exact(bytes)
}

/// B whole blocks of the values, for M query heads.
#[inline(always)]
fn weigh_blocks<S: Simd, E: Element, const M: usize, const B: usize>(
    s: S,
    weights: &[[f32; PAGE_SIZE]],
    values: &[u8],
    slots: &Slots,
    block: usize,
    blocks: usize,
    acc: &mut [[f32; LANES]],
) {
    let mut sums = [[s.splat(0.0); B]; M];
    for i in 0..M {
        for b in 0..B {
            sums[i][b] = s.load(&acc[i * blocks + block + b]);
        }
    }
    for (slot, value) in visible(values, slots).enumerate() {
        let value = &E::split(value).0[block..block + B];
        let mut v = [s.splat(0.0); B];
        for b in 0..B {
            s.prefetch(ptr::from_ref(&value[b]).cast::<u8>().wrapping_add(slots.keys_ahead));
            v[b] = E::load(s, &value[b]);
        }
        for i in 0..M {
            let weight = s.splat(weights[i][slots.low + slot]);
            for b in 0..B {
                sums[i][b] = s.fma(weight, v[b], sums[i][b]);
            }
        }
    }
    for i in 0..M {
        for b in 0..B {
            s.store(sums[i][b], &mut acc[i * blocks + block + b]);
        }
    }
}

/// The last block of a head_dim that is not a multiple of sixteen, for one query head.
#[inline(always)]
fn weigh_rest<S: Simd, E: Element>(
    s: S,
    weights: &[f32; PAGE_SIZE],
    values: &[u8],
    slots: &Slots,
    acc: &mut [f32; LANES],
) {
    let mut sum = s.load(acc);
    for (slot, value) in visible(values, slots).enumerate() {
        let v = E::load(s, &E::pad(E::split(value).1));
        sum = s.fma(s.splat(weights[slots.low + slot]), v, sum);
    }
    s.store(sum, acc);
}
