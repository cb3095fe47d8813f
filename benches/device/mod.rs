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

use models::Model;
use ridgepoint::backend::Phase;
use ridgepoint::backend::cuda::driver::Driver;
use ridgepoint::backend::cuda::kernels::Kernels;
use ridgepoint::backend::cuda::memory::Buffer;
use ridgepoint::error::Result;
use std::sync::Arc;

/// Bytes of an element of bf16.
const BF16: usize = 2;
/// Bytes of random numbers that larger operands repeat: no power of two, so that rows differ.
const PATTERN_BYTES: usize = 2 * 500_009;

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
    /// Whether operands are numbers. Counts do not depend on the numbers of most operations, and
    /// what nobody writes takes no memory in the simulator.
    fills: bool,
}

impl Device {
    fn new(driver: Arc<dyn Driver>, fills: bool) -> Result<Device> {
        Ok(Device { kernels: Kernels::new(driver)?, fills })
    }

    pub fn driver(&self) -> &Arc<dyn Driver> {
        self.kernels.driver()
    }

    pub fn multiprocessors(&self) -> u32 {
        self.driver().properties().multiprocessors
    }

    /// An operand of `elements` bf16 numbers from -1 to 1.
    pub fn numbers(&self, elements: usize) -> Result<Buffer> {
        let buffer = self.room(elements * BF16)?;
        if !self.fills {
            return Ok(buffer);
        }
        let mut random = Random(elements as u64);
        let number = |_| half::bf16::from_f32(random.unit() * 2.0 - 1.0);
        let pattern: Vec<half::bf16> = (0..PATTERN_BYTES / BF16).map(number).collect();
        let pattern: &[u8] = bytemuck::cast_slice(&pattern);
        let mut at = 0;
        while at < buffer.bytes() {
            let piece = pattern.len().min((buffer.bytes() - at) as usize);
            self.driver().write(buffer.ptr() + at, &pattern[..piece])?;
            at += piece as u64;
        }
        Ok(buffer)
    }

    /// Sums of squares beside rows of a normed tensor: of the order that such rows have.
    pub fn squares(&self, groups: usize) -> Result<Buffer> {
        let buffer = self.room(4 * groups)?;
        if self.fills {
            buffer.write(&vec![16.0f32; groups])?;
        }
        Ok(buffer)
    }

    pub fn upload<T: bytemuck::NoUninit>(&self, data: &[T]) -> Result<Buffer> {
        Buffer::of(self.driver(), data)
    }

    /// Memory of undefined content.
    pub fn room(&self, bytes: usize) -> Result<Buffer> {
        Buffer::new(self.driver(), bytes as u64)
    }

    pub fn zeros(&self, bytes: usize) -> Result<Buffer> {
        Buffer::zeroed(self.driver(), bytes as u64)
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
