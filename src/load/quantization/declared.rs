//! What the configurations of GPTQ and AWQ say.

use super::{Bits, Layout, Order, Quantization, Rule, Scheme};
use crate::error::Result;
use crate::load::fields::Fields;

/// The methods whose files are read.
pub(super) const METHODS: &str = "gptq, awq, compressed-tensors, each with 4 bits";
/// The groups that are read.
const GROUPS: &str = "64, multiples of 128, and -1 for a row";
/// Wider groups than any row has.
const GROUP_MAX: i64 = 1 << 20;

/// A `quantization_config` of GPTQ, or its `quantize_config.json`.
///
/// # Errors
/// [`crate::error::Error::Unsupported`] or [`crate::error::Error::Invalid`] naming the field.
pub(super) fn gptq(fields: &Fields<'_>) -> Result<Quantization> {
    four_bits(fields, &["bits"])?;
    let format = match fields.string("checkpoint_format")? {
        Some(format) => Some(format),
        None => fields.string("format")?,
    };
    let zero_offset = match format.as_deref() {
        None | Some("gptq") => 1,
        Some("gptq_v2") => 0,
        Some(other) => return Err(fields.refusal("checkpoint_format", other, "gptq, gptq_v2")),
    };
    if fields.flag_or("is_marlin_format", false)? {
        return Err(fields.refusal("is_marlin_format", "true", "false: gptq or gptq_v2"));
    }
    int32_words(fields)?;
    // Entries that begin with -: leave modules as they are, which their tensors say themselves.
    if let Some(rules) = fields.object("dynamic")?
        && let Some(rule) = rules.names().iter().find(|rule| !rule.starts_with("-:"))
    {
        return Err(fields.refusal("dynamic", rule, "one scheme for all matrices"));
    }
    for field in ["adapter", "rotation"] {
        if fields.says(field) {
            let found = fields.shown(field).unwrap_or_default();
            return Err(fields.refusal(field, &found, "null"));
        }
    }
    let scheme = Scheme {
        bits: Bits::Four,
        group: group(fields, &["group_size"])?,
        zero_points: !fields.flag_or("sym", true)?,
        order: match fields.flag_or("desc_act", false)?
            && !fields.flag_or("static_groups", false)?
        {
            true => Order::Required,
            false => Order::Optional,
        },
    };
    let rule = Rule::Uniform { scheme, head: fields.flag_or("lm_head", false)? };
    let path = fields.path().to_path_buf();
    Ok(Quantization { path, layout: Layout::Gptq { zero_offset }, rule })
}

/// A `quantization_config` of AWQ, or its `quant_config.json`.
///
/// # Errors
/// As [`gptq`].
pub(super) fn awq(fields: &Fields<'_>) -> Result<Quantization> {
    four_bits(fields, &["bits", "w_bit"])?;
    for field in ["version", "checkpoint_format", "format"] {
        if let Some(version) = fields.string(field)?
            && !version.eq_ignore_ascii_case("gemm")
        {
            return Err(fields.refusal(field, &version, "gemm"));
        }
    }
    if let Some(backend) = fields.string("backend")?
        && backend != "autoawq"
    {
        return Err(fields.refusal("backend", &backend, "autoawq"));
    }
    int32_words(fields)?;
    if !fields.flag_or("zero_point", true)? {
        return Err(fields.refusal("zero_point", "false", "true"));
    }
    let group = group(fields, &["group_size", "q_group_size"])?;
    let scheme = Scheme { bits: Bits::Four, group, zero_points: true, order: Order::None };
    let rule = Rule::Uniform { scheme, head: false };
    Ok(Quantization { path: fields.path().to_path_buf(), layout: Layout::Awq, rule })
}

fn four_bits(fields: &Fields<'_>, names: &[&str]) -> Result<()> {
    let name = present(fields, names);
    match fields.size(name, 64)? {
        4 => Ok(()),
        bits => Err(fields.refusal(name, &bits.to_string(), "4")),
    }
}

fn int32_words(fields: &Fields<'_>) -> Result<()> {
    match fields.string("pack_dtype")? {
        Some(other) if other != "int32" => Err(fields.refusal("pack_dtype", &other, "int32")),
        _ => Ok(()),
    }
}

/// The first of these fields that is there, or the first.
fn present<'a>(fields: &Fields<'_>, names: &[&'a str]) -> &'a str {
    names.iter().find(|name| fields.has(name)).unwrap_or(&names[0])
}

/// Columns that share a scale; `None` is a row.
fn group(fields: &Fields<'_>, names: &[&str]) -> Result<Option<usize>> {
    let name = present(fields, names);
    match fields.has(name) {
        true => group_of(fields, name).map(|group| group.flatten()),
        false => Err(fields.invalid(name, "no such field", GROUPS)),
    }
}

/// The same of a field that may be absent: `None` if it is.
pub(super) fn group_of(fields: &Fields<'_>, name: &str) -> Result<Option<Option<usize>>> {
    if !fields.has(name) {
        return Ok(None);
    }
    match fields.integer_or(name, -1..=GROUP_MAX, -1)? {
        -1 => Ok(Some(None)),
        n if n == 64 || n > 0 && n % 128 == 0 => Ok(Some(Some(n as usize))),
        n => Err(fields.refusal(name, &n.to_string(), GROUPS)),
    }
}
