use super::list;
use crate::common::fixture;
use ridgepoint::text::{ChatTemplate, Message, RenderOptions};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

/// 2024-07-06 09:05:03, a Saturday: what the fixtures' `strftime_now` tells.
const NOW: u64 = 1_720_256_703;

/// A template without special tokens.
fn compile(source: &str) -> ChatTemplate {
    ChatTemplate::compile(source, Path::new("chat_template.jinja"), &Map::new()).unwrap()
}

fn render(source: &str, messages: Value) -> String {
    let messages: Vec<Message> = serde_json::from_value(messages).unwrap();
    let options = RenderOptions { now_unix_s: Some(NOW), ..RenderOptions::default() };
    compile(source).render_with(&messages, &options).unwrap()
}

#[test]
fn renders_as_transformers() {
    let dir = fixture("chat");
    let expected = fs::read_to_string(dir.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    let mut faults = Vec::new();
    for case in list(&expected, "cases") {
        let path = dir.join(format!("{}.jinja", case["template"].as_str().unwrap()));
        let source = fs::read_to_string(&path).unwrap();
        let template = ChatTemplate::compile(&source, &path, &Map::new()).unwrap();
        let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
        let options = RenderOptions {
            add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap(),
            tools: case["tools"].clone(),
            variables: case["variables"].as_object().unwrap().clone(),
            now_unix_s: Some(NOW),
        };
        let name = format!("{}, {}", path.display(), case["name"]);
        match (template.render_with(&messages, &options), case["expected"].as_str()) {
            (Ok(found), Some(expected)) if found == expected => {}
            (Err(error), None) => {
                let message = error.to_string();
                assert!(message.contains(case["error"].as_str().unwrap()), "{name}: {message}");
                assert!(message.starts_with(&path.display().to_string()), "{name}: {message}");
            }
            (found, expected) => faults.push(format!("{name}: {found:?}\nnot {expected:?}")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn finds_the_template_where_transformers_does() {
    let dir = tempfile::tempdir().unwrap();
    assert!(ChatTemplate::load(dir.path()).unwrap().is_none());
    let config = dir.path().join("tokenizer_config.json");
    let messages = [Message::new("user", "hi")];
    let rendered = || ChatTemplate::load(dir.path()).unwrap().unwrap().render(&messages, false);
    fs::write(&config, "{}").unwrap();
    assert!(ChatTemplate::load(dir.path()).unwrap().is_none());
    let write = |value: Value| fs::write(&config, value.to_string()).unwrap();
    write(json!({"chat_template": "{{ bos_token }}1", "bos_token": {"content": "<s>"}}));
    assert_eq!(rendered().unwrap(), "<s>1");
    write(json!({"chat_template": "{{ bos_token }}1", "bos_token": null}));
    assert_eq!(rendered().unwrap(), "1");
    let named = json!([{"name": "rag", "template": "2"}, {"name": "default", "template": "3"}]);
    write(json!({"chat_template": named, "eos_token": "</s>"}));
    assert_eq!(rendered().unwrap(), "3");
    fs::write(dir.path().join("chat_template.jinja"), "{{ eos_token }}4").unwrap();
    assert_eq!(rendered().unwrap(), "</s>4", "the file wins, the tokens stay");
    for name in super::TOKENIZERS {
        assert!(ChatTemplate::load(&fixture(name)).unwrap().is_some(), "{name}");
    }
}

#[test]
fn names_the_file_and_the_fault() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("tokenizer_config.json");
    let refused = |text: &str, parts: &[&str]| {
        fs::write(&config, text).unwrap();
        let message = ChatTemplate::load(dir.path()).unwrap_err().to_string();
        for part in parts.iter().chain(&["tokenizer_config.json"]) {
            assert!(message.contains(part), "{message:?} does not say {part:?}");
        }
    };
    refused("{", &["expected a JSON object"]);
    refused("[1]", &["expected a JSON object"]);
    refused(r#"{"chat_template": 1}"#, &["chat_template", "expected a string"]);
    let no_default = r#"{"chat_template": [{"name": "rag", "template": ""}]}"#;
    refused(no_default, &["a list of [rag]", "\"default\""]);
    refused(r#"{"chat_template": "a\n{% if %}"}"#, &["line 2"]);
    refused(r#"{"chat_template": "{{ a"}"#, &["chat template"]);
}

#[test]
fn messages_keep_what_they_have() {
    let message = json!({"role": "user", "content": [{"type": "text", "text": "a"}], "name": "b"});
    let parsed: Message = serde_json::from_value(message.clone()).unwrap();
    assert_eq!(serde_json::to_value(&parsed).unwrap(), message);
    let template = "{{ messages[0].content is defined }} {{ messages[0].content is none }}";
    assert_eq!(render(template, json!([{"role": "a", "content": null}])), "True True");
    assert_eq!(render(template, json!([{"role": "a"}])), "False False");
    assert!(serde_json::from_value::<Message>(json!({"content": "no role"})).is_err());
}

#[test]
fn tojson_is_pythons() {
    let value = json!([{"role": "a", "content": {
        "text": "<a href='x'>\"é\"\\\n\u{1}&\u{7f}日", "list": [1, -2, 0.5, 1e16, 1e-5, 1e22, 100.0],
        "empty": [[], {}], "flags": [true, false, null], "big": 18446744073709551615u64,
    }}]);
    assert_eq!(
        render("{{ messages[0].content | tojson }}", value.clone()),
        "{\"text\": \"<a href='x'>\\\"é\\\"\\\\\\n\\u0001&\u{7f}日\", \
         \"list\": [1, -2, 0.5, 1e+16, 1e-05, 1e+22, 100.0], \
         \"empty\": [[], {}], \"flags\": [true, false, null], \"big\": 18446744073709551615}"
    );
    assert_eq!(
        render("{{ messages[0].content.empty | tojson(indent=2) }}", value.clone()),
        "[\n  [],\n  {}\n]"
    );
    assert_eq!(
        render("{{ {'b': 'é😀', 'a': 1} | tojson(ensure_ascii=true, sort_keys=true) }}", json!([])),
        "{\"a\": 1, \"b\": \"\\u00e9\\ud83d\\ude00\"}"
    );
    assert_eq!(
        render("{{ {1: [2, 3], none: true} | tojson(separators=(',', ':')) }}", json!([])),
        "{\"1\":[2,3],\"null\":true}"
    );
}

#[test]
fn tells_the_date() {
    let all = "%Y %y %m %B %b %d %e %j %A %a %H %I %M %S %p %F %T %Z %z %% %-d %-m %Q %";
    assert_eq!(
        render(&format!("{{{{ strftime_now('{all}') }}}}"), json!([])),
        "2024 24 07 July Jul 06  6 188 Saturday Sat 09 09 05 03 AM 2024-07-06 09:05:03 UTC \
         +0000 % 6 7 %Q %"
    );
    let template = compile("{{ strftime_now('%Y-%m-%d %a %j %I%p') }}");
    for (now, expected) in [
        (0, "1970-01-01 Thu 001 12AM"),
        (951_782_400, "2000-02-29 Tue 060 12AM"),
        (978_307_199, "2000-12-31 Sun 366 11PM"),
        (4_107_542_400, "2100-03-01 Mon 060 12AM"),
        (13_574_563_200, "2400-02-29 Tue 060 12AM"),
    ] {
        let options = RenderOptions { now_unix_s: Some(now), ..RenderOptions::default() };
        assert_eq!(template.render_with(&[], &options).unwrap(), expected);
    }
}

#[test]
fn generation_blocks_have_no_effect() {
    for (source, expected) in [
        ("a{% generation %}b{% endgeneration %}c", "abc"),
        ("a {%- generation -%} b {%- endgeneration +%} c", "ab c"),
        ("{% generation %}\nb\n{% endgeneration %}\nc", "b\nc"),
        ("{%generation%}{% set x = 1 %}{%endgeneration%}{{ x }}", ""),
        ("{{ generation }}{% if generation %}{% endif %}x", "x"),
    ] {
        assert_eq!(render(source, json!([])), expected, "{source:?}");
    }
}
