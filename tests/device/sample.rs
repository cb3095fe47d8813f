//! Draws on the device are those of `src/sample.rs`: the token of every row, whatever is drawn
//! beside it and however its vocabulary is spread over blocks, and the same errors.

use super::traffic::Budget;
use super::{Rig, rigs, samples};
use half::bf16;
use ridgepoint::backend::SampleRow;
use ridgepoint::backend::cuda::memory::Buffer;
use ridgepoint::backend::cuda::ops::embed::{Embed, embed};
use ridgepoint::backend::cuda::ops::sample::{Sample, SampleInputs, check_status, sample};
use ridgepoint::backend::cuda::ops::selection::{SelectionSizes, SelectionWorkspace};
use ridgepoint::backend::cuda::params::{
    ADJUST_BIAS, ADJUST_REPETITION, SAMPLE_ADJUST, SAMPLE_SKIP, SampleRowParams, SelectionState,
};
use ridgepoint::request::{SamplingParams, TokenId};
use ridgepoint::sample::draw;
use ridgepoint::sample::math::{GUMBEL_MAX, gumbel};
use ridgepoint::sample::philox::philox4x32_10;

const INF: f32 = f32::INFINITY;

/// Device memory of the ops that pick from a vocabulary.
pub struct Memory {
    states: Buffer,
    bins: Buffer,
    candidates: Buffer,
    sizes: SelectionSizes,
}

impl Memory {
    pub fn new(rig: &Rig, rows: usize, vocab: usize) -> Memory {
        let sizes = SelectionSizes { rows, vocab };
        Memory {
            states: Buffer::zeroed(rig.driver(), sizes.state_bytes()).unwrap(),
            bins: Buffer::zeroed(rig.driver(), sizes.bin_bytes()).unwrap(),
            candidates: Buffer::new(rig.driver(), sizes.candidate_bytes()).unwrap(),
            sizes,
        }
    }

    pub fn operands(&self) -> SelectionWorkspace {
        let candidates = self.candidates.ptr();
        SelectionWorkspace { states: self.states.ptr(), bins: self.bins.ptr(), candidates }
    }

    /// What the next op relies on.
    pub fn check_clean(&self) {
        for mut state in self.states.read::<SelectionState>(self.sizes.rows).unwrap() {
            state.scan = bytemuck::Zeroable::zeroed();
            let zero = bytemuck::bytes_of(&state).iter().all(|byte| *byte == 0);
            assert!(zero, "{state:?}");
        }
        let bins = self.bins.read::<u32>(self.sizes.bin_bytes() as usize / 4).unwrap();
        assert!(bins.iter().all(|bin| *bin == 0), "bins");
    }
}

/// A row to draw from.
#[derive(Debug, Clone)]
pub struct Case {
    pub logits: Vec<f32>,
    pub history: Vec<TokenId>,
    pub prompt_len: usize,
    pub params: SamplingParams,
}

impl Case {
    fn row(&self) -> SampleRow<'_> {
        SampleRow { params: &self.params, history: &self.history, prompt_len: self.prompt_len }
    }

    /// Tokens that the first of top-k, top-p and min-p that is set would leave, of logits without
    /// penalties.
    fn left_by_one_filter(&self) -> usize {
        let params = &self.params;
        let mut values: Vec<f32> = self.logits.iter().map(|x| x / params.temperature).collect();
        values.sort_by(|a, b| b.total_cmp(a));
        let weights = || values.iter().map(|y| f64::from(y - values[0]).exp());
        if params.top_k > 0 {
            params.top_k as usize
        } else if params.top_p < 1.0 {
            let total: f64 = weights().sum();
            let mut mass = 0.0;
            let reaches = |w: f64| {
                mass += w / total;
                mass >= f64::from(params.top_p)
            };
            weights().position(reaches).unwrap()
        } else if params.min_p > 0.0 {
            weights().filter(|w| *w >= f64::from(params.min_p)).count()
        } else {
            0
        }
    }

    fn expected(&self) -> Result<u32, String> {
        draw(&self.logits, &self.row()).map(|s| s.token.0).map_err(|e| e.to_string())
    }
}

