//! Every kernel, executed by ptxsim from the PTX that this binary embeds: the numbers against f64,
//! no fault under any schedule, the same bits whatever the schedule and whatever rows are beside a
//! row, and no more traffic than the floor at its head allows.

use half::bf16;
use ptxsim::{Device, Launch, Report};
use ridgepoint::backend::cuda::module::MODULES;
use ridgepoint::backend::cuda::params::{KV_NO_SLOT, KV_PAGE_TOKENS, ROPE_APPEND_THREADS};

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
