//! The `tojson` filter as transformers defines it: Python's `json.dumps` without the escapes for
//! HTML that Jinja's own filter has, and with characters beyond ASCII as they are.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// Deeper values are refused; Python's limit is its stack's.
const DEPTH_MAX: usize = 128;
/// Written text is charged in portions of this many bytes, before the next is written.
const PORTION: usize = 4096;
/// Bytes for one step of the template's budget.
const BYTES_PER_STEP: usize = 16;

/// `value | tojson(indent=None, ensure_ascii=False, separators=None, sort_keys=False)`.
pub(super) fn filter(
    state: &State,
    value: &Value,
    indent: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get::<Option<Value>>("indent")?,
    };
    let indent = match indent {
        Some(indent) if !indent.is_none() && !indent.is_undefined() => Some(indent_text(&indent)?),
        _ => None,
    };
    let (item, key) = match options.get::<Option<Vec<String>>>("separators")?.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(refuse("tojson takes two separators".to_string())),
        None if indent.is_some() => (",".to_string(), ": ".to_string()),
        None => (", ".to_string(), ": ".to_string()),
    };
    let mut writer = Writer {
        state,
        output: String::new(),
        charged: 0,
        indent,
        item,
        key,
        ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    writer.value(value, 0)?;
    Ok(Value::from(writer.output))
}

/// A number of spaces, or the text itself.
fn indent_text(indent: &Value) -> Result<String, Error> {
    const SPACES_MAX: usize = 64;
    let text = match indent.as_str() {
        Some(text) => text.to_string(),
        None => " ".repeat(usize::try_from(indent.clone())?.min(SPACES_MAX + 1)),
    };
    match text.len() <= SPACES_MAX {
        true => Ok(text),
        false => Err(refuse(format!("tojson indents by at most {SPACES_MAX} characters"))),
    }
}

fn refuse(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

struct Writer<'a, 'env> {
    state: &'a State<'a, 'env>,
    output: String,
    charged: usize,
    indent: Option<String>,
    item: String,
    key: String,
    ascii: bool,
    sort: bool,
}

impl Writer<'_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if self.output.len() - self.charged >= PORTION {
            self.state
                .consume_fuel(((self.output.len() - self.charged) / BYTES_PER_STEP) as u64)?;
            self.charged = self.output.len();
        }
        if depth > DEPTH_MAX {
            return Err(refuse(format!("tojson of a value more than {DEPTH_MAX} levels deep")));
        }
        match value.kind() {
            ValueKind::None => self.output.push_str("null"),
            ValueKind::Bool => self.output.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.output.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => return self.sequence(value, depth),
            ValueKind::Map => return self.map(value, depth),
            kind => return Err(refuse(format!("tojson of {kind}, which JSON does not have"))),
        }
        Ok(())
    }

    fn sequence(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.output.push('[');
        let mut first = true;
        for item in value.try_iter()?.checked() {
            self.separate(&mut first, depth + 1);
            self.value(&item?, depth + 1)?;
        }
        self.close(']', first, depth);
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut keys = Vec::new();
        for key in value.try_iter()?.checked() {
            keys.push(key?);
        }
        if self.sort {
            keys.sort();
        }
        self.output.push('{');
        let mut first = true;
        for key in keys {
            self.separate(&mut first, depth + 1);
            match key.kind() {
                ValueKind::String => self.string(key.as_str().unwrap_or_default()),
                ValueKind::Number | ValueKind::Bool | ValueKind::None => {
                    self.output.push('"');
                    self.value(&key, depth + 1)?;
                    self.output.push('"');
                }
                kind => return Err(refuse(format!("tojson of a map with a {kind} as key"))),
            }
            self.output.push_str(&self.key);
            self.value(&value.get_item(&key)?, depth + 1)?;
        }
        self.close('}', first, depth);
        Ok(())
    }

    fn separate(&mut self, first: &mut bool, depth: usize) {
        if !std::mem::replace(first, false) {
            self.output.push_str(&self.item);
        }
        self.line(depth);
    }

    fn close(&mut self, bracket: char, empty: bool, depth: usize) {
        if !empty {
            self.line(depth);
        }
        self.output.push(bracket);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.output.push('\n');
            for _ in 0..depth {
                self.output.push_str(indent);
            }
        }
    }

    fn string(&mut self, text: &str) {
        self.output.push('"');
        for c in text.chars() {
            match c {
                '"' => self.output.push_str("\\\""),
                '\\' => self.output.push_str("\\\\"),
                '\n' => self.output.push_str("\\n"),
                '\r' => self.output.push_str("\\r"),
                '\t' => self.output.push_str("\\t"),
                '\u{8}' => self.output.push_str("\\b"),
                '\u{c}' => self.output.push_str("\\f"),
                c if c < ' ' || (self.ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.output.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.output.push(c),
            }
        }
        self.output.push('"');
    }
}

/// Integers as they are; floats as Python's `repr` writes them: the shortest digits that read back
/// the same, with an exponent below 1e-4 and from 1e16 on.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(x) = f64::try_from(value.clone()) else { return value.to_string() };
    if x.is_nan() {
        return "NaN".to_string();
    }
    if x.is_infinite() {
        return if x > 0.0 { "Infinity" } else { "-Infinity" }.to_string();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(e) if !(-4..16).contains(&e) => {
            format!("{digits}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs())
        }
        _ => format!("{x:?}"),
    }
}