/// Tokens and status of the rows, drawn in one batch; `stride` may leave a gap between rows.
fn draw_batch(rig: &Rig, cases: &[Case], padded: usize, stride: usize) -> (Vec<u32>, Vec<u32>) {
    draw_with(rig, &Memory::new(rig, padded, cases[0].logits.len()), cases, stride)
}

fn draw_with(rig: &Rig, memory: &Memory, cases: &[Case], stride: usize) -> (Vec<u32>, Vec<u32>) {
    let padded = memory.sizes.rows;
    let vocab = cases[0].logits.len();
    let rows: Vec<SampleRow<'_>> = cases.iter().map(Case::row).collect();
    let inputs = SampleInputs::new(&rows, padded, vocab);
    let history = cases.iter().map(|case| case.history.len()).max().unwrap();
    assert!(inputs.bytes.len() as u64 <= SampleInputs::bytes_max(padded, vocab, history));
    // A gap is NaN: reading it would be a fault of the row.
    let mut logits = vec![f32::NAN; padded * stride];
    for (row, case) in logits.chunks_mut(stride).zip(cases) {
        row[..vocab].copy_from_slice(&case.logits);
    }
    let (logits, bytes) = (rig.upload(&logits), rig.upload(&inputs.bytes));
    let (tokens, status) = (rig.room::<u32>(padded), rig.room::<u32>(padded));
    let op = Sample {
        logits: logits.ptr(),
        inputs: bytes.ptr(),
        workspace: memory.operands(),
        tokens: tokens.ptr(),
        status: status.ptr(),
        rows: padded as u32,
        vocab: vocab as u32,
        stride: stride as u32,
        filters: inputs.filters,
    };
    sample(&rig.kernels, &op).unwrap();
    let found = (tokens.read(padded).unwrap(), status.read(padded).unwrap());
    memory.check_clean();
    found
}

/// Draws all cases at once and holds each against the definition.
fn check(rig: &Rig, cases: &[Case]) {
    let vocab = cases[0].logits.len();
    let (tokens, status) = draw_batch(rig, cases, cases.len(), vocab);
    for (i, case) in cases.iter().enumerate() {
        let found = check_status(&status[i..i + 1], vocab).map(|()| tokens[i]);
        let found = found.map_err(|error| error.to_string());
        assert_eq!(found, case.expected(), "row {i} of {}: {:?}", cases.len(), case.params);
    }
}

/// A generator of test data (Vigna 2015, splitmix64).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Evenly from `low` to `high`.
    pub fn float(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.next() >> 40) as f32 / (1 << 24) as f32
    }

    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Logits of one of several shapes: near each other, few distinct values, long tails, any
    /// number that f32 has.
    pub fn logits(&mut self, vocab: usize) -> Vec<f32> {
        let shape = self.below(6);
        let mut logits: Vec<f32> = (0..vocab).map(|_| self.logit(shape)).collect();
        if logits.iter().all(|&x| x == -INF) {
            let finite = self.below(vocab);
            logits[finite] = 0.5;
        }
        logits
    }

    fn logit(&mut self, shape: usize) -> f32 {
        match shape {
            0 => self.float(-4.0, 4.0),
            1 => self.below(40) as f32 / 4.0 - 5.0,
            2 => -self.float(0.001, 1.0).ln() * 6.0,
            3 => self.of(&[-INF, -0.0, 0.0, 1.0, 2.0]),
            4 => self.float(-900.0, 900.0),
            _ => Some(f32::from_bits(self.next() as u32)).filter(|x| *x < INF).unwrap_or(3.0),
        }
    }

    fn params(&mut self, vocab: usize) -> SamplingParams {
        let k = self.below(vocab + 3) as u32;
        let p = self.float(1e-6, 1.0);
        let m = self.float(0.0, 1.0);
        let mut params = SamplingParams {
            temperature: self.of(&[0.0, 1.0, 1.0, 0.7, 1e-3, 3.5, 1e3]),
            top_k: self.of(&[0, 0, k, 1, 3, 20]),
            top_p: self.of(&[1.0, 1.0, p, 0.9, f32::MIN_POSITIVE, 1.0 - f32::EPSILON / 2.0]),
            min_p: self.of(&[0.0, 0.0, m, 0.05, 1.0, 9.1e-13, 1e-20]),
            seed: self.next(),
            ..SamplingParams::default()
        };
        if self.below(2) == 0 {
            params.repetition_penalty = self.of(&[1.0, 1.3, 0.01, 100.0]);
            params.frequency_penalty = self.of(&[0.0, 0.5, -100.0, 77.7]);
            params.presence_penalty = self.of(&[0.0, 0.25, 100.0, -3.0]);
            let bias = |rng: &mut Rng| {
                (TokenId(rng.below(vocab) as u32), rng.of(&[-1e4, 1e4, 0.5, -1.25, 0.0]))
            };
            params.logit_bias = (0..self.below(6)).map(|_| bias(self)).collect();
        }
        params.validate(vocab).unwrap();
        params
    }

    fn case(&mut self, vocab: usize) -> Case {
        let history: Vec<TokenId> =
            (0..self.below(40)).map(|_| TokenId(self.below(vocab) as u32)).collect();
        Case {
            logits: self.logits(vocab),
            prompt_len: self.below(history.len() + 1),
            history,
            params: self.params(vocab),
        }
    }

    fn cases(&mut self, count: usize, vocab: usize) -> Vec<Case> {
        (0..count).map(|_| self.case(vocab)).collect()
    }
}

