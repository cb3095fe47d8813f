//! The world a template runs in: syntax as transformers sets it, functions, and limits.

use super::{methods, strftime, tojson};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value, escape_formatter};
use std::collections::BTreeMap;
use std::io;

/// The budget of one rendering. One step is an instruction or 64 bytes of text made, so this is
/// below a second and at most 64 MB. One gap is the engine's: where `~` or a filter turns a list
/// into text, that text is counted when it is made, so a list of itself, nested, is not stopped
/// there.
const STEPS_MAX: u64 = 1_000_000;
/// A longer prompt would exceed any context.
const OUTPUT_BYTES_MAX: usize = 16 << 20;
/// Nested loops and macro calls (those count several times).
const RECURSION_MAX: usize = 150;
const NAME: &str = "chat template";
/// Lists can be nested as deep as the budget goes, and the engine drops and prints them by
/// recursion, where no limit of its own holds. Three steps make a level, and a level takes up to
/// 500 bytes of stack. Only what is used of it becomes memory.
const STACK_BYTES: usize = 256 << 20;
/// The variable that carries the time into `strftime_now`.
const NOW: &str = "__now_unix_s";

/// The variables of one rendering.
#[derive(Default)]
pub(super) struct Context(BTreeMap<String, Value>);

impl Context {
    pub(super) fn set(&mut self, name: &str, value: &impl serde::Serialize) {
        self.0.insert(name.to_string(), Value::from(Serde(value)));
    }
}

/// Compiles a template.
pub(super) fn build(source: &str) -> Result<Environment<'static>, String> {
    let mut environment = Environment::new();
    // transformers compiles templates with these two.
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| error.to_string())?);
    environment.set_fuel(Some(STEPS_MAX));
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_formatter(|output, state, value| {
        weigh(state, value)?;
        escape_formatter(output, state, value)
    });
    environment.set_unknown_method_callback(methods::call);
    environment.add_filter("tojson", tojson::filter);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_template_owned(NAME, without_generation(source)).map_err(explain)?;
    Ok(environment)
}

/// Renders the template of `environment`; `now` is in seconds since 1970.
pub(super) fn render(
    environment: &Environment<'_>,
    mut context: Context,
    now: u64,
) -> Result<String, String> {
    context.set(NOW, &now);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(NAME.to_string()).stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, || render_here(environment, context));
        let thread = thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn render_here(environment: &Environment<'_>, context: Context) -> Result<String, String> {
    let template = environment.get_template(NAME).map_err(explain)?;
    let mut output = Limited { bytes: Vec::new(), exceeded: false };
    let rendered = template.render_captured_to(Value::from(context.0), &mut output);
    if output.exceeded {
        return Err(format!("its output exceeds {OUTPUT_BYTES_MAX} bytes"));
    }
    rendered.map_err(explain)?;
    String::from_utf8(output.bytes).map_err(|error| error.to_string())
}

/// The engine's message with its line, and with our limits by name.
fn explain(error: Error) -> String {
    let mut message = match error.kind() {
        ErrorKind::OutOfFuel => format!("it exceeds its budget of {STEPS_MAX} steps"),
        kind => error.detail().map_or_else(|| kind.to_string(), str::to_string),
    };
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        message += &format!(": {inner}");
        cause = inner.source();
    }
    match error.line() {
        Some(line) => format!("{message} (line {line})"),
        None => message,
    }
}

/// Text up to the limit.
struct Limited {
    bytes: Vec<u8>,
    exceeded: bool,
}

impl io::Write for Limited {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + part.len() > OUTPUT_BYTES_MAX {
            self.exceeded = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes what is in a list or map out of the budget before it is printed: `[x] * 10**12` and a list
/// of itself, nested, are short to write and endless to print.
fn weigh(state: &State, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            for item in value.try_iter()?.checked() {
                state.consume_fuel(1)?;
                weigh(state, &item?)?;
            }
        }
        ValueKind::Map => {
            for key in value.try_iter()?.checked() {
                state.consume_fuel(1)?;
                weigh(state, &value.get_item(&key?)?)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// How a template refuses its messages.
fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_string()))
}

fn strftime_now(state: &State, format: &str) -> Result<String, Error> {
    let now = state.lookup(NOW).and_then(|now| u64::try_from(now).ok());
    let now = now.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "the time is not set"))?;
    // Every directive makes a few dozen bytes.
    state.consume_fuel(format.len() as u64)?;
    Ok(strftime::format(format, now))
}

/// `{% generation %}` marks the assistant's part for training and has no effect here. A block that
/// has none either takes its place, so that whitespace control and scope stay as they were.
fn without_generation(source: &str) -> String {
    let mut output = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start + 2);
        output.push_str(before);
        let inner = tag.trim_start_matches(['-', '+']).trim_start();
        let replacement = [("generation", "with"), ("endgeneration", "endwith")]
            .into_iter()
            .find_map(|(name, block)| Some((inner.strip_prefix(name)?, block)))
            .filter(|(after, _)| {
                after.trim_start().trim_start_matches(['-', '+']).starts_with("%}")
            });
        rest = match replacement {
            Some((after, block)) => {
                let sign = tag.chars().next().filter(|sign| ['-', '+'].contains(sign));
                output.extend(sign);
                output.push(' ');
                output.push_str(block);
                after
            }
            None => tag,
        };
    }
    output + rest
}
