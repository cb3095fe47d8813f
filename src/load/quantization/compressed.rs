//! What the configurations of compressed-tensors say: groups of modules, each with its scheme.

use super::declared::group_of;
use super::{Bits, Layout, Order, Quantization, Rule, Scheme, is_linear};
use crate::error::{Error, Result};
use crate::load::fields::Fields;
use fancy_regex::{Regex, RegexBuilder};
use std::path::Path;

/// The one format whose files are read.
const FORMAT: &str = "pack-quantized";
/// The class of the modules that a decoder multiplies with, as a target calls it.
const LINEAR: &str = "Linear";
/// More patterns than any recipe has.
const TARGETS_MAX: usize = 1 << 16;
const REGEXES_MAX: usize = 256;
/// Steps back that a pattern may take on one name. Honest ones take a handful.
const BACKTRACKS_MAX: usize = 100_000;
/// Bytes of a compiled pattern.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Which modules are quantised, and how.
#[derive(Debug)]
pub(super) struct Targets {
    /// In the order in which they are tried.
    targets: Vec<(Target, Scheme)>,
    ignore: Vec<Target>,
}

/// What names modules.
#[derive(Debug)]
enum Target {
    /// A module by its name, or a class of modules.
    Name(String),
    /// `re:` and a pattern that the beginning of a module's name must fit.
    Regex(Box<Regex>),
}

impl Target {
    fn parse(fields: &Fields<'_>, field: &str, text: &str) -> Result<Target> {
        let Some(pattern) = text.strip_prefix("re:") else {
            return Ok(Target::Name(text.to_string()));
        };
        let regex = RegexBuilder::new(&format!("^(?:{pattern})"))
            .backtrack_limit(BACKTRACKS_MAX)
            .delegate_size_limit(REGEX_BYTES_MAX)
            .build();
        match regex {
            Ok(regex) => Ok(Target::Regex(Box::new(regex))),
            Err(e) => {
                let why = e.to_string();
                let why = why.lines().next().unwrap_or_default();
                Err(fields.invalid(
                    field,
                    format!("{text:.60} ({why:.100})"),
                    "a regular expression",
                ))
            }
        }
    }

    fn names(&self, module: &str, path: &Path) -> Result<bool> {
        match self {
            Target::Name(name) => Ok(name == module),
            Target::Regex(regex) => regex.is_match(module).map_err(|e| {
                let found = format!("{:.60} ({e:.100})", regex.as_str());
                Error::invalid(path, format!("targets for {module}"), found, "a pattern that ends")
            }),
        }
    }

    fn is_class(&self) -> bool {
        matches!(self, Target::Name(name) if name == LINEAR)
    }
}

impl Targets {
    /// How a module is quantised, if it is: by a target that is its name, else by one whose pattern
    /// it fits, else by that of its class.
    pub(super) fn scheme(&self, module: &str, path: &Path) -> Result<Option<Scheme>> {
        if !is_linear(module) {
            return Ok(None);
        }
        for target in &self.ignore {
            if target.is_class() || target.names(module, path)? {
                return Ok(None);
            }
        }
        for (target, scheme) in &self.targets {
            if target.names(module, path)? {
                return Ok(Some(*scheme));
            }
        }
        let class = self.targets.iter().find(|(target, _)| target.is_class());
        Ok(class.map(|(_, scheme)| *scheme))
    }

    /// The different schemes.
    pub(super) fn schemes(&self) -> impl Iterator<Item = &Scheme> {
        let each = self.targets.iter().enumerate();
        each.filter(|(i, (_, scheme))| self.targets[..*i].iter().all(|(_, other)| other != scheme))
            .map(|(_, (_, scheme))| scheme)
    }
}

/// A `quantization_config` of compressed-tensors.
///
/// # Errors
/// [`Error::Unsupported`] or [`Error::Invalid`] naming the field.
pub(super) fn parse(fields: &Fields<'_>) -> Result<Quantization> {
    let format = fields.string("format")?;
    if format.as_deref() != Some(FORMAT) {
        return Err(fields.refusal("format", format.as_deref().unwrap_or("nothing"), FORMAT));
    }
    for field in ["kv_cache_scheme", "transform_config"] {
        if fields.says(field) {
            return Err(fields.refusal(field, "that is not null", "quantised weights alone"));
        }
    }
    if let Some(sparsity) = fields.object("sparsity_config")? {
        let format = sparsity.string("format")?.unwrap_or_else(|| "dense".to_string());
        if format != "dense" {
            return Err(sparsity.refusal("format", &format, "dense"));
        }
    }
    let Some(groups) = fields.object("config_groups")? else {
        return Err(fields.invalid("config_groups", "no such field", "an object of groups"));
    };
    let (mut targets, mut regexes) = (Vec::new(), 0);
    for name in groups.names() {
        let Some(group) = groups.object(&name)? else { continue };
        let scheme = scheme_of(&group)?;
        for text in patterns(&group, "targets", &mut regexes)? {
            targets.push((text, group.prefixed("targets"), scheme));
        }
    }
    if targets.is_empty() {
        return Err(fields.invalid("config_groups", "no targets", "one group or more"));
    }
    // Names before patterns, and each in the order of their text, as the format has it.
    targets.sort_by(|(a, ..), (b, ..)| (a.contains("re:"), a).cmp(&(b.contains("re:"), b)));
    let targets = targets.into_iter().map(|(text, field, scheme)| {
        Target::parse(fields, &field, &text).map(|target| (target, scheme))
    });
    let ignore = patterns(fields, "ignore", &mut regexes)?;
    let ignore = ignore.iter().map(|text| Target::parse(fields, "ignore", text));
    let rule = Rule::Targets(Targets {
        targets: targets.collect::<Result<_>>()?,
        ignore: ignore.collect::<Result<_>>()?,
    });
    Ok(Quantization { path: fields.path().to_path_buf(), layout: Layout::PackQuantized, rule })
}