/// Both passes draw rows of their own: twice as many are tried.
#[test]
fn random_rows_draw_what_the_definition_draws() {
    for (pass, rig) in rigs().into_iter().enumerate() {
        let sizes = [(1, 20), (2, 60), (31, 150), (211, 150), (1000, 60), (5003, 20)];
        for (i, (vocab, rows)) in sizes.into_iter().enumerate() {
            let seed = (pass * sizes.len() + i) as u64;
            rig.set_seed(seed);
            check(&rig, &Rng(seed).cases(rows, vocab));
        }
    }
}

/// Two tokens whose scores are equal or one unit in the last place apart: the draw shows the last
/// bit of both their noises.
#[test]
fn noise_has_the_bits_of_the_definition() {
    for (pass, rig) in rigs().into_iter().enumerate() {
        let mut rng = Rng(77 + pass as u64);
        let cases: Vec<Case> = (0..100).flat_map(|_| on_the_edge(&mut rng)).collect();
        let winners = |first: bool| {
            let wins = |case: &&Case| (case.expected().unwrap() == case.history[0].0) == first;
            cases.iter().filter(wins).count()
        };
        assert!(winners(true) > 50 && winners(false) > 50, "not on the edge");
        check(&rig, &cases);
    }
}

fn on_the_edge(rng: &mut Rng) -> [Case; 2] {
    const VOCAB: usize = 24;
    let (seed, first) = (rng.next(), rng.below(VOCAB));
    let second = (first + 1 + rng.below(VOCAB - 1)) % VOCAB;
    let history = vec![TokenId(first as u32)];
    let noise = |token: usize| {
        let counter = [token as u32 / 4, history.len() as u32, 0, 0];
        gumbel(philox4x32_10(counter, [seed as u32, (seed >> 32) as u32])[token % 4])
    };
    let (one, other) = (noise(first), noise(second));
    // The largest value whose score does not pass the other's, and the one above it.
    let mut value = one - other;
    while value + other > one {
        value = value.next_down();
    }
    while value.next_up() + other <= one {
        value = value.next_up();
    }
    // With a filter the draw is from a list, without one from all.
    let top_k = if rng.below(2) == 0 { 2 } else { 0 };
    let params = SamplingParams { temperature: 1.0, top_k, seed, ..SamplingParams::default() };
    [value, value.next_up()].map(|value| {
        let mut logits = vec![-1000.0; VOCAB];
        logits[first] = 0.0;
        logits[second] = value;
        Case { logits, history: history.clone(), prompt_len: 0, params: params.clone() }
    })
}

