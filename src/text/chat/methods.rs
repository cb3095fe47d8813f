//! Methods of Python's strings and maps, which templates call: those of minijinja's own list, each
//! paid for from the template's budget before it does its work.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Bytes for one step of the budget.
const BYTES_PER_STEP: usize = 64;

/// Calls a method that the engine itself does not have.
pub(super) fn call(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let length = match value.as_str() {
        Some(text) => text.len(),
        None => value.len().unwrap_or(0),
    };
    charge(state, length)?;
    match (value.as_str(), method, args) {
        (Some(text), "replace", [old, new, ..]) => {
            if let (Some(old), Some(new)) = (old.as_str(), new.as_str()) {
                charge(state, text.matches(old).count().saturating_mul(new.len()))?;
            }
        }
        (Some(separator), "join", [items]) => return join(state, separator, items),
        // A width in the format makes text of any length. No published template formats this way.
        (Some(_), "format", _) => {
            return Err(Error::new(ErrorKind::UnknownMethod, "str.format is not supported"));
        }
        _ => {}
    }
    unknown_method_callback(state, value, method, args)
}

/// Takes `bytes` of work out of the budget.
fn charge(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel((bytes / BYTES_PER_STEP) as u64)
}

fn join(state: &State, separator: &str, items: &Value) -> Result<Value, Error> {
    let mut output = String::new();
    for (index, item) in items.try_iter()?.checked().enumerate() {
        let item = item?;
        if item.kind() != ValueKind::String {
            let message = format!("join of {}, expected only strings", item.kind());
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
        let item = item.as_str().unwrap_or_default();
        charge(state, separator.len() + item.len() + BYTES_PER_STEP)?;
        if index > 0 {
            output.push_str(separator);
        }
        output.push_str(item);
    }
    Ok(Value::from(output))
}
