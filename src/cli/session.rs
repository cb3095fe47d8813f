//! What every command that runs a model shares: finding it, threads, interrupts.

use crate::cli::args::{DeviceArg, DraftArg, EngineArgs, ModelArgs};
use crate::engine::EngineOptions;
use crate::error::{Error, Result};
use crate::service::{DeviceChoice, DraftChoice, DraftOptions, ServeOptions, SessionOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use crate::service::{Session, Started};

/// Opens the model of the command line. Remarks go to stderr.
pub fn open(args: &ModelArgs) -> Result<Session> {
    open_with(args, None)
}

/// The same with weights that are made up of `seed`.
pub fn open_made_up(args: &ModelArgs, seed: u64) -> Result<Session> {
    open_with(args, Some(seed))
}

fn open_with(args: &ModelArgs, made_up: Option<u64>) -> Result<Session> {
    if let Some(threads) = args.threads {
        set_threads(threads)?;
    }
    let dir = match &args.model {
        Some(dir) => dir.clone(),
        None => shipped_model()?,
    };
    let device = args.device.into();
    let notice = Arc::new(|text: &str| eprintln!("{text}"));
    let session =
        Session::open(SessionOptions { dir, device, quantize: args.quantize, made_up, notice })?;
    let context = session.context(args.context);
    context.map_err(|why| Error::Usage(format!("--context is {why}")))?;
    Ok(session)
}

impl From<DeviceArg> for DeviceChoice {
    fn from(device: DeviceArg) -> DeviceChoice {
        match device {
            DeviceArg::Auto => DeviceChoice::Auto,
            DeviceArg::Cpu => DeviceChoice::Cpu,
            DeviceArg::Cuda => DeviceChoice::Cuda,
            DeviceArg::Sim => DeviceChoice::Sim,
        }
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
        let options = ServeOptions {
            running: self.running,
            prefill_tokens: self.prefill_tokens,
            kv_pages: self.kv_pages,
            reserve_percent: self.reserve,
            prefix_cache: !self.no_prefix_cache,
            share_generated: self.share_generated,
            ..ServeOptions::default()
        };
        let context = context.min(session.config.context);
        options.engine(context, count).map_err(|(field, why)| {
            let flag = match field {
                "reserve_percent" => "--reserve".to_string(),
                field => format!("--{}", field.replace('_', "-")),
            };
            Error::Usage(format!("{flag} is {why}"))
        })
    }

    /// What drafts.
    pub fn draft(&self) -> Result<DraftOptions> {
        let (choice, depth) = match &self.draft {
            None => (None, None),
            Some(DraftArg::Model(dir)) => (Some(DraftChoice::Model(dir.clone())), None),
            Some(DraftArg::Ngrams { max, depth }) => {
                (Some(DraftChoice::Ngrams { max: *max }), *depth)
            }
        };
        let options = DraftOptions { choice, depth: self.depth.or(depth) };
        match options.check() {
            Err(_) if options.choice.is_none() => {
                Err(Error::Usage("--depth needs --draft".to_string()))
            }
            Err(why) => Err(Error::Usage(format!("--{why}"))),
            Ok(()) => Ok(options),
        }
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