/// What a kernel leaves out by a bound must lie below it: see `gumbel_bound` in sampling.cuh.
#[test]
fn no_noise_is_above_its_bound() {
    for ones in 0..=32u32 {
        let largest = if ones >= 32 { u32::MAX } else { !(1 << (31 - ones)) };
        assert_eq!(largest.leading_ones(), ones);
        assert!(gumbel(largest) < (ones + 1) as f32 * 0.6932, "{ones} leading ones");
        assert!(gumbel(largest) < GUMBEL_MAX);
    }
}

/// Logits of a language model: most tokens far below a few.
pub fn like_a_model(rng: &mut Rng, vocab: usize) -> Vec<f32> {
    let normal = |rng: &mut Rng| (0..6).map(|_| rng.float(-1.0, 1.0)).sum::<f32>() * 1.8;
    let mut logits: Vec<f32> = (0..vocab).map(|_| normal(rng) - 2.0).collect();
    for rank in 0..40 {
        let token = rng.below(vocab);
        logits[token] = 14.0 - 0.25 * rank as f32;
    }
    logits
}

fn filtered(temperature: f32, (top_k, top_p, min_p): (u32, f32, f32), seed: u64) -> SamplingParams {
    SamplingParams { temperature, top_k, top_p, min_p, seed, ..SamplingParams::default() }
}

const FILTERS: [(u32, f32, f32); 9] = [
    (0, 1.0, 0.0),
    (0, 0.9, 0.0),
    (0, 0.999_99, 0.0),
    (50, 1.0, 0.0),
    (1000, 0.95, 0.0),
    (20, 0.95, 0.01),
    (0, 0.98, 0.05),
    (0, 1.0, 0.05),
    (1, 1.0, 0.0),
];

#[test]
fn a_vocabulary_of_many_tiles_draws_the_same_and_lists_few_candidates() {
    let vocab = 32_001;
    let mut rng = Rng(5);
    let logits = like_a_model(&mut rng, vocab);
    for rig in rigs() {
        let memory = Memory::new(&rig, 1, vocab);
        for filter in FILTERS {
            let params = filtered(0.8, filter, rng.next());
            let case = Case { logits: logits.clone(), history: Vec::new(), prompt_len: 0, params };
            rig.driver().fill(memory.candidates.ptr(), 0, memory.candidates.bytes()).unwrap();
            let found = draw_with(&rig, &memory, std::slice::from_ref(&case), vocab);
            assert_eq!((Ok(found.0[0]), found.1[0]), (case.expected(), 0), "{filter:?}");
            let listed = memory.candidates.read::<u64>(vocab).unwrap();
            let listed = listed.iter().filter(|key| **key != 0).count();
            let most = 2 * case.left_by_one_filter() + 64;
            assert!(listed <= most, "{filter:?} lists {listed} tokens, at most {most}");
        }
    }
}

/// Every token weighs the same, so all of them are candidates and only ids decide.
#[test]
fn equal_values_are_cut_by_their_ids() {
    for rig in rigs() {
        let vocab = 4100;
        for filter in [(4099, 1.0, 0.0), (0, 0.5, 0.0), (2500, 0.5, 1.0), (0, 1.0, 1.0)] {
            let params = filtered(1.0, filter, 3);
            let logits = vec![-7.25; vocab];
            check(&rig, &[Case { logits, history: Vec::new(), prompt_len: 0, params }]);
        }
    }
}

#[test]
fn a_row_draws_the_same_alone_among_others_and_under_any_schedule() {
    for rig in rigs() {
        let vocab = 5003;
        let mut rng = Rng(11);
        let params = FILTERS.map(|filter| filtered(0.9, filter, rng.next()));
        let cases = params.map(|params| Case { params, ..rng.case(vocab) });
        let wanted: Vec<u32> = cases.iter().map(|case| case.expected().unwrap()).collect();
        for seed in rig.seeds(6) {
            rig.set_seed(seed);
            assert_eq!(draw_batch(&rig, &cases, cases.len(), vocab).0, wanted, "seed {seed}");
        }
        let alone =
            cases.iter().map(|case| draw_batch(&rig, std::slice::from_ref(case), 1, vocab).0[0]);
        assert_eq!(alone.collect::<Vec<u32>>(), wanted);
        // So many rows that a block takes all tiles of its row; rows of padding draw 0.
        let (tokens, status) = draw_batch(&rig, &cases, 1100, vocab);
        assert_eq!(tokens[..cases.len()], wanted);
        assert!(tokens[cases.len()..].iter().chain(&status).all(|x| *x == 0));
        // Rows that begin at any multiple of 4 bytes, or of 16.
        assert_eq!(draw_batch(&rig, &cases, cases.len(), vocab + 2).0, wanted);
        assert_eq!(draw_batch(&rig, &cases, cases.len(), vocab + 5).0, wanted);
    }
}

