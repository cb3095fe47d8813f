//! A model quantised from its first layer to its last, with the texts that calibrate and rate it
//! passing through as the layers are done.
//!
//! In memory at a time: one layer (or the head), what calibration remembers of the inputs of its
//! matrices, and for each window of text the residual stream, `4 * hidden` bytes a token (twice
//! that for a text that is rated: before and after). Logits of [`LOGIT_ROWS`] rows before and after
//! are all that rating has at once.

use super::Head;
use super::awq;
use super::forward::{Forward, LOGIT_ROWS};
use super::gptq::Gptq;
use super::inputs::Inputs;
use super::layer::HostLayer;
use super::matrix::{self, Fit};
use super::options::{Algorithm, Options};
use super::quality::Quality;
use super::receipt::{self, MatrixReceipt, Receipt, Scaling};
use crate::error::{Error, Result};
use crate::load::Source;
use crate::model::ModelConfig;
use crate::model::parts::{EMBEDDING, HEAD, Input, Part, module_of};
use crate::request::TokenId;
use crate::tensor::{HostMatrix, HostTensor};

/// Where the weights of the result go, one by one.
pub trait Sink {
    /// The vector `tensor.name`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    fn vector(&mut self, tensor: &HostTensor) -> Result<()>;

    /// The weight of a module.
    ///
    /// # Errors
    /// As [`Sink::vector`].
    fn matrix(&mut self, module: &str, matrix: &HostMatrix) -> Result<()>;
}

/// Keeps nothing: for what only a receipt is wanted of.
pub struct Nowhere;

impl Sink for Nowhere {
    fn vector(&mut self, _: &HostTensor) -> Result<()> {
        Ok(())
    }

    fn matrix(&mut self, _: &str, _: &HostMatrix) -> Result<()> {
        Ok(())
    }
}

/// A quantisation to be done.
pub struct Job<'a> {
    /// The stored weights.
    pub source: &'a dyn Source,
    /// The model.
    pub config: &'a ModelConfig,
    /// What is to be made of it.
    pub options: &'a Options,
    /// Windows of the calibration text; a method that [calibrates](Algorithm::calibrates) needs
    /// one, and for the others they are only what errors of products are told by.
    pub calibration: &'a [Vec<TokenId>],
    /// Windows of the text whose predictions are compared; none if that is not asked for.
    pub rated: &'a [Vec<TokenId>],
    /// Told how many layers are done; false ends the work.
    pub go_on: &'a dyn Fn(usize) -> bool,
}

/// What came of it.
pub struct Outcome {
    /// The figures.
    pub receipt: Receipt,
    /// The predictions, for comparisons; empty if no text was rated.
    pub quality: Quality,
}

/// Does it; `None` if it was ended early.
///
/// # Errors
/// What the weights or the options make impossible, and those of the sink.
///
/// # Panics
/// If the method calibrates and there is no calibration text.
pub fn run(job: &Job<'_>, sink: &mut dyn Sink) -> Result<Option<Outcome>> {
    let algorithm = job.options.algorithm;
    let has_text = job.calibration.iter().any(|window| !window.is_empty());
    assert!(has_text || !algorithm.calibrates(), "{algorithm} without a calibration text");
    let longest = job.calibration.iter().chain(job.rated).map(Vec::len).max();
    let mut run = Run {
        job,
        forward: longest.map(|window| Forward::new(job.config, window)).transpose()?,
        calibration: Vec::new(),
        before: Vec::new(),
        after: Vec::new(),
        receipts: Vec::new(),
    };
    let config = job.config;
    let shape = [config.vocab_size, config.hidden_size];
    let embedding = job.source.matrix(EMBEDDING, shape)?;
    run.embed(&embedding)?;
    sink.matrix(module_of(EMBEDDING), &embedding)?;
    for index in 0..config.layers {
        if !(job.go_on)(index) {
            return Ok(None);
        }
        let stored = HostLayer::load(job.source, config, index)?;
        let made = run.layer(&stored, index)?;
        run.advance(&stored, &made, index)?;
        made.vectors().try_for_each(|vector| sink.vector(vector))?;
        for part in Part::ALL {
            sink.matrix(&part.module(index), made.matrix(part))?;
        }
    }
    if !(job.go_on)(config.layers) {
        return Ok(None);
    }
    let norm = job.source.vector("model.norm.weight", config.hidden_size)?;
    sink.vector(&norm)?;
    let (stored, made) = run.head()?;
    if !(config.tied && job.options.head == Head::Stored) {
        sink.matrix(module_of(HEAD), &made)?;
    }
    let quality = run.rate(&norm, &stored, &made)?;
    Ok(Some(Outcome { receipt: run.receipt(&quality), quality }))
}

