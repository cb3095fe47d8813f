//! What every command that runs a model shares: finding it, choosing the device, loading.

use crate::cli::args::{DeviceArg, EngineArgs, ModelArgs};
use crate::cli::device::{Device, Weights};
use crate::cli::draft::Draft;
use crate::engine::{EngineOptions, EngineThread, Scorer};
use crate::error::{Error, Result};
use crate::load::{Checkpoint, Source};
use crate::model::budget::{Formats, weight_bytes};
use crate::model::{Limits, ModelConfig};
use crate::quantize::{Quantizing, Scheme};
use crate::tensor::{Dtype, MatrixFormat};
use crate::text::Tokenizer;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// A model directory whose small files have been read; the weights follow with [`Session::load`].
pub struct Session {
    /// The directory.
    pub dir: PathBuf,
    /// Its configuration.
    pub config: ModelConfig,
    /// Its tokenizer; commands that work on token ids alone can do without.
    pub tokenizer: Option<Tokenizer>,
    /// The seed of weights that are made up, if they are.
    made_up: Option<u64>,
    device: DeviceArg,
    quantize: Option<Scheme>,
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
    /// Chooses the device and reads configuration and tokenizer.
    pub fn open(args: &ModelArgs) -> Result<Session> {
        Session::with(args, None)
    }

    /// The same with weights that are made up of `seed`: a `config.json` is enough of a model.
    pub fn made_up(args: &ModelArgs, seed: u64) -> Result<Session> {
        Session::with(args, Some(seed))
    }

    fn with(args: &ModelArgs, made_up: Option<u64>) -> Result<Session> {
        let started = Instant::now();
        if let Some(threads) = args.threads {
            set_threads(threads)?;
        }
        let dir = match &args.model {
            Some(dir) => dir.clone(),
            None => shipped_model()?,
        };
        let config = match made_up {
            Some(_) => ModelConfig::find(&dir)?,
            None => ModelConfig::load(&dir)?,
        };
        if let Some(context) = args.context
            && !(2..=config.context).contains(&context)
        {
            let most = config.context;
            let message = format!("--context is {context}, expected 2 to {most}, the model's own");
            return Err(Error::Usage(message));
        }
        let tokenizer = match dir.join("tokenizer.json").exists() {
            true => Some(Tokenizer::load(&dir, config.vocab_size)?),
            false => None,
        };
        Ok(Session {
            dir,
            config,
            tokenizer,
            made_up,
            device: args.device,
            quantize: args.quantize,
            started,
        })
    }

    /// The tokenizer, for a command that cannot do without.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| {
            Error::invalid(
                &self.dir.join("tokenizer.json"),
                "tokenizer",
                "no such file",
                "a tokenizer.json, or a command that works on token ids (--tokens)",
            )
        })
    }

    fn checkpoint(&self) -> Result<Checkpoint> {
        match self.made_up {
            Some(seed) => Ok(Checkpoint::made_up(seed)),
            None => Checkpoint::open(&self.dir),
        }
    }

    /// Loads the weights to rate sequences of at most `context` tokens, `rows` at a time.
    pub fn scorer(&self, context: usize, rows: usize) -> Result<Box<dyn Scorer>> {
        let checkpoint = self.checkpoint()?;
        refuse_twice(&checkpoint, self.quantize)?;
        let device = open(self.device, &self.dir, &self.config, &checkpoint, self.quantize)?;
        let limits = Limits { rows, logit_rows: rows, sequences: 1, context };
        let formats = formats(&device, &self.config, &checkpoint, self.quantize)?;
        with_weights(&self.config, &checkpoint, self.quantize, &formats, |weights| {
            device.scorer(weights, limits)
        })
    }

    /// Loads the weights and starts an engine.
    pub fn engine(&self, mut options: EngineOptions, args: &EngineArgs) -> Result<Started> {
        let draft = Draft::open(args, &self.dir, &self.config, &mut options)?;
        let checkpoint = self.checkpoint()?;
        refuse_twice(&checkpoint, self.quantize)?;
        let (dir, config, device) = (self.dir.clone(), self.config.clone(), self.device);
        let scheme = self.quantize;
        let tokenizer = self.tokenizer.clone();
        let shape = [config.vocab_size, config.hidden_size];
        let stored = checkpoint.dtype("model.embed_tokens.weight", &shape)?;
        let (tell, told) = mpsc::channel();
        let engine = EngineThread::start(move |server| {
            let device = open(device, &dir, &config, &checkpoint, scheme)?;
            let formats = formats(&device, &config, &checkpoint, scheme)?;
            // It is listened to until the engine stands, so the receiver is there.
            let _ = tell.send((device.name(), device.dtype_of(stored), formats.clone()));
            with_weights(&config, &checkpoint, scheme, &formats, |weights| {
                device.serve(server, weights, tokenizer, &options, draft)
            })
        })?;
        let (device, plain, formats) = told.recv().expect("told before the engine stood");
        Ok(Started { engine, device, formats, plain, load: self.started.elapsed() })
    }
}

