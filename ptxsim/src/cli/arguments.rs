//! Arguments of a kernel, from their form on the command line to the block of its parameters.

use super::{Failure, numbers, read};
use crate::syntax::tree::Variable;

/// What a buffer holds when the kernel starts.
#[derive(Debug, PartialEq)]
pub(super) enum Contents {
    /// Bytes of a file, or zeros.
    Bytes(Vec<u8>),
    /// As many bytes that nobody has written.
    Nothing(u64),
}

impl Contents {
    pub fn len(&self) -> u64 {
        match self {
            Contents::Bytes(bytes) => bytes.len() as u64,
            Contents::Nothing(bytes) => *bytes,
        }
    }
}

/// Device memory that an argument asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Buffer {
    pub contents: Contents,
    /// Where it goes when the kernel is done.
    pub output: Option<String>,
    /// Where its address goes in the block of parameters.
    pub offset: usize,
}

/// The parameters of a launch.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Parameters {
    /// The block, with zeros where addresses of buffers go.
    pub block: Vec<u8>,
    pub buffers: Vec<Buffer>,
}

/// One argument.
enum Argument {
    Value(Vec<u8>),
    Buffer(Contents, Option<String>),
    Struct(Vec<Argument>),
}

/// How deep structs may nest.
const DEPTH: u32 = 8;

/// Reads the arguments, and holds them against the parameters and the offsets that these have.
pub(super) fn parameters(
    texts: &[String],
    params: &[Variable],
    places: &[(u32, u32)],
    entry: &str,
) -> Result<Parameters, Failure> {
    if texts.len() != params.len() {
        let names: Vec<_> = params.iter().map(|p| format!("{} ({})", p.name, kind(p))).collect();
        let (given, names) = (texts.len(), names.join(", "));
        let takes = if names.is_empty() { "none".to_owned() } else { names };
        return Err(format!("`{entry}` was given {given} --arg; its parameters: {takes}").into());
    }
    let mut parameters = Parameters::default();
    for ((text, param), (offset, bytes)) in texts.iter().zip(params).zip(places) {
        let told = |problem: String| format!("--arg {text} for {}: {problem}", param.name);
        let argument = argument(text, 0).map_err(|failure| match failure {
            Failure::Message(message) => Failure::Message(told(message)),
            other => other,
        })?;
        let (size, _) = layout(&argument);
        if size != *bytes as usize {
            let message = format!("has {size} bytes; the kernel takes {}", kind(param));
            return Err(told(message).into());
        }
        parameters.block.resize(*offset as usize, 0);
        place(argument, &mut parameters);
    }
    Ok(parameters)
}

/// A parameter's type in words.
pub(super) fn kind(param: &Variable) -> String {
    let bytes = param.bytes.unwrap_or(0);
    if param.ty == "b8" && bytes != 1 {
        format!("struct of {bytes} bytes, aligned to {}", param.align)
    } else {
        format!(".{}, {bytes} bytes", param.ty)
    }
}

fn argument(text: &str, depth: u32) -> Result<Argument, Failure> {
    if let Some(inner) = text.strip_prefix('{') {
        let inner = inner.strip_suffix('}').ok_or_else(|| "`}` is missing".to_owned())?;
        if depth >= DEPTH {
            return Err(format!("structs nest at most {DEPTH} deep").into());
        }
        let fields = split(inner).into_iter().map(|field| argument(field, depth + 1));
        return Ok(Argument::Struct(fields.collect::<Result<_, _>>()?));
    }
    let forms = "an argument is such as `u32:5`, `f32:1.5`, `in:FILE` or `out:BYTES=FILE`";
    let (kind, value) = text.split_once(':').ok_or_else(|| forms.to_owned())?;
    if let Some(bytes) = numbers::encode(kind, value) {
        return Ok(Argument::Value(bytes?));
    }
    let to_file = || {
        let pair = value.split_once('=').filter(|(_, file)| !file.is_empty());
        pair.ok_or_else(|| format!("`=FILE` is missing after `{value}`"))
    };
    Ok(match kind {
        "hex" => Argument::Value(numbers::hex(value)?),
        "bytes" => Argument::Value(read(value)?),
        "in" => Argument::Buffer(Contents::Bytes(read(value)?), None),
        "inout" => {
            let (from, to) = to_file()?;
            Argument::Buffer(Contents::Bytes(read(from)?), Some(to.to_owned()))
        }
        "out" => {
            let (bytes, to) = to_file()?;
            Argument::Buffer(Contents::Nothing(size(bytes)?), Some(to.to_owned()))
        }
        "zero" => {
            let (bytes, to) = to_file()?;
            let zeros = vec![0; size(bytes)? as usize];
            Argument::Buffer(Contents::Bytes(zeros), Some(to.to_owned()))
        }
        "buffer" => Argument::Buffer(Contents::Nothing(size(value)?), None),
        _ => return Err(format!("`{kind}:` is unknown; {forms}").into()),
    })
}

/// A buffer's size, which this process must be able to hold.
fn size(text: &str) -> Result<u64, String> {
    let bytes = numbers::bytes(text)?;
    if bytes > 64 << 30 { Err(format!("`{text}` is more than 64 GB")) } else { Ok(bytes) }
}

/// The fields of a struct: what is between the commas outside of inner braces.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut start) = (0_usize, 0);
    let mut fields = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                fields.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    fields.push(&text[start..]);
    fields
}

/// Bytes and alignment, as in C: a plain value is aligned to its size.
fn layout(argument: &Argument) -> (usize, usize) {
    match argument {
        Argument::Value(bytes) => {
            let size = bytes.len();
            (size, if size.is_power_of_two() { size.min(16) } else { 1 })
        }
        Argument::Buffer(..) => (8, 8),
        Argument::Struct(fields) => {
            let (mut end, mut align) = (0_usize, 1);
            for field in fields {
                let (bytes, of) = layout(field);
                end = end.next_multiple_of(of) + bytes;
                align = align.max(of);
            }
            (end.next_multiple_of(align), align)
        }
    }
}

/// Appends an argument to the block.
fn place(argument: Argument, parameters: &mut Parameters) {
    let (bytes, _) = layout(&argument);
    let start = parameters.block.len();
    match argument {
        Argument::Value(value) => parameters.block.extend(value),
        Argument::Buffer(contents, output) => {
            parameters.buffers.push(Buffer { contents, output, offset: start });
        }
        Argument::Struct(fields) => {
            let mut end = 0;
            for field in fields {
                let (bytes, align) = layout(&field);
                end = usize::next_multiple_of(end, align);
                parameters.block.resize(start + end, 0);
                place(field, parameters);
                end += bytes;
            }
        }
    }
    parameters.block.resize(start + bytes, 0);
}