struct Run<'a> {
    job: &'a Job<'a>,
    forward: Option<Forward>,
    /// The residual streams of the calibration windows, in the model as far as it is quantised.
    calibration: Vec<Vec<f32>>,
    /// Those of the rated windows in the stored model.
    before: Vec<Vec<f32>>,
    /// And in the quantised one.
    after: Vec<Vec<f32>>,
    receipts: Vec<MatrixReceipt>,
}

impl Run<'_> {
    fn embed(&mut self, table: &HostMatrix) -> Result<()> {
        let Some(forward) = &mut self.forward else { return Ok(()) };
        let mut rows = |windows: &[Vec<TokenId>]| {
            windows.iter().map(|tokens| forward.embed(tokens, table)).collect::<Result<Vec<_>>>()
        };
        self.calibration = rows(self.job.calibration)?;
        self.before = rows(self.job.rated)?;
        self.after = self.before.clone();
        Ok(())
    }

    /// Every text goes through a layer that is done.
    fn advance(&mut self, stored: &HostLayer, made: &HostLayer, index: usize) -> Result<()> {
        let Some(forward) = &mut self.forward else { return Ok(()) };
        let prepared = forward.prepare(stored, index)?;
        self.before.iter_mut().try_for_each(|hidden| forward.advance(&prepared, hidden))?;
        let prepared = forward.prepare(made, index)?;
        let windows = self.calibration.iter_mut().chain(&mut self.after);
        windows.into_iter().try_for_each(|hidden| forward.advance(&prepared, hidden))
    }

    /// Quantises a layer.
    fn layer(&mut self, stored: &HostLayer, index: usize) -> Result<HostLayer> {
        let mut made = stored.clone();
        match self.job.options.algorithm {
            Algorithm::Rtn => self.nearest(stored, &mut made, index, Fit::Range)?,
            Algorithm::Search => {
                self.nearest(stored, &mut made, index, Fit::Squares { importance: None })?;
            }
            Algorithm::Gptq => self.gptq(stored, &mut made, index)?,
            Algorithm::Awq => self.awq(stored, &mut made, index)?,
        }
        Ok(made)
    }

    fn nearest(
        &mut self,
        stored: &HostLayer,
        made: &mut HostLayer,
        index: usize,
        fit: Fit<'_>,
    ) -> Result<()> {
        let inputs = match self.calibration.is_empty() {
            true => None,
            false => Some(self.all_inputs(stored, index)?),
        };
        let (dir, grid) = (self.job.source.dir(), self.job.options.grid);
        for input in Input::ALL {
            let inputs = inputs.as_ref().map(|inputs| &inputs[input as usize]);
            for &part in self.quantised(index, input) {
                let tensor = matrix::plain(dir, stored.matrix(part))?;
                let matrix = HostMatrix::Int4(matrix::int4(dir, tensor, grid, fit)?);
                self.note(index, tensor, &matrix, Scaling::default(), inputs)?;
                made.matrices[part as usize] = matrix;
            }
        }
        Ok(())
    }

    /// The matrices one after the other, each for the inputs that those before it leave.
    fn gptq(&mut self, stored: &HostLayer, made: &mut HostLayer, index: usize) -> Result<()> {
        let (dir, options) = (self.job.source.dir(), self.job.options);
        for input in Input::ALL {
            let parts = self.quantised(index, input);
            if parts.is_empty() {
                continue;
            }
            let [mut inputs] = self.inputs(made, index, [input], true)?;
            let hessian = inputs.hessian.take().expect("it was asked for");
            let gptq = Gptq::new(hessian, inputs.k, options.ordered).ok_or_else(|| {
                let what = format!("the calibration inputs of {}", parts[0].module(index));
                Error::invalid(dir, what, "no positive definite Hessian", "more text, or awq")
            })?;
            for &part in parts {
                let tensor = matrix::plain(dir, stored.matrix(part))?;
                let fit = Fit::Squares { importance: None };
                let matrix = HostMatrix::Int4(gptq.quantize(dir, tensor, options.grid, fit)?);
                self.note(index, tensor, &matrix, Scaling::default(), Some(&inputs))?;
                made.matrices[part as usize] = matrix;
            }
        }
        Ok(())
    }

    /// All inputs as the stored layer makes them; then scales, then grids.
    fn awq(&mut self, stored: &HostLayer, made: &mut HostLayer, index: usize) -> Result<()> {
        let inputs = self.all_inputs(stored, index)?;
        let mut scales = Vec::new();
        for (input, inputs) in Input::ALL.into_iter().zip(&inputs) {
            scales.push(self.scales(stored, made, index, input, inputs)?);
        }
        // The rows of these take over the scales of the columns of those.
        let rows = |part: Part| match part {
            Part::Value => scales[Input::Attended as usize].as_deref(),
            Part::Up => scales[Input::Activated as usize].as_deref(),
            _ => None,
        };
        if let (Some(biases), Some(rows)) = (&mut made.biases, rows(Part::Value)) {
            biases[2] = awq::divided(&biases[2], rows);
        }
        let (dir, grid) = (self.job.source.dir(), self.job.options.grid);
        for (input, inputs) in Input::ALL.into_iter().zip(&inputs) {
            let columns = scales[input as usize].as_deref();
            let mut importance = inputs.mean_squares();
            if let Some(columns) = columns {
                importance.iter_mut().zip(columns).for_each(|(x, s)| *x /= s * s);
            }
            let fit = Fit::Squares { importance: Some(&importance) };
            for &part in self.quantised(index, input) {
                let tensor = matrix::plain(dir, stored.matrix(part))?;
                let scaling = Scaling { columns, rows: rows(part) };
                let scaled = awq::scaled(tensor, scaling.columns, scaling.rows);
                let matrix = HostMatrix::Int4(matrix::int4(dir, &scaled, grid, fit)?);
                self.note(index, tensor, &matrix, scaling, Some(inputs))?;
                made.matrices[part as usize] = matrix;
            }
        }
        Ok(())
    }

    /// The scales of the columns that read `input`, if anything can take them over; a norm that
    /// does is changed in `made`.
    fn scales(
        &self,
        stored: &HostLayer,
        made: &mut HostLayer,
        index: usize,
        input: Input,
        inputs: &Inputs,
    ) -> Result<Option<Vec<f32>>> {
        let heads = self.job.config.heads;
        let kept = |part: Part| self.job.options.keeps(index, part);
        let can = match input {
            Input::Attention | Input::Mlp => true,
            Input::Attended => heads.query == heads.kv && !kept(Part::Value),
            Input::Activated => !kept(Part::Up),
        };
        let parts = self.quantised(index, input);
        if !can || parts.is_empty() {
            return Ok(None);
        }
        let (dir, grid) = (self.job.source.dir(), self.job.options.grid);
        let tensors = parts.iter().map(|part| matrix::plain(dir, stored.matrix(*part)));
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        let forward = self.forward.as_ref().expect("there is a calibration text");
        let mut scales = awq::scales(forward.backend(), dir, inputs, &tensors, grid)?;
        let norm = match input {
            Input::Attention => Some(0),
            Input::Mlp => Some(1),
            Input::Attended | Input::Activated => None,
        };
        if let Some(norm) = norm {
            made.norms[norm] = awq::fold_into_norm(&stored.norms[norm], &mut scales);
        }
        Ok(Some(scales))
    }

    /// What the calibration text makes of the inputs of all matrices of a layer.
    fn all_inputs(&mut self, layer: &HostLayer, index: usize) -> Result<[Inputs; 4]> {
        self.inputs(layer, index, Input::ALL, false)
    }

    /// The same of some of them, in the order of [`Input::ALL`].
    fn inputs<const N: usize>(
        &mut self,
        layer: &HostLayer,
        index: usize,
        wanted: [Input; N],
        with_hessian: bool,
    ) -> Result<[Inputs; N]> {
        let forward = self.forward.as_mut().expect("there is a calibration text");
        let backend = *forward.backend();
        let rows: usize = self.job.calibration.iter().map(Vec::len).sum();
        let mut inputs = wanted.map(|input| {
            let [_, k] = layer.matrix(input.parts()[0]).shape();
            Inputs::new(k, rows, with_hessian)
        });
        let prepared = forward.prepare(layer, index)?;
        for hidden in &self.calibration {
            let mut inputs = inputs.iter_mut();
            forward.inputs(&prepared, hidden, &wanted, &mut |_, x| {
                inputs.next().expect("one for each that is wanted").add(&backend, x)
            })?;
        }
        Ok(inputs)
    }

    /// The matrices that read `input`, unless they are kept: all of them are or none.
    fn quantised(&self, index: usize, input: Input) -> &'static [Part] {
        match self.job.options.keeps(index, input.parts()[0]) {
            true => &[],
            false => input.parts(),
        }
    }

    fn note(
        &mut self,
        index: usize,
        stored: &HostTensor,
        made: &HostMatrix,
        scaling: Scaling<'_>,
        inputs: Option<&Inputs>,
    ) -> Result<()> {
        let inputs = inputs.zip(self.forward.as_ref().map(Forward::backend));
        self.receipts.push(receipt::compare(Some(index), stored, made, scaling, inputs)?);
        Ok(())
    }

    /// The head as it is stored and as it becomes. Its inputs are not looked at: all methods but
    /// rtn search its grids.
    fn head(&mut self) -> Result<(HostMatrix, HostMatrix)> {
        let Job { source, config, options, .. } = self.job;
        let name = if config.tied { EMBEDDING } else { HEAD };
        let stored = source.matrix(name, [config.vocab_size, config.hidden_size])?;
        if options.head == Head::Stored {
            return Ok((stored.clone(), stored));
        }
        let mut tensor = matrix::plain(source.dir(), &stored)?.clone();
        tensor.name = HEAD.to_string();
        let made = match options.head {
            Head::Int8 => HostMatrix::Int8(matrix::int8(source.dir(), &tensor)?),
            _ => {
                let fit = match options.algorithm {
                    Algorithm::Rtn => Fit::Range,
                    _ => Fit::Squares { importance: None },
                };
                HostMatrix::Int4(matrix::int4(source.dir(), &tensor, options.grid, fit)?)
            }
        };
        let receipt = receipt::compare(None, &tensor, &made, Scaling::default(), None)?;
        self.receipts.push(receipt);
        Ok((stored, made))
    }

    fn rate(
        &mut self,
        norm: &HostTensor,
        stored: &HostMatrix,
        made: &HostMatrix,
    ) -> Result<Quality> {
        let mut quality = Quality::default();
        let Some(forward) = &mut self.forward else { return Ok(quality) };
        let (hidden, vocab) = (self.job.config.hidden_size, self.job.config.vocab_size);
        let mut stored = forward.prepare_head(norm, stored)?;
        let mut made = forward.prepare_head(norm, made)?;
        let windows = self.job.rated.iter().zip(&self.before).zip(&self.after);
        for ((tokens, before), after) in windows {
            // The last row predicts a token that the window does not have.
            let mut targets = tokens[1..].iter();
            let rows = LOGIT_ROWS * hidden;
            for (before, after) in before.chunks(rows).zip(after.chunks(rows)) {
                let before = forward.logits(&mut stored, before)?;
                let after = forward.logits(&mut made, after)?;
                for (before, after) in before.chunks(vocab).zip(after.chunks(vocab)) {
                    if let Some(target) = targets.next() {
                        quality.add(before, after, target.index());
                    }
                }
            }
        }
        Ok(quality)
    }

    fn receipt(&self, quality: &Quality) -> Receipt {
        let options = self.job.options;
        Receipt {
            method: options.algorithm.to_string(),
            grid: options.grid.to_string(),
            head: options.head.to_string(),
            calibration_tokens: self.job.calibration.iter().map(Vec::len).sum(),
            bits: receipt::mean_bits(&self.receipts),
            matrices: self.receipts.clone(),
            quality: (!self.job.rated.is_empty()).then(|| quality.summary()),
        }
    }
}
