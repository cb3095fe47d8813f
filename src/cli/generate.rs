//! `ridgepoint generate`: prompts in, text out.

use crate::backend::Sampled;
use crate::cli::args::{GenerateArgs, SamplingArgs};
use crate::cli::draft::DraftFigures;
use crate::cli::output::Output;
use crate::cli::prompts::{self, Defaults, Job};
use crate::cli::session::{self, Interrupt, Session, Started};
use crate::cli::{Done, chat};
use crate::engine::{EngineThread, Event, Finish, Stream, SubmitOptions};
use crate::error::{Error, Result};
use crate::request::{FinishReason, Request, SamplingParams, TokenId, TokenLogprobs};
use crate::text::{TextStream, Tokenizer};
use serde::Serialize;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often a wait for tokens looks whether there was an interrupt.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(50);

/// Runs the command.
pub fn run(args: &GenerateArgs, out: &mut Output) -> Result<Done> {
    if args.sampling.logprobs.is_some() && !args.json && args.source.prompts.is_none() {
        return Err(Error::Usage("--logprobs needs --json, where they are printed".to_string()));
    }
    let session = session::open(&args.model)?;
    let defaults = Defaults {
        sampling: sampling(&args.sampling),
        max_tokens: args.max_tokens,
        stop: args.stop.clone(),
        ignore_eos: args.ignore_eos,
    };
    let interrupt = Interrupt::watch()?;
    if args.source.chat {
        return chat::run(args, &session, &defaults, &interrupt, out);
    }
    let jobs = jobs(args, &session, &defaults)?;
    run_jobs(args, &session, jobs, &interrupt, out)
}

fn sampling(args: &SamplingArgs) -> SamplingParams {
    SamplingParams {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        repetition_penalty: args.repetition_penalty,
        frequency_penalty: args.frequency_penalty,
        presence_penalty: args.presence_penalty,
        logit_bias: args.logit_bias.iter().map(|&(id, bias)| (TokenId(id), bias)).collect(),
        seed: args.seed,
        logprobs: args.logprobs,
    }
}

/// The requests of the command line or of the file; a bad line is a job that failed already.
fn jobs(args: &GenerateArgs, session: &Session, defaults: &Defaults) -> Result<Vec<Job>> {
    if let Some(path) = &args.source.prompts {
        return prompts::read(path, session, defaults);
    }
    let prompt = match (&args.source.prompt, &args.source.tokens) {
        (Some(text), _) => prompts::encode(session.tokenizer()?, text)?,
        (None, Some(ids)) => ids.iter().map(|&id| TokenId(id)).collect(),
        (None, None) => unreachable!("the argument group demands one source"),
    };
    let request = defaults.request(prompt, session);
    request.validate(
        session.config.vocab_size,
        args.model.context.unwrap_or(session.config.context),
    )?;
    Ok(vec![Job { id: None, request: Ok(request) }])
}

/// The context that the jobs need: the longest prompt with its output, within the limits.
fn context(args: &GenerateArgs, session: &Session, jobs: &[Job]) -> usize {
    let most = args.model.context.unwrap_or(session.config.context);
    let needed = |job: &Job| match &job.request {
        Ok(request) => request.prompt.len().saturating_add(request.max_tokens).min(most),
        Err(_) => 0,
    };
    jobs.iter().map(needed).max().unwrap_or(0).max(2.min(most))
}

/// A job that was handed to the engine, or could not be.
struct Waiting {
    id: Option<Value>,
    request: Option<Request>,
    stream: Result<Stream>,
}