/// Opens the device and says what will run where.
fn open(
    device: DeviceArg,
    dir: &Path,
    config: &ModelConfig,
    checkpoint: &Checkpoint,
    scheme: Option<Scheme>,
) -> Result<Device> {
    let device = Device::open(device)?;
    let megabytes = |bytes: u64| format!("{:.1} MB of weights", bytes as f64 / 1e6);
    let weights = match scheme {
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
    let (model, device_text) = (dir.display(), device.describe());
    eprintln!("{model}: {}, {weights}, on {device_text}", config.architecture);
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

impl EngineArgs {
    /// For `count` requests of at most `context` tokens.
    pub fn options(
        &self,
        context: usize,
        count: usize,
        session: &Session,
    ) -> Result<EngineOptions> {
        const RUNNING_MAX: usize = 4096;
        const PREFILL_MAX: usize = 1 << 16;
        const PAGES_MAX: usize = 1 << 26;
        let within = |name: &str, value: usize, range: RangeInclusive<usize>| {
            let (low, high) = (range.start(), range.end());
            let message = format!("{name} is {value}, expected {low} to {high}");
            if range.contains(&value) { Ok(()) } else { Err(Error::Usage(message)) }
        };
        within("--running", self.running, 1..=RUNNING_MAX)?;
        within("--prefill-tokens", self.prefill_tokens, 1..=PREFILL_MAX)?;
        within("--reserve", self.reserve, 0..=100)?;
        let pages = self.kv_pages.unwrap_or(1);
        within("--kv-pages", pages, 1..=PAGES_MAX)?;
        let context = context.min(session.config.context);
        let mut options = EngineOptions::new(context, self.running.min(count.max(1)));
        options.pages = self.kv_pages.unwrap_or(options.pages);
        options.prefill_tokens = self.prefill_tokens.min(context * options.running);
        options.reserve_percent = self.reserve;
        options.prefix_cache = !self.no_prefix_cache;
        Ok(options)
    }
}

/// Fixes how many threads compute; once a process.
pub fn set_threads(threads: usize) -> Result<()> {
    const THREADS_MAX: usize = 1024;
    if !(1..=THREADS_MAX).contains(&threads) {
        let message = format!("--threads is {threads}, expected 1 to {THREADS_MAX}");
        return Err(Error::Usage(message));
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(|e| Error::Device(format!("cannot start {threads} threads: {e}")))
}

/// The model that ships with the project: under `RIDGEPOINT_ROOT`, beside or above the binary, or
/// in the source tree it was built from.
pub fn shipped_model() -> Result<PathBuf> {
    const SHIPPED: &str = "models/target";
    let mut places = Vec::new();
    if let Some(root) = std::env::var_os("RIDGEPOINT_ROOT") {
        places.push(PathBuf::from(root));
    }
    if let Ok(exe) = std::env::current_exe() {
        places.extend(exe.ancestors().skip(1).take(3).map(Path::to_path_buf));
        places.extend(exe.ancestors().nth(2).map(|prefix| prefix.join("share/ridgepoint")));
    }
    places.push(PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    let found = places.iter().map(|p| p.join(SHIPPED)).find(|p| p.join("config.json").exists());
    found.ok_or_else(|| {
        let looked: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
        Error::Usage(format!(
            "no --model was given and {SHIPPED} was found in none of: {}",
            looked.join(", ")
        ))
    })
}

/// What the first interrupt does: while a request runs it ends that request, otherwise (and the
/// second time) it ends the process.
pub struct Interrupt {
    requested: AtomicBool,
    busy: AtomicBool,
}

impl Interrupt {
    /// Starts watching; once a process.
    pub fn watch() -> Result<Arc<Interrupt>> {
        let interrupt =
            Arc::new(Interrupt { requested: AtomicBool::new(false), busy: AtomicBool::new(false) });
        let seen = interrupt.clone();
        ctrlc::set_handler(move || {
            let again = seen.requested.swap(true, Ordering::SeqCst);
            if again || !seen.busy.load(Ordering::SeqCst) {
                std::process::exit(130);
            }
        })
        .map_err(|e| Error::Device(format!("cannot watch for interrupts: {e}")))?;
        Ok(interrupt)
    }

    /// Runs `work`, which ends early when the flag it is given becomes true.
    pub fn during<T>(&self, work: impl FnOnce(&AtomicBool) -> T) -> T {
        self.busy.store(true, Ordering::SeqCst);
        let result = work(&self.requested);
        self.busy.store(false, Ordering::SeqCst);
        result
    }

    /// Whether there was an interrupt.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// Forgets it: the chat goes on.
    pub fn clear(&self) {
        self.requested.store(false, Ordering::SeqCst);
    }
}
