//! What the README shows is what there is: its parts between `<!-- begin NAME -->` and `<!-- end
//! NAME -->` are made anew and compared. With RIDGEPOINT_BLESS=1 they are written instead.

mod example;

use crate::common::{compile, root};
use crate::probes::{self, Golden, Probe};
use ptxsim::decode::table::{expand, forms};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

const KERNEL: &str = "ptxsim/tests/kernels/reverse.cu";
/// Forms of a mnemonic that are spelled out; of more, only the modifiers are listed.
const SPELLED: usize = 6;

#[test]
fn the_readme_is_up_to_date() {
    let path = root().join("ptxsim/README.md");
    let before = fs::read_to_string(&path).unwrap();
    let report = example::run(&compile(KERNEL, &[], "compute_90a")).unwrap();
    assert!(!report.is_clean());
    let example = include_str!("example.rs");
    let (_, example) = example.split_once("\n\n").unwrap();
    let kernel = fs::read_to_string(root().join(KERNEL)).unwrap();
    let mut text = before.clone();
    for (name, part) in [
        ("kernel", format!("```cuda\n{kernel}```\n")),
        ("example", format!("```rust\n{example}```\n")),
        ("report", format!("```text\n{}\n```\n", report.to_string().trim_end())),
        ("instructions", instructions()),
    ] {
        text = replace(&text, name, &part);
    }
    if std::env::var_os("RIDGEPOINT_BLESS").is_some_and(|v| v == "1") {
        fs::write(path, text).unwrap();
        return;
    }
    let differs = before.lines().zip(text.lines()).find(|(a, b)| a != b);
    assert!(
        before == text,
        "ptxsim/README.md is not what it should be, first at {differs:?}; \
         RIDGEPOINT_BLESS=1 writes it anew"
    );
}

fn replace(text: &str, name: &str, part: &str) -> String {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let (head, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{begin} is missing"));
    let (_, tail) = rest.split_once(&end).unwrap_or_else(|| panic!("{end} is missing"));
    format!("{head}{begin}{part}{end}{tail}")
}

/// One row a mnemonic: its forms, or if the table has many its modifiers, and whether a GPU has
/// agreed.
fn instructions() -> String {
    let golden = Golden::read();
    let mut bases: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for (pattern, operands) in forms() {
        let end = pattern.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(pattern.len());
        // What explains a form is none.
        if pattern[end..].starts_with(':') {
            continue;
        }
        bases.entry(&pattern[..end]).or_default().push((pattern, operands));
    }
    let mut text = String::from("| instruction | forms | confirmed on hardware |\n|---|---|---|\n");
    for (base, forms) in bases {
        // The operands of a family are its own matter.
        let part = |table: bool| -> BTreeSet<&str> {
            forms.iter().filter(|form| form.1.is_empty() != table).map(|form| form.0).collect()
        };
        let (rows, families) = (part(true), part(false));
        let mut described: Vec<String> = families.iter().map(|p| code(p)).collect();
        if rows.len() <= SPELLED {
            described.extend(rows.iter().map(|p| code(p)));
        } else {
            described.push(modifiers(base, &rows));
        }
        let probes: Vec<&Probe> = probes::all().iter().filter(|p| p.base() == base).collect();
        let confirmed = confirmed(&probes, &families, &golden);
        text += &format!("| `{base}` | {} | {confirmed} |\n", described.join("<br>"));
    }
    text
}

/// As code within a table.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

/// How many opcodes there are, and what their modifiers are.
fn modifiers(base: &str, patterns: &BTreeSet<&str>) -> String {
    let opcodes: BTreeSet<String> = patterns.iter().flat_map(|p| expand(p)).collect();
    let mut parts: BTreeSet<&str> = BTreeSet::new();
    for opcode in &opcodes {
        parts.extend(opcode.split('.').skip(1));
    }
    let list: Vec<String> = parts.into_iter().map(|part| format!(".{part}")).collect();
    format!("{} opcodes of `{base}` with {}", opcodes.len(), code(&list.join(" ")))
}

/// Yes if a GPU has agreed on all probes, and every form of a family has one: the probe's opcode
/// starts as the form does. (That the table's opcodes all have one is a test of its own.)
fn confirmed(probes: &[&Probe], families: &BTreeSet<&str>, golden: &Golden) -> &'static str {
    let head = |form: &str| form.split(['{', '(', '|', ' ']).next().unwrap_or_default().to_owned();
    let probed = |form: &&str| probes.iter().any(|probe| probe.opcode.starts_with(&head(form)));
    let yes = probes.iter().filter(|probe| golden.of(probe).is_some()).count();
    match yes {
        0 => "no",
        _ if yes == probes.len() && families.iter().all(probed) => "yes",
        _ => "in part",
    }
}
