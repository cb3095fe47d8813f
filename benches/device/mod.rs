//! The kernels by way of their launch code, with the shapes of models in use.

mod attention;
mod counts;
mod models;
mod products;
mod rows;
mod times;
mod vocabulary;

pub use counts::count;
pub use times::time;

use half::bf16;
use models::Model;
use ridgepoint::backend::Phase;
use ridgepoint::backend::cuda::driver::Driver;
use ridgepoint::backend::cuda::kernels::Kernels;
use ridgepoint::backend::cuda::memory::Buffer;
use ridgepoint::error::{Error, Result};
use std::cell::Cell;
use std::sync::Arc;

/// Bytes of an element of bf16.
const BF16: usize = 2;
/// Random numbers that operands repeat: so many that rows of any width differ.
const PATTERN: usize = 500_009;

/// The environment variable by which products of decode take wgmma without a probe's word.
const WGMMA_VARIABLE: &str = "RIDGEPOINT_BENCH_WGMMA";

/// What an operation must at least do.
#[derive(Debug, Clone, Copy)]
pub struct Floor {
    /// Bytes from and to device memory.
    pub bytes: u64,
    /// Floating-point operations; a multiply-add counts as two.
    pub flops: u64,
}

/// A launch, or two that belong together, with operands of their own.
pub type Launch = Box<dyn Fn(&Kernels) -> Result<()>>;

/// A launch that owns what its operands name.
fn keeping<T: 'static>(held: T, run: impl Fn(&Kernels) -> Result<()> + 'static) -> Launch {
    Box::new(move |kernels| {
        let _held = &held;
        run(kernels)
    })
}

/// An operation of some shape.
pub trait Op {
    /// Family, model and shape.
    fn name(&self) -> String;
    /// What it is measured by.
    fn floor(&self) -> Floor;
    /// Bytes that all lanes ask for by the formula at the head of the kernel.
    fn requested(&self, device: &Device) -> u64;
    /// Elements of the matrix of weights, where the operation is to read one.
    fn weights(&self) -> Option<u64> {
        None
    }
    /// Puts its operands on the device.
    fn prepare(&self, device: &Device) -> Result<Launch>;
}

/// Where operations run.
pub struct Device {
    pub kernels: Kernels,
    /// What operands are filled with. Nothing in the simulator: counts do not depend on numbers
    /// but where logits are drawn from, and what nobody writes takes no memory there.
    pattern: Vec<bf16>,
    /// Whether memory was asked for that there was not.
    exhausted: Cell<bool>,
}

impl Device {
    fn new(driver: Arc<dyn Driver>, fills: bool) -> Result<Device> {
        let mut random = Random(1);
        let number = |_| bf16::from_f32(random.unit() * 2.0 - 1.0);
        let pattern = (0..if fills { PATTERN } else { 0 }).map(number).collect();
        let kernels = Kernels::new(driver)?;
        let kernels = match std::env::var(WGMMA_VARIABLE).as_deref() {
            Err(_) | Ok("") => kernels,
            Ok("assume") => kernels.assume_equal_bits(),
            Ok(other) => {
                return Err(Error::Usage(format!("{WGMMA_VARIABLE}={other}: it can be `assume`")));
            }
        };
        Ok(Device { kernels, pattern, exhausted: Cell::new(false) })
    }

    /// The launch of an operation, or `None` if there is no memory for its operands.
    fn prepare(&self, op: &dyn Op) -> Result<Option<Launch>> {
        match op.prepare(self) {
            Ok(launch) => Ok(Some(launch)),
            Err(_) if self.exhausted.take() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn driver(&self) -> &Arc<dyn Driver> {
        self.kernels.driver()
    }

    pub fn multiprocessors(&self) -> u32 {
        self.driver().properties().multiprocessors
    }

    /// An operand of `elements` bf16 numbers from -1 to 1.
    fn numbers(&self, elements: usize) -> Result<Buffer> {
        let buffer = self.room(elements * BF16)?;
        let pattern: &[u8] = bytemuck::cast_slice(&self.pattern);
        let mut at = 0;
        while !pattern.is_empty() && at < buffer.bytes() {
            let piece = pattern.len().min((buffer.bytes() - at) as usize);
            self.driver().write(buffer.ptr() + at, &pattern[..piece])?;
            at += piece as u64;
        }
        Ok(buffer)
    }

    /// Sums of squares beside rows of a normed tensor: of the order that such rows have.
    pub fn squares(&self, groups: usize) -> Result<Buffer> {
        let buffer = self.room(4 * groups)?;
        if !self.pattern.is_empty() {
            buffer.write(&vec![16.0f32; groups])?;
        }
        Ok(buffer)
    }

    pub fn upload<T: bytemuck::NoUninit>(&self, data: &[T]) -> Result<Buffer> {
        let buffer = self.room(size_of_val(data))?;
        buffer.write(data)?;
        Ok(buffer)
    }

    pub fn zeros(&self, bytes: usize) -> Result<Buffer> {
        let buffer = self.room(bytes)?;
        self.driver().fill(buffer.ptr(), 0, buffer.bytes())?;
        Ok(buffer)
    }

    /// Memory of undefined content.
    pub fn room(&self, bytes: usize) -> Result<Buffer> {
        let buffer = Buffer::new(self.driver(), bytes as u64);
        self.exhausted.set(buffer.is_err());
        buffer
    }
}

/// Numbers that look random (Vigna 2015, splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to 1.
    pub fn unit(&mut self) -> f32 {
        (self.word() >> 40) as f32 / (1 << 24) as f32
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.word() % n as u64) as usize
    }
}

/// Whether a name is asked for: by the first argument that is no option and no value of one.
fn is_wanted(name: &str) -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    let is_value = |option: &str| option.starts_with("--") && option != "--bench";
    let is_filter = |pair: &&[String]| !pair[1].starts_with('-') && !is_value(&pair[0]);
    arguments.windows(2).find(is_filter).is_none_or(|pair| name.contains(&pair[1]))
}

/// Sizes that are tried.
struct Sizes {
    /// Rows of products and of the operations on rows, of the decode family and of the other.
    decode: &'static [usize],
    prefill: &'static [usize],
    /// Sequences and positions of attention with one row each.
    batches: &'static [usize],
    contexts: &'static [usize],
    /// Tokens of a prompt.
    prompts: &'static [usize],
}

/// Every operation of some models.
fn operations(models: &[Model], sizes: &Sizes) -> Vec<Box<dyn Op>> {
    let mut all: Vec<Box<dyn Op>> = Vec::new();
    for model in models {
        let phases = [(Phase::Decode, sizes.decode), (Phase::Prefill, sizes.prefill)];
        for (phase, counts) in phases {
            for &rows in counts {
                all.extend(products::of(model, phase, rows));
            }
        }
    }
    let Some(first) = models.first() else { return all };
    for &sequences in sizes.batches {
        for &context in sizes.contexts {
            all.push(attention::decode(first, sequences, context));
        }
    }
    all.extend(sizes.prompts.iter().map(|tokens| attention::prefill(first, *tokens)));
    for &rows in sizes.decode.iter().chain(sizes.prefill) {
        all.extend(rows::of(first, rows));
    }
    all.extend(sizes.decode.iter().flat_map(|rows| vocabulary::of(first, *rows)));
    all
}
