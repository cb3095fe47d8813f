//! Every kernel, executed by ptxsim from the PTX that this binary embeds: the numbers against f64,
//! no fault under any schedule, the same bits whatever the schedule and whatever rows are beside a
//! row, and no more traffic than the floor at its head allows.

use half::bf16;
use ptxsim::{Device, Launch, Report};
use ridgepoint::backend::cuda::module::MODULES;
use ridgepoint::backend::cuda::params::{
    BF16_VECTOR, EMBED_THREADS, KV_NO_SLOT, KV_PAGE_TOKENS, RMSNORM_THREADS, ROPE_APPEND_THREADS,
    SILU_MUL_THREADS,
};

const SEEDS: u64 = 8;

/// A launch in the making: the parameters are laid out field after field, like the C struct.
struct Case {
    device: Device,
    launch: Launch,
}

impl Case {
    /// `pass` is 80 or 90.
    fn new(module: &str, symbol: &str, pass: u32) -> Case {
        let found = MODULES.iter().find(|m| m.name == module).unwrap();
        let text = if pass == 80 { found.ptx_80.unwrap() } else { found.ptx_90a };
        let mut device = Device::new();
        let loaded = device.load_ptx(module, text).unwrap_or_else(|e| panic!("{e}"));
        let launch = Launch { module: loaded, entry: symbol.into(), ..Launch::default() };
        Case { device, launch }
    }

    /// A buffer with nothing in it, as the next field.
    fn room(&mut self, bytes: usize) -> u64 {
        let address = self.device.alloc(bytes as u64).unwrap();
        self.launch.params.extend(address.to_le_bytes());
        address
    }

    fn bf16s(&mut self, data: &[bf16]) -> u64 {
        let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.bytes(&bytes)
    }

    fn bytes(&mut self, data: &[u8]) -> u64 {
        let address = self.room(data.len());
        self.device.copy_in(address, data).unwrap();
        address
    }

    fn words(&mut self, data: &[u32]) -> u64 {
        let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.bytes(&bytes)
    }

    fn scalar(&mut self, value: u32) {
        self.launch.params.extend(value.to_le_bytes());
    }

    fn run(&mut self, seed: u64) -> Report {
        self.launch.seed = seed;
        let report = self.device.launch(&self.launch).unwrap_or_else(|e| panic!("{e}"));
        assert!(report.is_clean(), "seed {seed}\n{report}");
        assert!(report.counters.bank_conflicts().is_empty(), "{report}");
        report
    }

    fn read(&mut self, address: u64, n: usize) -> Vec<bf16> {
        let mut bytes = vec![0; 2 * n];
        self.device.copy_out(address, &mut bytes).unwrap();
        bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b)).collect()
    }
}

