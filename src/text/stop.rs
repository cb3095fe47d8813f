//! Stop strings in streamed text.

/// What a piece of text amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopStep {
    /// Text that is certainly not part of a stop string.
    pub text: String,
    /// Whether a stop string has ended the text.
    pub stopped: bool,
}

/// Finds the stop string that ends first, and holds back only what could become one.
///
/// Each stop string is matched byte by byte after Knuth, Morris and Pratt: the work for a piece of
/// text is proportional to its length, however often a match begins and fails. A match always
/// starts at the start of a character, so text is never cut inside one.
#[derive(Debug, Clone)]
pub struct StopMatcher {
    patterns: Vec<Pattern>,
    /// The end of the text so far: as much as some pattern has matched.
    held: String,
    stopped: bool,
}

impl StopMatcher {
    /// A matcher for `stops`; empty ones are left out.
    pub fn new(stops: Vec<String>) -> StopMatcher {
        let patterns = stops.into_iter().filter(|stop| !stop.is_empty()).map(Pattern::new);
        StopMatcher { patterns: patterns.collect(), held: String::new(), stopped: false }
    }

    /// Takes the next piece of text. Of several stop strings that end at the same place, the
    /// longest counts. After the stop there is no more text.
    pub fn push(&mut self, text: &str) -> StopStep {
        if self.stopped {
            return StopStep { text: String::new(), stopped: true };
        }
        let searched = self.held.len();
        self.held.push_str(text);
        for (index, &byte) in text.as_bytes().iter().enumerate() {
            let complete = self.patterns.iter_mut().filter_map(|p| p.step(byte)).max();
            if let Some(length) = complete {
                let mut text = std::mem::take(&mut self.held);
                text.truncate(searched + index + 1 - length);
                self.stopped = true;
                return StopStep { text, stopped: true };
            }
        }
        let hold = self.patterns.iter().map(|pattern| pattern.matched).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - hold);
        StopStep { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// The text that was held back, once no more comes.
    pub fn finish(&mut self) -> String {
        for pattern in &mut self.patterns {
            pattern.matched = 0;
        }
        std::mem::take(&mut self.held)
    }
}

#[derive(Debug, Clone)]
struct Pattern {
    bytes: Vec<u8>,
    /// For each length of a matched beginning: the longest shorter one that it ends with.
    shorter: Vec<usize>,
    /// The longest beginning of the pattern that the text ends with.
    matched: usize,
}

impl Pattern {
    fn new(stop: String) -> Pattern {
        let bytes = stop.into_bytes();
        let mut shorter = vec![0; bytes.len() + 1];
        let mut length = 0;
        for end in 1..bytes.len() {
            while length > 0 && bytes[length] != bytes[end] {
                length = shorter[length];
            }
            length += usize::from(bytes[length] == bytes[end]);
            shorter[end + 1] = length;
        }
        Pattern { bytes, shorter, matched: 0 }
    }

    /// Takes one byte; the pattern's length if it ends here.
    fn step(&mut self, byte: u8) -> Option<usize> {
        while self.matched > 0 && self.bytes[self.matched] != byte {
            self.matched = self.shorter[self.matched];
        }
        self.matched += usize::from(self.bytes[self.matched] == byte);
        (self.matched == self.bytes.len()).then_some(self.matched)
    }
}
