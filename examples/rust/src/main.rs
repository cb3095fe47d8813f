//! Serves two requests at once with the engine layer, and calls one kernel on the simulator.

use ridgepoint::backend::cuda::driver::{Driver, SimDriver};
use ridgepoint::backend::cuda::kernels::Kernels;
use ridgepoint::backend::cuda::memory::Buffer;
use ridgepoint::backend::cuda::ops::norm::{RmsNorm, rmsnorm};
use ridgepoint::engine::{Event, SubmitOptions};
use ridgepoint::error::{Error, Result};
use ridgepoint::request::{Request, SamplingParams};
use ridgepoint::service::{DeviceChoice, DraftOptions, ServeOptions, Session, SessionOptions};
use ridgepoint::text::TextStream;
use std::sync::Arc;

fn main() -> Result<()> {
    let dir = std::env::args().nth(1).unwrap_or("../../models/target".to_string());
    generate(&dir)?;
    kernel()
}

fn generate(dir: &str) -> Result<()> {
    let options = SessionOptions { device: DeviceChoice::Cpu, ..SessionOptions::new(dir) };
    let session = Session::open(options)?;
    let serve = ServeOptions::default().engine(256, 2);
    let serve = serve.map_err(|(field, why)| Error::Usage(format!("{field} is {why}")))?;
    let started = session.engine(serve, &DraftOptions::default())?;
    let tokenizer = session.tokenizer()?;
    let mut open = Vec::new();
    for (prompt, temperature) in [("Once upon a time", 0.0), ("The dog", 0.8)] {
        let request = Request {
            prompt: tokenizer.encode(prompt, true)?,
            max_tokens: 24,
            sampling: SamplingParams { temperature, seed: 7, ..SamplingParams::default() },
            stop: Vec::new(),
            stop_tokens: session.config.eos.clone(),
        };
        let text = TextStream::new(tokenizer, &request.prompt, Vec::new())?;
        // Both run from here on; their events wait until they are taken.
        let stream = started.engine.client().submit(request, SubmitOptions::default())?;
        open.push((prompt, stream, text));
    }
    for (prompt, stream, mut text) in open {
        print!("{prompt}");
        for event in stream {
            match event {
                Event::Token(sampled) if session.config.eos.contains(&sampled.token) => {}
                Event::Token(sampled) => print!("{}", text.push(sampled.token)?.text),
                Event::Finished(finish) => println!("{} {:?}", text.finish(), finish.reason),
                Event::Failed(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn kernel() -> Result<()> {
    let driver: Arc<dyn Driver> = Arc::new(SimDriver::new(false));
    let kernels = Kernels::new(driver.clone())?;
    // bf16: 0x3f80 is 1, 0x4000 is 2.
    let input = Buffer::of(&driver, &[0x4000u16; 64])?;
    let gamma = Buffer::of(&driver, &[0x3f80u16; 64])?;
    let out = Buffer::new(&driver, 128)?;
    let op = RmsNorm {
        input: input.ptr(),
        residual: None,
        gamma: gamma.ptr(),
        out: out.ptr(),
        rows: 1,
        hidden: 64,
        epsilon: 0.0,
    };
    op.check().map_err(Error::Usage)?;
    rmsnorm(&kernels, &op)?;
    assert_eq!(out.read::<u16>(64)?, [0x3f80; 64], "rows of equal numbers become ones");
    println!("rmsnorm on {}", driver.properties().name);
    Ok(())
}
