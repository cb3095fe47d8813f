//! How an engine is to be made.

use super::super::memory::{self as c, sized};
use super::super::status::{Fault, Outcome, WITHOUT_KERNELS, rp_status};
use crate::engine::EngineOptions;
use crate::quantize::Scheme;
use crate::service::{
    DeviceChoice, DraftChoice, DraftOptions, NGRAM_DEFAULT, ServeOptions, SessionOptions,
};
use std::ffi::c_char;
use std::time::Duration;

/// How an engine is made and serves. All zeros but the size: the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_engine_options {
    /// sizeof(rp_engine_options).
    pub size: usize,
    /// "auto" (a GPU where there is one), "cpu", "cuda" or "sim"; null is "auto".
    pub device: *const c_char,
    /// What weights of 16 bits become, such as "int4:group=128"; null leaves them.
    pub quantize: *const c_char,
    /// A directory with a smaller model of the same tokenizer, or "ngram": drafts tokens for the
    /// engine to check. The output stays the same. Null: nothing drafts.
    pub draft: *const c_char,
    /// Most tokens of a request, prompt and output together; 0: all that the model has positions
    /// for.
    pub context: usize,
    /// Requests that run at a time; 0: 32.
    pub running: usize,
    /// Requests that may wait; 0: 4096. One more is refused with RP_BUSY.
    pub waiting: usize,
    /// Prompt tokens of a step; 0: 512.
    pub prefill_tokens: usize,
    /// Pages of 64 tokens in the KV cache; 0: what the requests that run need.
    pub kv_pages: usize,
    /// Percent of the room that outputs may need which is promised before a request runs; 0: 100,
    /// with which none is ever preempted.
    pub reserve_percent: usize,
    /// Of drafts: tokens of each; 0: as many as pay.
    pub depth: usize,
    /// Milliseconds without a step after which callers that wait give up; 0: 600,000.
    pub patience_ms: u64,
    /// Not 0: requests share no pages.
    pub no_prefix_cache: u32,
    /// Not 0: pages of generated tokens are shared too. Outputs may then depend on what was cached.
    pub share_generated: u32,
}

sized!(rp_engine_options);

/// What the struct says, with its texts.
pub(super) struct Options<'a> {
    given: Option<rp_engine_options>,
    device: Option<&'a str>,
    quantize: Option<&'a str>,
    draft: Option<&'a str>,
}

/// Reads them; null is all defaults.
///
/// # Safety
/// `at` is null, misaligned, or a struct as large as it says, whose texts end with zeros and stay.
pub(super) unsafe fn read<'a>(at: *const rp_engine_options) -> Outcome<Options<'a>> {
    if at.is_null() {
        return Ok(Options { given: None, device: None, quantize: None, draft: None });
    }
    // SAFETY: as the caller promises.
    let given = unsafe { c::read(at) }?;
    Ok(Options {
        given: Some(given),
        // SAFETY: as the caller promises.
        device: unsafe { c::text("device", given.device) }?,
        // SAFETY: as the caller promises.
        quantize: unsafe { c::text("quantize", given.quantize) }?,
        // SAFETY: as the caller promises.
        draft: unsafe { c::text("draft", given.draft) }?,
    })
}

impl Options<'_> {
    fn number(&self, field: impl Fn(&rp_engine_options) -> usize) -> Option<usize> {
        self.given.as_ref().map(field).filter(|value| *value != 0)
    }

    pub(super) fn context(&self) -> Option<usize> {
        self.number(|o| o.context)
    }

    pub(super) fn session(&self, dir: &str) -> Outcome<SessionOptions> {
        let device = match self.device {
            None | Some("auto") => DeviceChoice::Auto,
            Some("cpu") => DeviceChoice::Cpu,
            Some("cuda") => DeviceChoice::Cuda,
            Some("sim") => DeviceChoice::Sim,
            Some(other) => {
                let text = format!("device is {other}, expected auto, cpu, cuda or sim");
                return Err(Fault::invalid(text));
            }
        };
        if let (false, Some(name @ ("cuda" | "sim"))) = (cfg!(feature = "cuda"), self.device) {
            let text = format!("device is {name}, and {WITHOUT_KERNELS}");
            return Err(Fault::new(rp_status::RP_UNSUPPORTED, text));
        }
        let quantize = self.quantize.map(str::parse::<Scheme>).transpose()?;
        Ok(SessionOptions { device, quantize, ..SessionOptions::new(dir) })
    }

    pub(super) fn serve(&self) -> ServeOptions {
        let default = ServeOptions::default();
        let flag =
            |field: fn(&rp_engine_options) -> u32| self.given.is_some_and(|o| field(&o) != 0);
        ServeOptions {
            running: self.number(|o| o.running).unwrap_or(default.running),
            waiting: self.number(|o| o.waiting).unwrap_or(default.waiting),
            prefill_tokens: self.number(|o| o.prefill_tokens).unwrap_or(default.prefill_tokens),
            kv_pages: self.number(|o| o.kv_pages),
            reserve_percent: self.number(|o| o.reserve_percent).unwrap_or(default.reserve_percent),
            prefix_cache: !flag(|o| o.no_prefix_cache),
            share_generated: flag(|o| o.share_generated),
        }
    }

    pub(super) fn draft(&self) -> Outcome<DraftOptions> {
        let choice = self.draft.map(|text| match text {
            "ngram" => DraftChoice::Ngrams { max: NGRAM_DEFAULT },
            dir => DraftChoice::Model(dir.into()),
        });
        let options = DraftOptions { choice, depth: self.number(|o| o.depth) };
        options.check().map_err(Fault::invalid)?;
        Ok(options)
    }

    pub(super) fn patient(&self, mut options: EngineOptions) -> EngineOptions {
        if let Some(given) = self.given.filter(|o| o.patience_ms != 0) {
            options.patience = Duration::from_millis(given.patience_ms);
        }
        options
    }
}