/// Hands jobs over as the engine takes them and prints results in the order of the jobs.
fn run_jobs(
    args: &GenerateArgs,
    session: &Session,
    jobs: Vec<Job>,
    interrupt: &Interrupt,
    out: &mut Output,
) -> Result<Done> {
    let context = context(args, session, &jobs);
    let options = args.engine.options(context, jobs.len(), session)?;
    let ahead = options.waiting.min(4 * options.running);
    let Started { engine, load, .. } = session.engine(options, &args.engine.draft()?)?;
    let single = args.source.prompts.is_none();
    let mut done = Done::Well;
    let mut jobs = jobs.into_iter();
    let mut waiting = VecDeque::new();
    loop {
        if !interrupt.requested() {
            let more = jobs.by_ref().take(ahead - waiting.len());
            waiting.extend(more.map(|job| submit(&engine, job)));
        }
        let Some(Waiting { id, request, stream }) = waiting.pop_front() else { break };
        let result = stream.and_then(|stream| {
            let request = request.expect("a request came with the stream");
            if !args.json && !single {
                let id = id.as_ref().map(Value::to_string).unwrap_or_default();
                eprintln!("--- {id}");
            }
            let printer = Printer::new(session, &request, !args.json, out)?;
            let report = interrupt.during(|cancel| printer.follow(stream, cancel, load))?;
            // After an interrupt, what had begun is still reported.
            match report.tokens.is_empty() && !single {
                true => Ok(()),
                false => Report { id: id.clone(), ..report }.print(args.json, out),
            }
        });
        match result {
            Ok(()) => {}
            Err(error) if single || is_output(&error) => return Err(error),
            Err(error) => {
                let mistake = error.is_mistake();
                report_error(args.json, id, &error, out)?;
                done = match (done, mistake) {
                    (Done::Well, true) => Done::WithMistakes,
                    (done, true) => done,
                    (_, false) => Done::WithFaults,
                };
            }
        }
        if interrupt.requested() {
            waiting.iter().filter_map(|job| job.stream.as_ref().ok()).for_each(Stream::cancel);
        }
    }
    Ok(if interrupt.requested() { Done::Interrupted } else { done })
}

fn submit(engine: &EngineThread, job: Job) -> Waiting {
    let Job { id, request } = job;
    match request {
        Err(error) => Waiting { id, request: None, stream: Err(error) },
        Ok(request) => Waiting {
            id,
            stream: engine.client().submit(request.clone(), SubmitOptions::default()),
            request: Some(request),
        },
    }
}

/// Output that cannot be written ends the command, whatever the line was.
fn is_output(error: &Error) -> bool {
    matches!(error, Error::Io { .. })
}

/// Says on stderr, and in a JSON object if results are such, why there is no result.
pub fn report_error(json: bool, id: Option<Value>, error: &Error, out: &mut Output) -> Result<()> {
    #[derive(Serialize)]
    struct Failure {
        id: Option<Value>,
        error: String,
    }
    let label = id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
    eprintln!("error:{label} {error}");
    match json {
        true => out.json(&Failure { id, error: error.to_string() }),
        false => Ok(()),
    }
}

/// Shows tokens as they come and keeps what the report needs.
pub struct Printer<'a> {
    stream: Option<TextStream>,
    request: &'a Request,
    streams: bool,
    out: &'a mut Output,
    text: String,
    tokens: Vec<TokenId>,
    logprobs: Vec<TokenLogprobs>,
}

