//! `ridgepoint generate --chat`: a conversation on the terminal.

use crate::cli::Done;
use crate::cli::args::GenerateArgs;
use crate::cli::generate::{Printer, report_error};
use crate::cli::output::Output;
use crate::cli::prompts::{Defaults, no_template};
use crate::cli::session::{Interrupt, Session, Started};
use crate::engine::{EngineThread, SubmitOptions};
use crate::error::{Error, Result};
use crate::text::{ChatTemplate, Message};
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

/// Without --context a conversation gets at most so many tokens: the KV cache is made for them.
const CONTEXT_DEFAULT: usize = 8192;

struct Chat<'a> {
    args: &'a GenerateArgs,
    session: &'a Session,
    defaults: &'a Defaults,
    interrupt: &'a Interrupt,
    template: ChatTemplate,
    engine: EngineThread,
    load: Duration,
    messages: Vec<Message>,
    /// Whether a message could not be answered.
    failed: bool,
}

/// Reads a line, answers it, and so on until the end of input or `/exit`.
pub fn run(
    args: &GenerateArgs,
    session: &Session,
    defaults: &Defaults,
    interrupt: &Interrupt,
    out: &mut Output,
) -> Result<Done> {
    session.tokenizer()?;
    let template = ChatTemplate::load(&session.dir)?.ok_or_else(|| no_template(&session.dir))?;
    let context = args.model.context.unwrap_or(session.config.context.min(CONTEXT_DEFAULT));
    let options = args.engine.options(context, 1, session)?;
    let Started { engine, load, .. } = session.engine(options, &args.engine.draft()?)?;
    let messages = Vec::new();
    let failed = false;
    let mut chat =
        Chat { args, session, defaults, interrupt, template, engine, load, messages, failed };
    chat.reset();
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        eprintln!("/reset starts over, /exit or Ctrl-D ends; Ctrl-C ends an answer.");
    }
    loop {
        if terminal {
            eprint!("> ");
            // The prompt is for the eyes only: a closed stderr must not end the chat.
            let _ = std::io::stderr().flush();
        }
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        if read.map_err(Error::io(Path::new("standard input"), "cannot read"))? == 0 {
            return Ok(chat.done(terminal));
        }
        match line.trim() {
            "" => {}
            "/exit" => return Ok(chat.done(terminal)),
            "/reset" => chat.reset(),
            text => chat.answer(text, out)?,
        }
    }
}

impl Chat<'_> {
    /// A person at a terminal has seen what failed; a script learns it by the exit code.
    fn done(&self, terminal: bool) -> Done {
        if self.failed && !terminal { Done::WithMistakes } else { Done::Well }
    }

    fn reset(&mut self) {
        self.messages.clear();
        self.messages.extend(self.args.system.as_ref().map(|text| Message::new("system", text)));
    }

    /// Answers one message. A message that cannot be answered is said and forgotten, and the chat
    /// goes on; output that cannot be written ends it.
    fn answer(&mut self, text: &str, out: &mut Output) -> Result<()> {
        self.messages.push(Message::new("user", text));
        match self.generate(out) {
            Ok(answer) => self.messages.push(Message::new("assistant", &answer)),
            Err(error @ (Error::Request(_) | Error::Template { .. })) => {
                self.messages.pop();
                self.failed = true;
                report_error(self.args.json, None, &error, out)?;
            }
            Err(error) => return Err(error),
        }
        if self.interrupt.requested() {
            self.interrupt.clear();
        }
        Ok(())
    }

    fn generate(&mut self, out: &mut Output) -> Result<String> {
        let tokenizer = self.session.tokenizer()?;
        let prompt = tokenizer.encode(&self.template.render(&self.messages, true)?, false)?;
        let request = self.defaults.request(prompt, self.session);
        let stream = self.engine.client().submit(request.clone(), SubmitOptions::default())?;
        let printer = Printer::new(self.session, &request, !self.args.json, out)?;
        let load = self.load;
        let report = self.interrupt.during(|cancel| printer.follow(stream, cancel, load))?;
        let text = report.text.clone().unwrap_or_default();
        report.print(self.args.json, out)?;
        Ok(text)
    }
}
