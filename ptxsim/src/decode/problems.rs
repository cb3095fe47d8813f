//! Collects what cannot be decoded: each kind once, with its first place.

use crate::error::{Error, Problem};
use crate::syntax::tree::Place;
use std::collections::HashMap;

/// How long a message gets; names in hostile text may be as long as the text.
const LONGEST: usize = 400;

pub(super) struct Problems {
    /// Paths by `.file` number.
    files: HashMap<u32, String>,
    list: Vec<(Problem, u32)>,
    by_message: HashMap<String, usize>,
}

impl Problems {
    pub fn new(files: &[(u32, String)]) -> Problems {
        let files = files.iter().cloned().collect();
        Problems { files, list: Vec::new(), by_message: HashMap::new() }
    }

    /// Notes a problem.
    pub fn add(&mut self, place: Place, mut message: String) {
        if let Some((end, _)) = message.char_indices().nth(LONGEST) {
            message.truncate(end);
            message.push_str("...");
        }
        if let Some(&index) = self.by_message.get(&message) {
            self.list[index].1 += 1;
            return;
        }
        self.by_message.insert(message.clone(), self.list.len());
        let (file, line) = place.own;
        let path = self.files.get(&file).filter(|_| line > 0);
        let source = path.map(|path| format!("{path}:{line}"));
        self.list.push((Problem { ptx_line: place.ptx_line, source, message }, 0));
    }

    /// Whether there were none; else the error that tells of them all.
    pub fn finish(self, module: &str) -> Result<(), Error> {
        if self.list.is_empty() {
            return Ok(());
        }
        let told = |(mut problem, others): (Problem, u32)| {
            if others > 0 {
                let places = if others == 1 { "place" } else { "places" };
                problem.message.push_str(&format!("; the same in {others} more {places}"));
            }
            problem
        };
        let problems = self.list.into_iter().map(told).collect();
        Err(Error::Unsupported { module: module.to_owned(), problems })
    }
}