#[test]
fn faulty_rows_are_named_and_harm_no_other() {
    for rig in rigs() {
        let vocab = 2100;
        let mut rng = Rng(3);
        let mut cases = rng.cases(10, vocab);
        let good = cases[9].clone();
        for (case, filter) in cases.iter_mut().zip(FILTERS) {
            case.params = filtered(1.0, filter, 1);
            case.logits = like_a_model(&mut rng, vocab);
        }
        for (case, token) in cases.iter_mut().zip([2050, 2099, 0, 7]) {
            case.logits[token] = f32::NAN;
        }
        cases[1].logits[64] = INF;
        cases[4].logits[3] = INF;
        cases[5].logits.fill(-INF);
        cases[6].logits.fill(-INF);
        cases[7].params.temperature = 0.0;
        cases[7].logits[1] = -f32::NAN;
        cases[8].logits.fill(f32::NAN);
        assert_eq!(cases.iter().filter(|case| case.expected().is_err()).count(), 9);
        cases[9] = good;
        check(&rig, &cases);
    }
}

#[test]
fn a_recorded_draw_reads_the_inputs_of_each_replay() {
    for rig in rigs() {
        let vocab = 211;
        let mut rng = Rng(21);
        let cases = rng.cases(4, vocab);
        let memory = Memory::new(&rig, 1, vocab);
        let logits = rig.room::<f32>(vocab);
        let inputs = rig.room::<u8>(SampleInputs::bytes_max(1, vocab, 64) as usize);
        let (token, status) = (rig.room::<u32>(1), rig.room::<u32>(1));
        let op = Sample {
            logits: logits.ptr(),
            inputs: inputs.ptr(),
            workspace: memory.operands(),
            tokens: token.ptr(),
            status: status.ptr(),
            rows: 1,
            vocab: vocab as u32,
            stride: vocab as u32,
            filters: true,
        };
        let graph = rig.kernels.record(|| sample(&rig.kernels, &op)).unwrap();
        for case in &cases {
            logits.write(&case.logits).unwrap();
            inputs.write(&SampleInputs::new(&[case.row()], 1, vocab).bytes).unwrap();
            assert!(rig.kernels.replay(&graph, || sample(&rig.kernels, &op)).unwrap());
            assert_eq!(Ok(token.read::<u32>(1).unwrap()[0]), case.expected());
        }
    }
}

/// The next step's embedding reads the token where the draw has put it.
#[test]
fn the_token_is_there_for_the_next_kernel() {
    for rig in rigs() {
        let (vocab, hidden) = (3000, 16);
        let table = samples(vocab * hidden, 1);
        let on_device = rig.upload(&table);
        let mut rng = Rng(8);
        for seed in rig.seeds(6) {
            rig.set_seed(seed);
            let params = filtered(1.0, FILTERS[seed as usize % 5], seed);
            let case = Case { params, ..rng.case(vocab) };
            let memory = Memory::new(&rig, 1, vocab);
            let inputs = SampleInputs::new(&[case.row()], 1, vocab);
            let (logits, bytes) = (rig.upload(&case.logits), rig.upload(&inputs.bytes));
            let (token, status) = (rig.room::<u32>(1), rig.room::<u32>(1));
            let out = rig.room::<bf16>(hidden);
            let op = Sample {
                logits: logits.ptr(),
                inputs: bytes.ptr(),
                workspace: memory.operands(),
                tokens: token.ptr(),
                status: status.ptr(),
                rows: 1,
                vocab: vocab as u32,
                stride: vocab as u32,
                filters: inputs.filters,
            };
            let next = Embed {
                table: on_device.ptr(),
                token_ids: token.ptr(),
                out: out.ptr(),
                norm: None,
                tokens: 1,
                hidden: hidden as u32,
                vocab: vocab as u32,
            };
            sample(&rig.kernels, &op).unwrap();
            embed(&rig.kernels, &next).unwrap();
            let drawn = case.expected().unwrap() as usize;
            let found = out.read::<bf16>(hidden).unwrap();
            assert_eq!(found, table[drawn * hidden..][..hidden], "seed {seed}");
        }
    }
}

