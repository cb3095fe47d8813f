//! Functions that a kernel only declares and the driver provides: `vprintf` and `__assertfail`.

use super::ctx::{Ctx, Flow};
use crate::decode::{CallSite, Function};
use crate::isa::WINDOW_MASK;
use crate::memory::access::window;
use crate::memory::fields::Where;
use crate::report::FaultKind;

/// The longest string that is read.
const STRING_MAX: usize = 4096;

/// Runs a declared function.
pub fn call(ctx: &mut Ctx<'_, '_>, site: &CallSite, function: &Function, mask: u32) -> Flow {
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        match function.name.as_str() {
            "vprintf" => {
                let format = argument(ctx, site, function, lane, 0);
                let list = argument(ctx, site, function, lane, 1);
                let line = print(ctx, format, list, lane);
                ctx.world.printed.push_str(&line);
            }
            "__assertfail" => {
                let message = argument(ctx, site, function, lane, 0);
                let message = string(ctx, message, lane);
                ctx.fault(FaultKind::Trap, lane as u8, format!("assertion failed: {message}"));
                ctx.world.stopped = true;
            }
            name => {
                ctx.fault(FaultKind::Call, lane as u8, format!("{name} has no body"));
                ctx.world.stopped = true;
            }
        }
    }
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        ctx.warp.pc[lane] = ctx.pc + 1;
    }
    Flow::Regroup
}

fn argument(
    ctx: &Ctx<'_, '_>,
    site: &CallSite,
    function: &Function,
    lane: usize,
    index: usize,
) -> u64 {
    let (Some(&from), Some(&(_, bytes))) = (site.arguments.get(index), function.params.get(index))
    else {
        return 0;
    };
    let frame = ctx.warp.frame_of(lane);
    let stride = frame.params.len() / 32;
    let at = lane * stride + from as usize;
    let mut word = [0; 8];
    let bytes = (bytes as usize).min(8);
    word[..bytes].copy_from_slice(&frame.params[at..at + bytes]);
    u64::from_le_bytes(word)
}

/// Reads bytes at a generic address, without any check: these are the driver's own reads.
fn bytes(ctx: &mut Ctx<'_, '_>, address: u64, into: &mut [u8], lane: usize) -> bool {
    if window(address) == Where::Local {
        let at = lane * ctx.warp.local_stride as usize + (address & WINDOW_MASK) as usize;
        let end = at + into.len();
        if let Some(from) = ctx.warp.local.get(at..end) {
            into.copy_from_slice(from);
            return true;
        }
        return false;
    }
    match ctx.world.global.find(address, into.len() as u64) {
        Ok(place) => ctx.world.global.read(place, into),
        Err(_) => false,
    }
}

fn string(ctx: &mut Ctx<'_, '_>, address: u64, lane: usize) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while text.len() < STRING_MAX
        && bytes(ctx, address.wrapping_add(text.len() as u64), &mut byte, lane)
        && byte[0] != 0
    {
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Formats as C's printf does: arguments of four bytes, or of eight for `ll`, `l`, `z`, pointers,
/// strings and floats, each at a multiple of its size.
fn print(ctx: &mut Ctx<'_, '_>, format: u64, list: u64, lane: usize) -> String {
    let format = string(ctx, format, lane);
    let mut out = String::new();
    let mut at = 0u64;
    let mut rest = format.as_str();
    while let Some(start) = rest.find('%') {
        out.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        let end = rest.find(|c: char| c.is_ascii_alphabetic() && !"hlzjt".contains(c) || c == '%');
        let Some(end) = end else { break };
        let (flags, kind) = (&rest[..end], rest.as_bytes()[end] as char);
        rest = &rest[end + 1..];
        if kind == '%' {
            out.push('%');
            continue;
        }
        let wide = flags.contains(['l', 'z', 'j', 't']) || "fFeEgGaAsp".contains(kind);
        let size = if wide { 8 } else { 4 };
        at = at.next_multiple_of(size);
        let mut word = [0; 8];
        bytes(ctx, list.wrapping_add(at), &mut word[..size as usize], lane);
        at += size;
        let value = u64::from_le_bytes(word);
        let text = if kind == 's' { string(ctx, value, lane) } else { String::new() };
        out.push_str(&convert(flags, kind, wide, value, text));
    }
    out.push_str(rest);
    out
}

fn convert(flags: &str, kind: char, wide: bool, value: u64, text: String) -> String {
    let flags = flags.trim_end_matches(['h', 'l', 'z', 'j', 't']);
    let sign = flags.contains('+');
    let options = flags.trim_start_matches(['-', '+', ' ', '#', '0']);
    let prefix = &flags[..flags.len() - options.len()];
    let (width, precision) = match options.split_once('.') {
        Some((width, precision)) => (width, precision.parse::<usize>().ok().or(Some(0))),
        None => (options, None),
    };
    let width = width.parse::<usize>().unwrap_or(0);
    let signed = if wide { value as i64 } else { value as u32 as i32 as i64 };
    let float = f64::from_bits(value);
    let digits = precision.unwrap_or(6);
    let body = match kind {
        'd' | 'i' if sign && signed >= 0 => format!("+{signed}"),
        'd' | 'i' => signed.to_string(),
        'u' => value.to_string(),
        'x' => format!("{value:x}"),
        'X' => format!("{value:X}"),
        'o' => format!("{value:o}"),
        'p' => format!("{value:#x}"),
        'c' => char::from(value as u8).to_string(),
        's' => text.chars().take(precision.unwrap_or(usize::MAX)).collect(),
        'f' | 'F' if float.is_nan() => "nan".into(),
        'f' | 'F' if sign && float >= 0.0 => format!("+{float:.digits$}"),
        'f' | 'F' => format!("{float:.digits$}"),
        'e' | 'E' => exponent(float, digits),
        _ => format!("{float}"),
    };
    if prefix.contains('-') {
        format!("{body:<width$}")
    } else if prefix.contains('0') && kind != 's' {
        let (sign, rest) = body.split_at(body.starts_with(['-', '+']) as usize);
        format!("{sign}{rest:0>0$}", width.saturating_sub(sign.len()))
    } else {
        format!("{body:>width$}")
    }
}

/// As C writes it: at least two digits of exponent, with its sign.
fn exponent(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$e}");
    match text.split_once('e') {
        Some((mantissa, power)) => {
            let (sign, power) = match power.strip_prefix('-') {
                Some(power) => ('-', power),
                None => ('+', power),
            };
            format!("{mantissa}e{sign}{power:0>2}")
        }
        None => text,
    }
}
