//! Operations that go over rows once: embed, gather, rope_append, rmsnorm, silu_mul.

use super::models::Model;
use super::{BF16, Device, Floor, Launch, Op, keeping};
use ridgepoint::backend::cuda::ops::activation::{SiluMul, silu_mul};
use ridgepoint::backend::cuda::ops::embed::{Embed, PreparedNorm, embed};
use ridgepoint::backend::cuda::ops::gather::{Gather, gather};
use ridgepoint::backend::cuda::ops::norm::{RmsNorm, rmsnorm};
use ridgepoint::backend::cuda::ops::rope::{RopeAppend, rope_append};
use ridgepoint::backend::cuda::params::{KV_PAGE_TOKENS, NORM_GROUP};
use ridgepoint::backend::{Heads, Phase};
use ridgepoint::error::Result;

/// Rows of the table of angles.
const POSITIONS: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Embed,
    Gather,
    RopeAppend,
    RmsNorm,
    SiluMul,
}

struct Rows {
    model: Model,
    kind: Kind,
    rows: usize,
}

/// All of them, of so many rows.
pub fn of(model: &Model, rows: usize) -> Vec<Box<dyn Op>> {
    let kinds = [Kind::Embed, Kind::Gather, Kind::RopeAppend, Kind::RmsNorm, Kind::SiluMul];
    let op = |kind| Box::new(Rows { model: model.clone(), kind, rows }) as Box<dyn Op>;
    kinds.into_iter().map(op).collect()
}

impl Rows {
    fn hidden(&self) -> usize {
        self.model.config.hidden_size
    }

    fn inner(&self) -> usize {
        self.model.config.intermediate_size
    }

    fn embed(&self, device: &Device) -> Result<Launch> {
        // Rows of the table that no token names would only take time to make.
        let vocab = self.model.config.vocab_size.min(4 * self.rows);
        let (rows, hidden) = (self.rows, self.hidden());
        let table = device.numbers(vocab * hidden)?;
        let ids = device.upload(&scattered(rows, vocab))?;
        let (out, gamma) = (device.room(rows * hidden * BF16)?, device.numbers(hidden)?);
        let scaled = device.room(rows * hidden * BF16)?;
        let squares = device.room(rows * hidden / NORM_GROUP as usize * size_of::<f32>())?;
        let norm =
            PreparedNorm { gamma: gamma.ptr(), scaled: scaled.ptr(), squares: squares.ptr() };
        let op = Embed {
            table: table.ptr(),
            token_ids: ids.ptr(),
            out: out.ptr(),
            norm: Some(norm),
            tokens: rows as u32,
            hidden: hidden as u32,
            vocab: vocab as u32,
        };
        let held = [table, ids, out, gamma, scaled, squares];
        Ok(keeping(held, move |kernels| embed(kernels, &op)))
    }

    fn gather(&self, device: &Device) -> Result<Launch> {
        let (rows, width) = (self.rows, self.hidden());
        let (x_rows, groups) = (4 * rows, width / NORM_GROUP as usize);
        let (x, squares) = (device.numbers(x_rows * width)?, device.squares(x_rows * groups)?);
        let row_ids = device.upload(&scattered(rows, x_rows))?;
        let out = device.room(rows * width * BF16)?;
        let out_squares = device.room(rows * groups * size_of::<f32>())?;
        let op = Gather {
            x: x.ptr(),
            squares: squares.ptr(),
            row_ids: row_ids.ptr(),
            out: out.ptr(),
            out_squares: out_squares.ptr(),
            rows,
            x_rows,
            width,
        };
        let held = [x, squares, row_ids, out, out_squares];
        Ok(keeping(held, move |kernels| gather(kernels, &op)))
    }

    fn rope_append(&self, device: &Device) -> Result<Launch> {
        let (rows, heads) = (self.rows, self.model.config.heads);
        let pages = rows.div_ceil(KV_PAGE_TOKENS as usize);
        let qkv = device.numbers(rows * heads.qkv_width())?;
        let cos_sin = device.squares(POSITIONS * heads.dim)?;
        let positions = device.upload(&scattered(rows, POSITIONS))?;
        let slots = device.upload(&(0..rows as u32).collect::<Vec<u32>>())?;
        let q_out = device.room(rows * heads.query * heads.dim * BF16)?;
        let pool = || device.room(pages * KV_PAGE_TOKENS as usize * heads.kv * heads.dim * BF16);
        let (k_pages, v_pages) = (pool()?, pool()?);
        let op = RopeAppend {
            qkv: qkv.ptr(),
            bias: None,
            norm: None,
            cos_sin: cos_sin.ptr(),
            positions: positions.ptr(),
            slots: slots.ptr(),
            q_out: q_out.ptr(),
            k_pages: k_pages.ptr(),
            v_pages: v_pages.ptr(),
            heads,
            tokens: rows as u32,
        };
        let held = [qkv, cos_sin, positions, slots, q_out, k_pages, v_pages];
        Ok(keeping(held, move |kernels| rope_append(kernels, &op)))
    }

