use super::{TOKENIZERS, ids, list, load};
use proptest::prelude::*;
use ridgepoint::request::TokenId;
use ridgepoint::text::{Detokenizer, TextStream, Tokenizer};
use std::sync::LazyLock;

/// All that a decoder gives for `output` after `prompt`, piece by piece.
fn pieces(tokenizer: &Tokenizer, prompt: &[TokenId], output: &[TokenId]) -> Vec<String> {
    let mut detokenizer = Detokenizer::new(tokenizer, prompt).unwrap();
    let mut pieces: Vec<String> =
        output.iter().map(|&token| detokenizer.push(token).unwrap()).collect();
    pieces.push(detokenizer.finish());
    assert_eq!(detokenizer.finish(), "", "a second finish has nothing left");
    pieces
}

/// The output's text is what it adds to the prompt's.
fn check(tokenizer: &Tokenizer, prompt: &[TokenId], output: &[TokenId]) {
    let all = tokenizer.decode(&[prompt, output].concat()).unwrap();
    let before = tokenizer.decode(prompt).unwrap();
    let found = pieces(tokenizer, prompt, output).concat();
    assert_eq!(before + &found, all, "prompt {prompt:?}, output {output:?}");
}

#[test]
fn joins_to_the_whole_text_wherever_the_prompt_ends() {
    for name in TOKENIZERS {
        let (tokenizer, expected) = load(name);
        for case in list(&expected, "encode") {
            for key in ["ids", "ids_plain"] {
                let ids = ids(&case[key]);
                for split in 0..=ids.len() {
                    let (prompt, output) = ids.split_at(split);
                    let all = tokenizer.decode(&ids).unwrap();
                    let before = tokenizer.decode(prompt).unwrap();
                    // A prompt that ends inside a character has a text that does not go on.
                    let whole = before.trim_end_matches('\u{fffd}');
                    let found = pieces(&tokenizer, prompt, output).concat();
                    assert_eq!(whole.to_string() + &found, all, "{name}: {ids:?} at {split}");
                }
            }
        }
        for case in list(&expected, "decode") {
            check(&tokenizer, &[], &ids(&case["ids"]));
        }
    }
}

#[test]
fn never_gives_half_a_character() {
    for name in TOKENIZERS {
        let (tokenizer, expected) = load(name);
        for case in list(&expected, "encode") {
            let found = pieces(&tokenizer, &[], &ids(&case["ids_plain"]));
            assert!(found.iter().all(|piece| !piece.contains('\u{fffd}')), "{name}: {found:?}");
        }
    }
}

#[test]
fn gives_ordinary_text_at_once() {
    let text = "The river rises in the hills and the model reads a prompt.";
    for name in TOKENIZERS {
        let (tokenizer, _) = load(name);
        let output = tokenizer.encode(text, false).unwrap();
        let found = pieces(&tokenizer, &output, &output);
        assert!(found[..output.len()].iter().all(|piece| !piece.is_empty()), "{name}: {found:?}");
    }
}

#[test]
fn the_first_word_keeps_its_space() {
    for name in ["tokenizer_bytefallback", "tokenizer_metaspace"] {
        let (tokenizer, _) = load(name);
        let bos = tokenizer.token_id("<s>").unwrap();
        let word = tokenizer.token_id("▁the").unwrap();
        let space = tokenizer.token_id("▁").unwrap();
        assert_eq!(pieces(&tokenizer, &[], &[word]).concat(), "the");
        assert_eq!(pieces(&tokenizer, &[bos], &[word]).concat(), "the");
        assert_eq!(pieces(&tokenizer, &[bos, word], &[word]).concat(), " the");
        assert_eq!(pieces(&tokenizer, &[word, bos, bos], &[word]).concat(), " the");
        let mut silent = vec![bos; 500];
        silent[0] = word;
        assert_eq!(pieces(&tokenizer, &silent, &[word, word]).concat(), " the the");
        assert_eq!(pieces(&tokenizer, &[space], &[word]).concat(), " the");
    }
}

/// A long run of byte tokens comes in whole characters, and does not wait for its end.
#[test]
fn long_runs_of_bytes_stream() {
    let (tokenizer, _) = load("tokenizer_bytefallback");
    let text = "\u{10348}".repeat(100); // no token of its own: 4 byte tokens each
    let output = tokenizer.encode(&text, false).unwrap();
    let found = pieces(&tokenizer, &output[..1], &output[1..]);
    assert_eq!(found.concat(), text);
    assert!(found.iter().filter(|piece| !piece.is_empty()).count() > 10);
    assert!(found.iter().all(|piece| piece.len() <= 40));
    // Bytes that are no text: one mark each, as the decoder gives for the whole.
    let bad = vec![tokenizer.token_id("<0xFF>").unwrap(); 1000];
    check(&tokenizer, &[], &bad);
}

/// The work for a token must not grow with the output, whatever the tokens are.
#[test]
fn work_stays_bounded() {
    for (name, token) in [("tokenizer", "ð"), ("tokenizer_bytefallback", "<0xF0>")] {
        let (tokenizer, _) = load(name);
        let token = tokenizer.token_id(token).unwrap();
        let mut detokenizer = Detokenizer::new(&tokenizer, &[]).unwrap();
        let started = std::time::Instant::now();
        let mut text = String::new();
        for _ in 0..20_000 {
            text += &detokenizer.push(token).unwrap();
        }
        text += &detokenizer.finish();
        assert_eq!(text, "\u{fffd}".repeat(20_000));
        // Quadratic work would be some minutes.
        assert!(started.elapsed().as_secs() < 20, "{name}: {:?}", started.elapsed());
    }
}

#[test]
fn a_stream_ends_at_a_stop_string() {
    let (tokenizer, _) = load("tokenizer");
    let output = tokenizer.encode("one two three four", false).unwrap();
    let mut stream = TextStream::new(&tokenizer, &[], vec!["wo th".to_string()]).unwrap();
    let mut text = String::new();
    for &token in &output {
        let step = stream.push(token).unwrap();
        text += &step.text;
        if step.stopped {
            break;
        }
    }
    assert_eq!(text + &stream.finish(), "one t");
}

static LOADED: LazyLock<Vec<Tokenizer>> =
    LazyLock::new(|| TOKENIZERS.iter().map(|name| load(name).0).collect());

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Random tokens, most of which are no text. Ids past the vocabulary have none.
    #[test]
    fn joins_to_the_whole_for_random_tokens(
        which in 0usize..3,
        output in prop::collection::vec(
            prop_oneof![0u32..470, 0u32..470, 3u32..259, 60u32..256].prop_map(TokenId), 0..30,
        ),
    ) {
        check(&LOADED[which], &[], &output);
    }

    /// Random texts, cut anywhere.
    #[test]
    fn joins_to_the_whole_for_random_text(
        which in 0usize..3, text in "(\\PC|[a-z ]|[あ-ん]|[🌀-🌟]){0,40}", at in 0.0..1.0,
    ) {
        let tokenizer = &LOADED[which];
        let ids = tokenizer.encode(&text, true).unwrap();
        let (prompt, output) = ids.split_at((at * ids.len() as f64) as usize);
        let before = tokenizer.decode(prompt).unwrap();
        let whole = before.trim_end_matches('\u{fffd}').to_string();
        let found = pieces(tokenizer, prompt, output).concat();
        prop_assert_eq!(whole + &found, tokenizer.decode(&ids).unwrap());
    }
}