/// Numbers from -2 to 2 that an index decides.
fn samples(n: usize, salt: u64) -> Vec<bf16> {
    let mix = |i: usize| (i as u64 + salt + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (0..n).map(|i| bf16::from_f64(mix(i) as f64 / (1u64 << 22) as f64 - 2.0)).collect()
}

fn near(got: bf16, want: f64, what: &str) {
    let error = (got.to_f64() - want).abs();
    assert!(error <= want.abs() / 256.0 + 1e-6, "{what}: {got}, not {want}");
}

#[test]
fn embed_copies_the_rows_named() {
    for pass in [80, 90] {
        let (vocab, hidden, tokens) = (10, 1040, [7, 0, 9, 9, 3]);
        let mut case = Case::new("embed", "embed_bf16", pass);
        let table = samples(vocab * hidden, 1);
        case.bf16s(&table);
        case.words(&tokens);
        let out = case.room(2 * tokens.len() * hidden);
        for value in [tokens.len() as u32, hidden as u32, vocab as u32, 0] {
            case.scalar(value);
        }
        let slices = (hidden as u32).div_ceil(EMBED_THREADS * BF16_VECTOR);
        case.launch.grid = [tokens.len() as u32, slices, 1];
        case.launch.block = [EMBED_THREADS, 1, 1];
        for seed in 0..SEEDS {
            let counters = case.run(seed).counters;
            assert_eq!(counters.global_writes.bytes, (2 * tokens.len() * hidden) as u64);
            assert_eq!(counters.global_writes.sectors, counters.global_writes.least_sectors);
        }
        let got = case.read(out, tokens.len() * hidden);
        for (row, token) in tokens.iter().enumerate() {
            let want = &table[*token as usize * hidden..][..hidden];
            assert_eq!(&got[row * hidden..][..hidden], want);
        }
    }
}

#[test]
fn embed_traps_on_a_token_beyond_the_table() {
    let mut case = Case::new("embed", "embed_bf16", 80);
    case.bf16s(&samples(4 * 8, 1));
    case.words(&[4]);
    case.room(16);
    for value in [1, 8, 4, 0] {
        case.scalar(value);
    }
    case.launch.block = [EMBED_THREADS, 1, 1];
    let report = case.device.launch(&case.launch).unwrap();
    assert!(report.has(ptxsim::FaultKind::Trap), "{report}");
}

/// Rows of an rmsnorm with a residual: what the residual becomes, and the output.
fn rmsnorm(pass: u32, rows: &[usize], hidden: usize) -> (Vec<bf16>, Vec<bf16>) {
    let mut case = Case::new("rmsnorm", "rmsnorm_bf16", pass);
    let pick = |salt: u64| rows.iter().flat_map(|&r| samples(hidden, salt + r as u64)).collect();
    let (input, residual): (Vec<_>, Vec<_>) = (pick(1_000), pick(2_000));
    let gamma = samples(hidden, 7);
    case.bf16s(&input);
    let stream = case.bf16s(&residual);
    case.bf16s(&gamma);
    let out = case.room(2 * rows.len() * hidden);
    for value in [rows.len() as u32, hidden as u32, 1e-5f32.to_bits(), 0] {
        case.scalar(value);
    }
    case.launch.grid = [rows.len() as u32, 1, 1];
    case.launch.block = [RMSNORM_THREADS, 1, 1];
    case.launch.shared_bytes = 2 * hidden as u32;
    let mut first = None;
    for seed in 0..SEEDS {
        let bytes: Vec<u8> = residual.iter().flat_map(|x| x.to_le_bytes()).collect();
        case.device.copy_in(stream, &bytes).unwrap();
        case.run(seed);
        let n = rows.len() * hidden;
        let got = (case.read(stream, n), case.read(out, n));
        assert_eq!(first.get_or_insert(got.clone()), &got, "seed {seed}");
    }
    let (sum, got) = first.unwrap();
    for r in 0..rows.len() {
        let at = r * hidden..(r + 1) * hidden;
        let h: Vec<f64> = sum[at.clone()].iter().map(|x| x.to_f64()).collect();
        let mean = h.iter().map(|x| x * x).sum::<f64>() / hidden as f64;
        for (i, x) in h.iter().enumerate() {
            let plain = input[at.start + i].to_f64() + residual[at.start + i].to_f64();
            near(sum[at.start + i], plain, "residual");
            near(got[at.start + i], x / (mean + 1e-5).sqrt() * gamma[i].to_f64(), "norm");
        }
    }
    (sum, got)
}

#[test]
fn rmsnorm_gives_a_row_the_same_bits_wherever_it_stands() {
    for hidden in [8, 264, 2056] {
        let (sums, rows) = rmsnorm(80, &[3, 4, 5], hidden);
        assert_eq!(rmsnorm(90, &[3, 4, 5], hidden), (sums.clone(), rows.clone()));
        let (sum, row) = rmsnorm(80, &[5], hidden);
        assert_eq!((sum, row), (sums[2 * hidden..].to_vec(), rows[2 * hidden..].to_vec()));
    }
}

#[test]
fn silu_mul_is_right() {
    for pass in [80, 90] {
        let (rows, n) = (3, 1040);
        let mut case = Case::new("silu_mul", "silu_mul_bf16", pass);
        let both = samples(rows * 2 * n, 5);
        case.bf16s(&both);
        let out = case.room(2 * rows * n);
        case.scalar(rows as u32);
        case.scalar(n as u32);
        let slices = (n as u32).div_ceil(SILU_MUL_THREADS * BF16_VECTOR);
        case.launch.grid = [rows as u32, slices, 1];
        case.launch.block = [SILU_MUL_THREADS, 1, 1];
        let mut first = None;
        for seed in 0..SEEDS {
            case.run(seed);
            let got = case.read(out, rows * n);
            assert_eq!(first.get_or_insert(got.clone()), &got);
        }
        let got = first.unwrap();
        for r in 0..rows {
            for i in 0..n {
                let (gate, up) = (both[2 * r * n + i].to_f64(), both[2 * r * n + n + i].to_f64());
                near(got[r * n + i], gate / (1.0 + (-gate).exp()) * up, "silu_mul");
            }
        }
    }
}

/// Where an element of a (page, head) block is stored: the design's formula, written out again.
fn swizzled(slot: usize, dim: usize) -> usize {
    dim / 64 * 4096 + slot * 64 + ((dim % 64 / 8) ^ (slot & 7)) * 8 + dim % 8
}

struct Rope {
    dim: usize,
    q_heads: usize,
    kv_heads: usize,
    slots: Vec<u32>,
}

#[test]
fn rope_append_rotates_and_stores() {
    for pass in [80, 90] {
        for dim in [64, 128] {
            let slots = vec![70, KV_NO_SLOT, 5, 127, 64];
            rope_append(&Rope { dim, q_heads: 6, kv_heads: 3, slots }, pass);
        }
    }
}

fn rope_append(shape: &Rope, pass: u32) {
    let Rope { dim, q_heads, kv_heads, slots } = shape;
    let (dim, heads, tokens) = (*dim, q_heads + 2 * kv_heads, slots.len());
    let mut case = Case::new("rope_append", &format!("rope_append_bf16_d{dim}"), pass);
    let qkv = samples(tokens * heads * dim, 3);
    let (bias, q_gamma, k_gamma) = (samples(heads * dim, 4), samples(dim, 5), samples(dim, 6));
    let angle = |position: usize, i: usize| position as f64 / 10f64.powf(i as f64 / 8.0);
    let table: Vec<u32> = (0..10 * dim / 2)
        .map(|k| angle(k / (dim / 2), k % (dim / 2)))
        .flat_map(|a| [(a.cos() as f32).to_bits(), (a.sin() as f32).to_bits()])
        .collect();
    let positions: Vec<u32> = (0..tokens as u32).map(|t| (t * 3 + 1) % 10).collect();
    let pages = 2 * kv_heads * KV_PAGE_TOKENS as usize * dim;
    case.bf16s(&qkv);
    case.bf16s(&bias);
    case.bf16s(&q_gamma);
    case.bf16s(&k_gamma);
    case.words(&table);
    case.words(&positions);
    case.words(slots);
    let q_out = case.room(2 * tokens * q_heads * dim);
    let (keys, values) = (case.room(2 * pages), case.room(2 * pages));
    for value in [tokens, *q_heads, *kv_heads] {
        case.scalar(value as u32);
    }
    case.scalar(1e-6f32.to_bits());
    let blocks = (heads as u32).div_ceil(ROPE_APPEND_THREADS / (dim as u32 / 4));
    case.launch.grid = [tokens as u32, blocks, 1];
    case.launch.block = [ROPE_APPEND_THREADS, 1, 1];
    for seed in 0..SEEDS {
        case.run(seed);
    }
    let q_out = case.read(q_out, tokens * q_heads * dim);
    let (keys, values) = (case.read(keys, pages), case.read(values, pages));
    for t in 0..tokens {
        for head in 0..heads {
            let at = (t * heads + head) * dim;
            let gamma = match head {
                h if h < *q_heads => Some(&q_gamma),
                h if h < q_heads + kv_heads => Some(&k_gamma),
                _ => None,
            };
            let x: Vec<f64> =
                (0..dim).map(|d| qkv[at + d].to_f64() + bias[head * dim + d].to_f64()).collect();
            let turn = |i: usize| angle(positions[t] as usize, i);
            let want = finished(&x, gamma, turn);
            for (d, want) in want.into_iter().enumerate() {
                let Some(kv) = head.checked_sub(*q_heads) else {
                    near(q_out[(t * q_heads + head) * dim + d], want, "query");
                    continue;
                };
                if slots[t] == KV_NO_SLOT {
                    continue;
                }
                let (page, slot) = (slots[t] as usize / 64, slots[t] as usize % 64);
                let place = (page * kv_heads + kv % kv_heads) * 64 * dim + swizzled(slot, d);
                let store = if kv < *kv_heads { &keys } else { &values };
                near(store[place], want, "cache");
            }
        }
    }
    // What no slot names stays as it was: nobody has written there.
    let written = slots.iter().filter(|s| **s != KV_NO_SLOT).count() * kv_heads * dim;
    let untouched = |pages: &[bf16]| pages.iter().filter(|x| x.to_bits() == 0xffff).count();
    assert_eq!(untouched(&keys), pages - written);
    assert_eq!(untouched(&values), pages - written);
}

/// A head after norm and rotation; a value head, which has no weight, as it is.
fn finished(x: &[f64], gamma: Option<&Vec<bf16>>, turn: impl Fn(usize) -> f64) -> Vec<f64> {
    let Some(gamma) = gamma else { return x.to_vec() };
    let dim = x.len();
    let mean = x.iter().map(|v| v * v).sum::<f64>() / dim as f64;
    let scale = 1.0 / (mean + 1e-6).sqrt();
    let y: Vec<f64> = (0..dim).map(|d| x[d] * scale * gamma[d].to_f64()).collect();
    let half = dim / 2;
    let rotated = |d: usize| {
        let (sine, cosine) = turn(d % half).sin_cos();
        if d < half {
            y[d] * cosine - y[d + half] * sine
        } else {
            y[d] * cosine + y[d - half] * sine
        }
    };
    (0..dim).map(rotated).collect()
}
