//! Templates that mean harm end in an error that names file and limit, soon and without harm.

use ridgepoint::error::Error;
use ridgepoint::text::{ChatTemplate, Message};
use serde_json::Map;
use std::path::Path;
use std::time::{Duration, Instant};

fn render(source: &str) -> ridgepoint::error::Result<String> {
    let template =
        ChatTemplate::compile(source, Path::new("dir/chat_template.jinja"), &Map::new())?;
    template.render(&[Message::new("user", "hello")], true)
}

fn refused(source: &str, part: &str) {
    let started = Instant::now();
    let error = render(source).unwrap_err();
    assert!(matches!(error, Error::Template { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.starts_with("dir/chat_template.jinja: "), "{message}");
    assert!(message.contains(part), "{message:?} does not say {part:?}");
    assert!(started.elapsed() < Duration::from_secs(10), "{source:.60}: {:?}", started.elapsed());
}

#[test]
fn endless_loops_run_out_of_steps() {
    let body = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}x\
                {% endfor %}{% endfor %}{% endfor %}";
    refused(body, "budget of 1000000 steps");
    refused("{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}", "recursion");
    refused("{% for a in [[1]] recursive %}{{ loop([a]) }}{% endfor %}", "recursion");
}

#[test]
fn texts_do_not_grow_without_limit() {
    let double = "{% set ns = namespace(s='0123456789') %}{% for i in range(60) %}";
    refused(&format!("{double}{{% set ns.s = ns.s ~ ns.s %}}{{% endfor %}}"), "exceeds");
    refused(&format!("{double}{{% set ns.s = ns.s + ns.s %}}{{% endfor %}}"), "exceeds");
    let replace = "{% set ns.s = ns.s.replace('0', ns.s) %}{% endfor %}";
    refused(&format!("{double}{replace}"), "exceeds");
    let filter = "{% set ns.s = ns.s | replace('0', ns.s) %}{% endfor %}";
    refused(&format!("{double}{filter}"), "exceeds");
    refused(
        &format!("{double}{{% set ns.s = ns.s.join([ns.s, ns.s]) %}}{{% endfor %}}"),
        "exceeds",
    );
    refused("{{ 'x' * 1000000000 }}", "exceeds");
    refused("{{ 'x'.join(['y' * 100000] * 100000) }}", "exceeds");
    refused("{{ ('x' * 1000000).replace('x', 'y' * 1000000) }}", "exceeds");
    refused("{{ '{:1000000000}'.format('x') }}", "format");
    refused("{{ [1] | tojson(indent=1000000000) }}", "indents by at most 64");
    refused("{{ ['x'] * 100000000 }}", "exceeds");
}

#[test]
fn output_is_limited() {
    let megabyte = "{% set s = 'x' * 1000000 %}";
    let body = format!("{megabyte}{{% for i in range(17) %}}{{{{ s }}}}{{% endfor %}}");
    refused(&body, "output exceeds 16777216 bytes");
    let fits = format!("{megabyte}{{% for i in range(9) %}}{{{{ s }}}}{{% endfor %}}");
    assert_eq!(render(&fits).unwrap().len(), 9_000_000);
}

/// Lists in lists: few steps make text without end, or a value deeper than a thread's usual stack.
#[test]
fn nested_values_do_no_harm() {
    let wide = "{% set ns = namespace(l=['x']) %}{% for i in range(60) %}\
                {% set ns.l = [ns.l, ns.l] %}{% endfor %}";
    refused(&format!("{wide}{{{{ ns.l | tojson }}}}"), "exceeds its budget");
    refused(&format!("{wide}{{{{ ns.l }}}}"), "exceeds its budget");
    refused("{{ [[1]] * 100000000 }}", "exceeds its budget");
    refused(&format!("{wide}{{{{ ns.l.foo.bar }}}}"), "undefined");
    let deep = "{% set ns = namespace(l=['x']) %}{% for i in range(5000) %}{% for j in range(10) %}\
                {% set ns.l = [ns.l] %}{% endfor %}{% endfor %}";
    assert_eq!(render(&format!("{deep}done")).unwrap(), "done");
    refused(&format!("{deep}{{{{ ns.l | tojson }}}}"), "128 levels deep");
    assert!(render(&format!("{deep}{{{{ ns.l }}}}")).unwrap().len() > 100_000);
    assert!(render(&format!("{deep}{{{{ ns.l == [ns.l] }}}}")).is_ok());
    refused(&deep.replace("range(10)", "range(9999)"), "exceeds its budget");
}

#[test]
fn templates_see_nothing_else() {
    refused("{% include 'x' %}", "");
    refused("{% import '/etc/passwd' as x %}", "");
    refused("{% extends 'x' %}", "");
    refused("{{ ''.__class__.__mro__ }}", "");
    refused(&"{% if 1 %}".repeat(300), "recursion");
    refused(&"(".repeat(100_000).replace('(', "{{("), "");
    refused(&" ".repeat((1 << 20) + 1), "at most 1048576");
}
