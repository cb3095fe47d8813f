//! A model directory that is opened step by step: small files first, then the device, then the
//! weights and an engine that serves them.

use crate::engine::{EngineOptions, EngineThread, Scorer};
use crate::error::{Error, Result};
use crate::load::{Checkpoint, Source};
use crate::model::budget::{Formats, weight_bytes};
use crate::model::{Limits, ModelConfig};
use crate::quantize::{Quantizing, Scheme};
use crate::service::device::{Device, DeviceChoice, Weights};
use crate::service::draft::{Draft, DraftOptions};
use crate::tensor::{Dtype, MatrixFormat};
use crate::text::Tokenizer;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Where remarks go: what runs on which device, what loads but is slow. A library has no standard
/// streams of its own.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// Which model, on what.
#[derive(Clone)]
pub struct SessionOptions {
    /// The model's directory.
    pub dir: PathBuf,
    /// The device.
    pub device: DeviceChoice,
    /// What weights of 16 or 32 bits become when they are loaded.
    pub quantize: Option<Scheme>,
    /// The seed of weights that are made up: a `config.json` is then enough of a model.
    pub made_up: Option<u64>,
    /// Takes remarks.
    pub notice: Notice,
}

impl SessionOptions {
    /// The model of a directory as it is stored, on a GPU where there is one; remarks go nowhere.
    pub fn new(dir: impl Into<PathBuf>) -> SessionOptions {
        SessionOptions {
            dir: dir.into(),
            device: DeviceChoice::Auto,
            quantize: None,
            made_up: None,
            notice: Arc::new(|_| {}),
        }
    }
}

/// A model directory whose small files have been read; the weights follow with [`Session::engine`].
pub struct Session {
    /// The directory.
    pub dir: PathBuf,
    /// Its configuration.
    pub config: ModelConfig,
    /// Its tokenizer; commands that work on token ids alone can do without.
    pub tokenizer: Option<Tokenizer>,
    options: SessionOptions,
    started: Instant,
}

/// An engine that serves a session's model.
pub struct Started {
    /// The engine.
    pub engine: EngineThread,
    /// What it runs on.
    pub device: String,
    /// The formats of the weights there.
    pub formats: Formats,
    /// What plain elements are there.
    pub plain: Dtype,
    /// The time since [`Session::open`].
    pub load: Duration,
}

impl Session {
    /// Reads configuration and tokenizer.
    ///
    /// # Errors
    /// What the files of the directory say wrong, or that they are missing.
    pub fn open(options: SessionOptions) -> Result<Session> {
        let started = Instant::now();
        let dir = options.dir.clone();
        let config = match options.made_up {
            Some(_) => ModelConfig::find(&dir)?,
            None => ModelConfig::load(&dir)?,
        };
        let tokenizer = match dir.join("tokenizer.json").exists() {
            true => Some(Tokenizer::load(&dir, config.vocab_size)?),
            false => None,
        };
        Ok(Session { dir, config, tokenizer, options, started })
    }

    /// The tokens that a request holds, prompt and output: what `asked` says, or all that the model
    /// has positions for.
    ///
    /// # Errors
    /// What there is instead, if the model has not so many.
    pub fn context(&self, asked: Option<usize>) -> std::result::Result<usize, String> {
        let most = self.config.context;
        match asked {
            None => Ok(most),
            Some(context) if (2..=most).contains(&context) => Ok(context),
            Some(context) => Err(format!("{context}, expected 2 to {most}, the model's own")),
        }
    }