/// A list of targets; `regexes` counts those of all lists.
fn patterns(fields: &Fields<'_>, name: &str, regexes: &mut usize) -> Result<Vec<String>> {
    let texts = fields.strings(name)?.unwrap_or_default();
    *regexes += texts.iter().filter(|text| text.starts_with("re:")).count();
    if texts.len() > TARGETS_MAX || *regexes > REGEXES_MAX {
        let found = format!("{} entries, {regexes} patterns so far", texts.len());
        let expected = format!("at most {TARGETS_MAX}, and {REGEXES_MAX} patterns in all");
        return Err(fields.invalid(name, found, expected));
    }
    Ok(texts)
}

/// The scheme of a group.
fn scheme_of(group: &Fields<'_>) -> Result<Scheme> {
    for field in ["input_activations", "output_activations"] {
        if group.has(field) {
            return Err(group.refusal(field, "that is not null", "quantised weights alone"));
        }
    }
    if let Some(format) = group.string("format")?
        && format != FORMAT
    {
        return Err(group.refusal("format", &format, FORMAT));
    }
    let Some(weights) = group.object("weights")? else {
        return Err(group.invalid("weights", "no such field", "num_bits, strategy and so on"));
    };
    let kind = weights.string("type")?.unwrap_or_else(|| "int".to_string());
    if kind != "int" {
        return Err(weights.refusal("type", &kind, "int"));
    }
    let dynamic = weights.shown("dynamic").unwrap_or_else(|| "false".to_string());
    if dynamic != "false" {
        return Err(weights.refusal("dynamic", &dynamic, "false"));
    }
    let bits = match weights.size_or("num_bits", 64, 8)? {
        4 => Bits::Four,
        8 => Bits::Eight,
        bits => return Err(weights.refusal("num_bits", &bits.to_string(), "4, and 8 for lm_head")),
    };
    let group = width(&weights)?;
    let scheme = Scheme {
        bits,
        group,
        zero_points: !weights.flag_or("symmetric", true)?,
        order: order(&weights)?,
    };
    if scheme.order == Order::Required && group.is_none() {
        return Err(weights.refusal("actorder", "group without groups", "null"));
    }
    if bits == Bits::Eight && (group.is_some() || scheme.zero_points) {
        let what = match group {
            Some(_) => "group",
            None => "channel with zero points",
        };
        return Err(weights.refusal("strategy", what, "8 bits in symmetric channels, for lm_head"));
    }
    Ok(scheme)
}

/// Columns that share a scale; `None` is a row.
fn width(weights: &Fields<'_>) -> Result<Option<usize>> {
    let strategy = weights.string("strategy")?;
    match strategy.as_deref() {
        // Read first: the group of a row may be written in any way.
        Some("channel") => return Ok(None),
        None | Some("group") => {}
        Some(other) => return Err(weights.refusal("strategy", other, "group, channel")),
    }
    match (group_of(weights, "group_size")?, strategy) {
        (Some(Some(group)), _) => Ok(Some(group)),
        (Some(None), None) => Ok(None),
        (None, None) => Err(weights.refusal("strategy", "tensor", "group, channel")),
        (_, Some(_)) => Err(weights.invalid("group_size", "none", "that of strategy group")),
    }
}

/// Whether columns are in an order of their own: those of a static order are not.
fn order(weights: &Fields<'_>) -> Result<Order> {
    let order = weights.shown("actorder").unwrap_or_else(|| "null".to_string());
    match order.trim_matches('"') {
        "null" | "false" | "weight" | "static" => Ok(Order::None),
        "true" | "group" | "dynamic" => Ok(Order::Required),
        other => Err(weights.refusal("actorder", other, "null, weight, group")),
    }
}