    fn rmsnorm(&self, device: &Device) -> Result<Launch> {
        let (rows, hidden) = (self.rows, self.hidden());
        let (input, residual) = (device.numbers(rows * hidden)?, device.numbers(rows * hidden)?);
        let (gamma, out) = (device.numbers(hidden)?, device.room(rows * hidden * BF16)?);
        let op = RmsNorm {
            input: input.ptr(),
            residual: Some(residual.ptr()),
            gamma: gamma.ptr(),
            out: out.ptr(),
            rows: rows as u32,
            hidden: hidden as u32,
            epsilon: 1e-5,
        };
        let held = [input, residual, gamma, out];
        Ok(keeping(held, move |kernels| rmsnorm(kernels, &op)))
    }

    fn silu_mul(&self, device: &Device) -> Result<Launch> {
        let (rows, inner) = (self.rows, self.inner());
        let gate_up = device.numbers(rows * 2 * inner)?;
        let out = device.room(rows * inner * BF16)?;
        let op = SiluMul {
            gate_up: gate_up.ptr(),
            out: out.ptr(),
            rows: rows as u32,
            intermediate: inner as u32,
        };
        let held = [gate_up, out];
        Ok(keeping(held, move |kernels| silu_mul(kernels, &op)))
    }
}

impl Op for Rows {
    fn name(&self) -> String {
        let kind = match self.kind {
            Kind::Embed => "embed",
            Kind::Gather => "gather",
            Kind::RopeAppend => "rope_append",
            Kind::RmsNorm => "rmsnorm",
            Kind::SiluMul => "silu_mul",
        };
        format!("{kind} {} m{}", self.model.name, self.rows)
    }

    fn floor(&self) -> Floor {
        let of_step = |op| self.model.floor(op, Phase::Prefill, self.rows, 0);
        let elements = |width| (self.rows * width) as u64;
        match self.kind {
            Kind::Embed => of_step("embed"),
            Kind::Gather => of_step("gather"),
            Kind::RopeAppend => of_step("rope_append"),
            // No op of a step: input and stream are read, stream and norm written.
            Kind::RmsNorm => {
                let (all, gamma) = (elements(self.hidden()), (self.hidden() * BF16) as u64);
                Floor { bytes: 8 * all + gamma, flops: 4 * all }
            }
            Kind::SiluMul => {
                let all = elements(self.inner());
                Floor { bytes: 6 * all, flops: 5 * all }
            }
        }
    }

    fn requested(&self, _: &Device) -> u64 {
        let hidden = self.hidden();
        let row = match self.kind {
            Kind::Embed => 8 * hidden + hidden / 4 + hidden / 2,
            Kind::Gather => 4 * hidden + hidden / 2 + hidden / 2,
            Kind::RopeAppend => {
                let Heads { query, kv, dim } = self.model.config.heads;
                let rotated = query + kv;
                let angles = 2 * rotated;
                let words = (rotated + 2 * kv) * dim;
                BF16 * dim * (query + 2 * kv + angles + query + 2 * kv) + words
            }
            Kind::RmsNorm => 10 * hidden,
            Kind::SiluMul => 6 * self.inner(),
        };
        (self.rows * row) as u64
    }

    fn prepare(&self, device: &Device) -> Result<Launch> {
        match self.kind {
            Kind::Embed => self.embed(device),
            Kind::Gather => self.gather(device),
            Kind::RopeAppend => self.rope_append(device),
            Kind::RmsNorm => self.rmsnorm(device),
            Kind::SiluMul => self.silu_mul(device),
        }
    }
}

/// `count` numbers below `limit` that are not neighbours.
fn scattered(count: usize, limit: usize) -> Vec<u32> {
    (0..count).map(|i| (i * 7919 % limit) as u32).collect()
}