    /// The tokenizer, for who cannot do without.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the directory has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| {
            Error::invalid(
                &self.dir.join("tokenizer.json"),
                "tokenizer",
                "no such file",
                "a tokenizer.json, or a prompt of token ids (--tokens)",
            )
        })
    }

    fn checkpoint(&self) -> Result<Checkpoint> {
        match self.options.made_up {
            Some(seed) => Ok(Checkpoint::made_up(seed)),
            None => Checkpoint::open(&self.dir),
        }
    }

    /// Loads the weights to rate sequences of at most `context` tokens, `rows` at a time.
    ///
    /// # Errors
    /// What the files or the device make impossible.
    pub fn scorer(&self, context: usize, rows: usize) -> Result<Box<dyn Scorer>> {
        let checkpoint = self.checkpoint()?;
        let scheme = self.options.quantize;
        refuse_twice(&checkpoint, scheme)?;
        let device = open(&self.options, &self.config, &checkpoint)?;
        let limits = Limits { rows, logit_rows: rows, sequences: 1, context };
        let formats = formats(&device, &self.config, &checkpoint, scheme)?;
        with_weights(&self.config, &checkpoint, scheme, &formats, |weights| {
            device.scorer(weights, limits, &self.options.notice)
        })
    }

    /// Loads the weights and starts an engine.
    ///
    /// # Errors
    /// What the files, the options or the device make impossible.
    pub fn engine(&self, mut options: EngineOptions, draft: &DraftOptions) -> Result<Started> {
        let SessionOptions { notice, quantize: scheme, .. } = self.options.clone();
        let draft = Draft::open(draft, &self.dir, &self.config, &mut options, &notice)?;
        let checkpoint = self.checkpoint()?;
        refuse_twice(&checkpoint, scheme)?;
        let (session, config) = (self.options.clone(), self.config.clone());
        let tokenizer = self.tokenizer.clone();
        let shape = [config.vocab_size, config.hidden_size];
        let stored = checkpoint.dtype("model.embed_tokens.weight", &shape)?;
        let (tell, told) = mpsc::channel();
        let engine = EngineThread::start(move |server| {
            let device = open(&session, &config, &checkpoint)?;
            let formats = formats(&device, &config, &checkpoint, scheme)?;
            // It is listened to until the engine stands, so the receiver is there.
            let _ = tell.send((device.name(), device.dtype_of(stored), formats.clone()));
            with_weights(&config, &checkpoint, scheme, &formats, |weights| {
                device.serve(server, weights, tokenizer, &options, draft, &notice)
            })
        })?;
        let (device, plain, formats) = told.recv().expect("told before the engine stood");
        Ok(Started { engine, device, formats, plain, load: self.started.elapsed() })
    }
}

/// Opens the device and says what will run where.
fn open(options: &SessionOptions, config: &ModelConfig, checkpoint: &Checkpoint) -> Result<Device> {
    let device = Device::open(options.device)?;
    let megabytes = |bytes: u64| format!("{:.1} MB of weights", bytes as f64 / 1e6);
    let weights = match options.quantize {
        None if checkpoint.is_made_up() => "made-up weights".to_string(),
        None => match checkpoint.quantization() {
            None => megabytes(checkpoint.bytes()),
            Some(how) => format!("{} ({how})", megabytes(checkpoint.bytes())),
        },
        Some(scheme) => {
            let bytes = weight_bytes(&scheme.apply(config), &scheme.formats());
            format!("{} quantised to {scheme}", megabytes(bytes))
        }
    };
    let (model, device_text) = (options.dir.display(), device.describe());
    let architecture = config.architecture;
    (options.notice)(&format!("{model}: {architecture}, {weights}, on {device_text}"));
    Ok(device)
}

/// Hands `work` the weights as `scheme` makes them, or as they are stored.
fn with_weights<T>(
    config: &ModelConfig,
    source: &dyn Source,
    scheme: Option<Scheme>,
    formats: &Formats,
    work: impl FnOnce(&Weights<'_>) -> Result<T>,
) -> Result<T> {
    let Some(scheme) = scheme else { return work(&Weights { config, source, formats }) };
    let after = &scheme.apply(config);
    work(&Weights { config: after, source: &Quantizing::new(source, scheme, config), formats })
}

/// The formats that weights have on the device: as `scheme` makes them, or as they are stored.
fn formats(
    device: &Device,
    config: &ModelConfig,
    checkpoint: &Checkpoint,
    scheme: Option<Scheme>,
) -> Result<Formats> {
    match scheme {
        Some(scheme) => Ok(scheme.formats()),
        None => stored_formats(config, checkpoint, &|stored| device.format_of(stored)),
    }
}

/// The formats of a checkpoint's matrices, each as `on_device` has it. What cannot be loaded of a
/// quantised one is mostly seen here, before anything is.
pub(super) fn stored_formats(
    config: &ModelConfig,
    checkpoint: &Checkpoint,
    on_device: &dyn Fn(MatrixFormat) -> MatrixFormat,
) -> Result<Formats> {
    match checkpoint.quantization() {
        None => Ok(Formats::default()),
        Some(_) => {
            Formats::stored(config, &|name, shape| checkpoint.format(name, shape).map(on_device))
        }
    }
}

/// What is quantised already is not quantised again.
fn refuse_twice(checkpoint: &Checkpoint, scheme: Option<Scheme>) -> Result<()> {
    match checkpoint.quantization() {
        Some(how) if scheme.is_some() => Err(how.refusal("16- or 32-bit weights for --quantize")),
        _ => Ok(()),
    }
}
