//! The documents say what is so: their commands run, their lists are whole, what is generated is up to date.

mod commands;
mod configuration;
mod node;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// Every document whose commands are run.
const DOCUMENTS: [&str; 7] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "docs/configuration.md",
    "docs/callbridge.md",
    "docs/clients.md",
    "docs/admin-api.md",
];

/// The root of the tree.
fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The text of a file of the tree.
fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).with_context(|| path.to_owned())
}

/// The fenced blocks of a document whose first line is "```" and exactly these words.
fn blocks(document: &str, words: &str) -> Vec<String> {
    let all = fenced(document).into_iter();
    all.filter_map(|(found, block)| (found == words).then_some(block))
        .collect()
}

/// All fenced blocks of a document, each with the words of its first line.
fn fenced(document: &str) -> Vec<(&str, String)> {
    let (mut found, mut open) = (Vec::new(), None::<(&str, String)>);
    for line in document.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some((_, block)), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, Some(words)) => open = Some((words, String::new())),
            (None, None) => (),
        }
    }
    found
}
