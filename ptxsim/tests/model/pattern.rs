//! The opcodes that a pattern of the table stands for.

/// Expands `{.x|.y}` (one of these or nothing) and `(.x|.y)` (one of these).
pub fn expand(pattern: &str) -> Vec<String> {
    let Some(start) = pattern.find(['{', '(']) else {
        return vec![pattern.to_string()];
    };
    let optional = pattern.as_bytes()[start] == b'{';
    let close = if optional { '}' } else { ')' };
    let length = pattern[start..].find(close).expect("a pattern's bracket is not closed");
    let (before, group) = (&pattern[..start], &pattern[start + 1..start + length]);
    let mut choices: Vec<&str> = group.split('|').collect();
    if optional {
        choices.push("");
    }
    let rest = expand(&pattern[start + length + 1..]);
    choices
        .iter()
        .flat_map(|choice| rest.iter().map(move |rest| format!("{before}{choice}{rest}")))
        .collect()
}

#[test]
fn patterns_expand() {
    assert_eq!(expand("add{.rn}.f32"), ["add.rn.f32", "add.f32"]);
    assert_eq!(expand("mov(.b32|.u32)"), ["mov.b32", "mov.u32"]);
    assert_eq!(expand("a{.b|.c}(.d|.e)").len(), 6);
}