impl<'a> Printer<'a> {
    /// A printer for the output of `request`; with `streams` the text is shown as it comes.
    pub fn new(
        session: &Session,
        request: &'a Request,
        streams: bool,
        out: &'a mut Output,
    ) -> Result<Printer<'a>> {
        let stream = |tokenizer: &Tokenizer| {
            TextStream::new(tokenizer, &request.prompt, request.stop.clone())
        };
        let stream = session.tokenizer.as_ref().map(stream).transpose()?;
        let (text, tokens, logprobs) = (String::new(), Vec::new(), Vec::new());
        Ok(Printer { stream, request, streams, out, text, tokens, logprobs })
    }

    /// Shows what comes until the end. When `cancel` becomes true it asks for an early one.
    pub fn follow(
        mut self,
        mut events: Stream,
        cancel: &AtomicBool,
        load: Duration,
    ) -> Result<Report> {
        let mut cancelled = false;
        loop {
            match events.next_within(INTERRUPT_INTERVAL) {
                Some(Event::Token(sampled)) => self.token(&sampled)?,
                Some(Event::Finished(finish)) => return self.end(finish, load),
                Some(Event::Failed(error)) => return Err(error),
                None => {}
            }
            if !cancelled && cancel.load(Ordering::Relaxed) {
                cancelled = true;
                events.cancel();
            }
        }
    }

    /// Takes one token; one that ends the output has no text.
    fn token(&mut self, sampled: &Sampled) -> Result<()> {
        self.tokens.push(sampled.token);
        self.logprobs.extend(sampled.logprobs.clone());
        let Some(stream) = &mut self.stream else {
            return match self.streams {
                true => self.show(&format!("{} ", sampled.token.0)),
                false => Ok(()),
            };
        };
        if self.request.stop_tokens.contains(&sampled.token) {
            return Ok(());
        }
        let text = stream.push(sampled.token)?.text;
        self.show(&text)
    }

    /// Shows what was held back.
    fn end(mut self, finish: Finish, load: Duration) -> Result<Report> {
        let rest = self.stream.as_mut().map(TextStream::finish).unwrap_or_default();
        self.show(&rest)?;
        Ok(Report {
            id: None,
            text: self.stream.is_some().then_some(self.text),
            tokens: self.tokens,
            prompt_tokens: finish.prompt_tokens,
            cached_tokens: finish.cached_tokens,
            finish_reason: finish.reason,
            seconds: Seconds::new(load, &finish),
            speculation: finish.drafts.as_deref().map(DraftFigures::of),
            logprobs: self.request.sampling.logprobs.is_some().then_some(self.logprobs),
        })
    }

    fn show(&mut self, text: &str) -> Result<()> {
        self.text.push_str(text);
        if self.streams && !text.is_empty() {
            self.out.text(text)?;
            self.out.show()?;
        }
        Ok(())
    }
}

/// Where the time went, in seconds.
#[derive(Serialize)]
pub struct Seconds {
    load: f64,
    queued: f64,
    prefill: f64,
    decode: f64,
}

impl Seconds {
    /// From the start of the command and from the request.
    fn new(load: Duration, finish: &Finish) -> Seconds {
        Seconds {
            load: load.as_secs_f64(),
            queued: finish.queued.as_secs_f64(),
            prefill: finish.prefill.as_secs_f64(),
            decode: finish.decode.as_secs_f64(),
        }
    }
}

/// One result.
#[derive(Serialize)]
pub struct Report {
    /// The id of the prompt's line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
    /// The output without end-of-sequence token and stop string; null without a tokenizer.
    pub text: Option<String>,
    /// The output with its end-of-sequence token.
    pub tokens: Vec<TokenId>,
    /// The length of the prompt.
    pub prompt_tokens: usize,
    /// How much of it the prefix cache had.
    pub cached_tokens: usize,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Where the time went.
    pub seconds: Seconds,
    /// What drafts did, if something drafts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speculation: Option<DraftFigures>,
    /// One entry a token, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<TokenLogprobs>>,
}

impl Report {
    /// Prints the object, or ends the streamed text and says on stderr how it went.
    pub fn print(&self, json: bool, out: &mut Output) -> Result<()> {
        if json {
            return out.json(self);
        }
        out.text("\n")?;
        out.show()?;
        let decode = self.seconds.decode;
        // The first token comes from the prefill, so decode made one fewer.
        let rate = self.tokens.len().saturating_sub(1) as f64 / decode.max(1e-9);
        let reason = serde_json::to_value(self.finish_reason).unwrap_or_default();
        eprintln!(
            "[{} prompt tokens in {:.3} s, {} tokens in {decode:.3} s ({rate:.0} tok/s), \
             loaded in {:.3} s, finished: {}]",
            self.prompt_tokens,
            self.seconds.prefill,
            self.tokens.len(),
            self.seconds.load,
            reason.as_str().unwrap_or_default()
        );
        if let Some(figures) = &self.speculation {
            eprintln!(
                "[{:.2} tokens a step, {} drafted, {} accepted (% by position: {}), {} wasted]",
                figures.tokens_per_step.unwrap_or(1.0),
                figures.drafted_tokens,
                figures.accepted_tokens,
                figures.acceptance(),
                figures.wasted_tokens
            );
        }
        Ok(())
    }
}
