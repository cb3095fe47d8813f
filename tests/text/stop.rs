use proptest::prelude::*;
use ridgepoint::text::StopMatcher;

/// What is given out for each piece, and at the end.
fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
    let mut matcher = StopMatcher::new(stops.iter().map(|stop| stop.to_string()).collect());
    let mut texts = Vec::new();
    let mut stopped = false;
    for piece in pieces {
        let step = matcher.push(piece);
        texts.push(step.text);
        stopped = step.stopped;
    }
    texts.push(matcher.finish());
    (texts, stopped)
}

#[test]
fn passes_text_through() {
    assert_eq!(run(&[], &["a", "b"]), (vec!["a".into(), "b".into(), String::new()], false));
    assert_eq!(run(&["", "x"], &["ab"]), (vec!["ab".into(), String::new()], false));
}

#[test]
fn holds_back_only_what_could_become_a_stop() {
    let (texts, stopped) = run(&["END"], &["a E", "N", "d E", "EN"]);
    assert_eq!(texts, ["a ", "", "ENd ", "E", "EN"]);
    assert!(!stopped);
    // After "aab" has matched, "aabaa" still ends with "aa".
    assert_eq!(run(&["aabaac"], &["aabaa", "b"]).0, ["", "aab", "aab"]);
}

#[test]
fn matches_across_pieces_and_gives_what_precedes() {
    assert_eq!(run(&["stop"], &["one st", "op two", "three"]).0, ["one ", "", "", ""]);
    assert_eq!(run(&["stop"], &["one stop two"]), (vec!["one ".into(), String::new()], true));
    assert_eq!(run(&["日本"], &["今日", "本日"]).0, ["今", "", ""]);
}

#[test]
fn the_stop_that_ends_first_wins_and_then_the_longest() {
    assert_eq!(run(&["abcd", "bc"], &["xabcd"]).0, ["xa", ""]);
    assert_eq!(run(&["c", "abc"], &["xabc"]).0, ["x", ""]);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn equals_a_search_in_the_whole(
        stops in prop::collection::vec("[ab日]{1,4}", 0..4),
        pieces in prop::collection::vec("[ab日é]{0,4}", 0..8),
    ) {
        let whole = pieces.concat();
        let found = stops.iter().filter_map(|stop| {
            let start = whole.find(stop)?;
            Some((start + stop.len(), start))
        });
        let expected = found.min().map_or(&whole[..], |(_, start)| &whole[..start]);
        let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let (texts, stopped) = run(&stops, &pieces);
        prop_assert_eq!(texts.concat(), expected);
        prop_assert_eq!(stopped, expected.len() < whole.len());
    }
}