/// How often the scan of a row and the choice after it read the logits from device memory: as a
/// chain of programmatic launches they count as one.
pub fn passes(rig: &Rig) -> usize {
    if rig.kernels.facts("sample_choose_f32").waits_for_grid { 1 } else { 2 }
}

#[test]
fn traffic_is_what_the_head_says() {
    for rig in rigs() {
        let (vocab, rows) = (32_000usize, 4);
        let mut rng = Rng(2);
        for (temperature, filter) in [(0.0, FILTERS[0]), (1.0, FILTERS[0]), (1.0, FILTERS[1])] {
            let params = filtered(temperature, filter, 9);
            let case = |rng: &mut Rng| {
                let logits = like_a_model(rng, vocab);
                Case { logits, history: Vec::new(), prompt_len: 0, params: params.clone() }
            };
            let cases: Vec<Case> = (0..rows).map(|_| case(&mut rng)).collect();
            rig.counters();
            draw_batch(&rig, &cases, rows, vocab);
            let filters = filter != FILTERS[0];
            let pass = vocab * 4 + vocab.div_ceil(2048) * 88;
            // The nucleus of these logits is less than 64 tokens.
            let row = if filters { 2 * pass + 6144 + 80 * 64 } else { pass + 2048 };
            let bytes = (rows * row) as u64;
            // Logits once a launch, or once in a chain; counts and keys written and read.
            let found = if filters { 2 * 1024 + 2 * 80 * 8 } else { 0 };
            let reads = if filters { passes(&rig) } else { 1 };
            let compulsory = (rows * (reads * vocab * 4 + found)) as u64;
            let budget = Budget { requested: bytes, sectors: bytes, compulsory };
            budget.check(&rig, &format!("temperature {temperature}, {filter:?}"));
        }
    }
}

/// What is done to a token that is biased and has been seen is one entry.
#[test]
fn inputs_are_sorted_by_token_and_padded() {
    let bias = [(9, 1.0), (4, 0.5), (9, -3.0)].map(|(token, b)| (TokenId(token), b)).to_vec();
    let params =
        SamplingParams { logit_bias: bias, presence_penalty: 1.0, ..SamplingParams::default() };
    let history: Vec<TokenId> = [9, 2500, 9, 2500, 7].map(TokenId).to_vec();
    let row = SampleRow { params: &params, history: &history, prompt_len: 2 };
    let plain = SamplingParams::default();
    let other = SampleRow { params: &plain, history: &history, prompt_len: 0 };
    let inputs = SampleInputs::new(&[other, row], 3, 5000);
    assert!(!inputs.filters);
    let size = size_of::<SampleRowParams>();
    let words: &[u32] = bytemuck::cast_slice(&inputs.bytes[3 * size..]);
    // Three tiles: tokens below 2048, below 4096, the rest.
    let adjustments: Vec<[u32; 4]> = [
        (4, ADJUST_BIAS, 0, 0.5f32),
        (7, ADJUST_REPETITION, 1, 0.0),
        (9, ADJUST_BIAS | ADJUST_REPETITION, 1, -2.0),
        (2500, ADJUST_REPETITION, 1, 0.0),
    ]
    .map(|(token, flags, count, bias)| [token, flags, count, bias.to_bits()])
    .to_vec();
    assert_eq!(words[..4], [0, 3, 4, 4]);
    assert_eq!(words[4..], adjustments.concat());
    let rows: &[SampleRowParams] = bytemuck::cast_slice(&inputs.bytes[..3 * size]);
    let flags: Vec<u32> = rows.iter().map(|row| row.flags).collect();
    assert_eq!(flags, [0, SAMPLE_ADJUST, SAMPLE_SKIP]);
}
