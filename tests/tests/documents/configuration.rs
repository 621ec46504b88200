//! `docs/configuration.md` is generated from the types in `xmpp-node-api`: the words from their documentation, which
//! must name the very defaults and bounds that the code has. `XMPP_WRITE_DOCUMENTS=1` writes it.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use xmpp_node_api::config::{Bounds, Config, bounds};

use crate::{blocks, read, root};

const FILE: &str = "docs/configuration.md";

/// Section, type and source file, in the order of `Config`.
const SECTIONS: [(&str, &str, &str); 10] = [
    ("node", "Node", "config.rs"),
    ("xmpp", "Xmpp", "config.rs"),
    ("component", "Component", "config.rs"),
    ("clients", "Clients", "config.rs"),
    ("peer", "Peer", "config.rs"),
    ("admin", "Admin", "config.rs"),
    ("metrics", "Metrics", "config.rs"),
    ("cluster", "Cluster", "config.rs"),
    ("limits", "Limits", "config/limits.rs"),
    ("timing", "Timing", "config/timing.rs"),
];

#[test]
fn the_generated_page_of_the_configuration_is_up_to_date() -> Result<()> {
    let page = page()?;
    if std::env::var_os("XMPP_WRITE_DOCUMENTS").is_some() {
        std::fs::write(root().join(FILE), &page)?;
    }
    let found = read(FILE).unwrap_or_default();
    ensure!(found == page, "{FILE} is out of date: `make fix` writes it");
    Ok(())
}

#[test]
fn the_words_about_limits_and_timing_name_the_defaults_and_bounds_that_the_code_has() -> Result<()>
{
    for bound in bounds() {
        let field = find(&bound.key)?;
        check(&bound, &field)
            .with_context(|| format!("documentation of {}: {}", bound.key, field.words))?;
    }
    Ok(())
}

fn check(bound: &Bounds, field: &Field) -> Result<()> {
    ensure!(
        plain(&field.default) == bound.default,
        "default is {}",
        bound.default
    );
    let (least, most) = field
        .bounds
        .split_once(" to ")
        .context("bounds: least to most")?;
    let least = least.split(" (").next().unwrap_or_default();
    ensure!(plain(least) == bound.least, "least is {}", bound.least);
    // A rule between two keys may stand instead of a number that is only its outermost case.
    let most = most.split([',', '(']).next().unwrap_or_default().trim();
    ensure!(
        most.starts_with('`') || plain(most) == bound.most,
        "most is {}",
        bound.most
    );
    Ok(())
}

#[test]
fn the_configuration_in_the_readme_is_complete() -> Result<()> {
    let config: Config = toml::from_str(&blocks(&read("README.md")?, "toml").concat())?;
    ensure!(config.faults().is_empty(), "{:?}", config.faults());
    Ok(())
}

#[test]
fn the_page_has_every_key_and_no_other() -> Result<()> {
    let text = blocks(&read(FILE)?, "toml").concat();
    let config: Config = toml::from_str(&text).context("the example")?;
    ensure!(
        config.faults().is_empty(),
        "the example: {:?}",
        config.faults()
    );
    let mut full = config;
    full.component.plain_listen = Some("127.0.0.1:5275".parse()?);
    full.component.chain = Some("chain.pem".into());
    full.component.client_ca = Some("ca.pem".into());
    full.clients = Some(xmpp_node_api::config::Clients {
        client_ca: Some("ca.pem".into()),
        ..Default::default()
    });
    full.admin.socket = Some("admin.sock".into());
    full.cluster.id = Some("c".to_owned());
    full.cluster.seeds = vec!["xmpp2:7222".parse()?];
    full.cluster.sealing_key = Some("key".into());
    let value = toml::Table::try_from(&full)?;
    let mut keys = Vec::new();
    for (section, entries) in &value {
        let entries = entries.as_table().context("only sections")?;
        keys.extend(entries.keys().map(|key| format!("{section}.{key}")));
    }
    let mut documented = Vec::new();
    for (section, _, _) in SECTIONS {
        let fields = fields(section)?;
        documented.extend(
            fields
                .into_iter()
                .map(|field| format!("{section}.{}", field.key)),
        );
    }
    keys.sort_unstable();
    documented.sort_unstable();
    ensure!(keys == documented, "{keys:?}\n{documented:?}");
    Ok(())
}

/// The whole page.
fn page() -> Result<String> {
    let source = read("xmpp-node/api/src/config.rs")?;
    let header = source.lines().map_while(|line| line.strip_prefix("//!"));
    let header: String = header.map(|line| format!("{}\n", line.trim())).collect();
    let example = blocks(&header, "toml").concat();
    let mut page = format!(
        "<!-- Generated from xmpp-node/api/src/config by `make fix`. -->\n# Configuration of a node\n\n\
         `xmpp-node --config FILE` reads one TOML file; `--check` only checks it and everything it names. Unknown keys, values\n\
         out of bounds and certificates that do not fit are refused at start, each with file, key and reason. The smallest file:\n\n\
         ```toml\n{example}```\n\n\
         Relative paths are relative to the directory of the file. Durations are strings such as `\"150ms\"`, `\"30s\"`, `\"10m\"`; sizes\n\
         are bytes. No key holds a secret: keys are named by their files, and the secrets of bridges are in the replicated state.\n\
         The limits and timing of all nodes of a cluster should be the same: a node goes by its own, and `detach_timeout` is the leader's.\n\
         Three limits are different: `session_queue_stanzas`, `session_queue_bytes` and `state_bytes` are part of the replicated state\n\
         from `initialize` on. To change them in the file has no effect then; a node that has other ones says so when it starts.\n"
    );
    for (section, _, _) in SECTIONS {
        write!(
            page,
            "\n## `[{section}]`\n\n| Key | Default | Bounds | Is |\n|---|---|---|---|\n"
        )?;
        for field in fields(section)? {
            let default = match field.default.as_str() {
                "" => "must be given",
                default => default,
            };
            let (key, bounds, words) = (&field.key, &field.bounds, &field.words);
            writeln!(page, "| `{key}` | {default} | {bounds} | {words} |")?;
        }
    }
    Ok(page)
}

/// One key, as its documentation has it.
struct Field {
    key: String,
    default: String,
    bounds: String,
    words: String,
}

impl Field {
    /// Takes a sentence `Default A; B.` or `Default A: B.` or `No default.` out of the documentation.
    fn new(key: &str, text: &str) -> Self {
        let (mut default, mut bounds, mut words) = (String::new(), String::new(), Vec::new());
        for sentence in sentences(text) {
            let Some(rest) = sentence.strip_prefix("Default ") else {
                if sentence != "No default." {
                    words.push(sentence);
                }
                continue;
            };
            let rest = rest.trim_end_matches('.');
            let end = rest.find("; ").or_else(|| rest.find(": "));
            let (value, after) = end.map_or((rest, ""), |end| (&rest[..end], &rest[end + 2..]));
            default = value.to_owned();
            match rest[value.len()..].starts_with(':') {
                true => words.push(
                    format!("Without it {after}.").replace("Without it it", "Without it the node"),
                ),
                false => bounds = after.to_owned(),
            }
        }
        let words = words.join(" ");
        Self {
            key: key.to_owned(),
            default,
            bounds,
            words,
        }
    }
}

fn find(key: &str) -> Result<Field> {
    let (section, name) = key.split_once('.').context("a section and a key")?;
    let mut all = fields(section)?.into_iter();
    all.find(|field| field.key == name)
        .with_context(|| format!("{key} is not documented"))
}

/// The public fields of a section's type, with their documentation.
fn fields(section: &str) -> Result<Vec<Field>> {
    let known = SECTIONS.iter().find(|(name, _, _)| *name == section);
    let (_, kind, file) = known.context("an unknown section")?;
    let source = read(&format!("xmpp-node/api/src/{file}"))?;
    let lines = source.lines().map(str::trim);
    let body = lines.skip_while(|line| *line != format!("pub struct {kind} {{"));
    let (mut fields, mut text) = (Vec::new(), Vec::new());
    for line in body.take_while(|line| *line != "}") {
        if let Some(words) = line.strip_prefix("///") {
            text.push(words.trim());
        } else if let Some((key, _)) = line
            .strip_prefix("pub ")
            .and_then(|line| line.split_once(": "))
        {
            fields.push(Field::new(key, &text.join(" ")));
            text.clear();
        }
    }
    ensure!(!fields.is_empty(), "{kind} is not in {file}");
    Ok(fields)
}

/// Ends where a full stop is followed by a blank and a capital letter or a sign.
fn sentences(text: &str) -> Vec<String> {
    let mut sentences = vec![String::new()];
    for piece in text.split_inclusive(". ") {
        let starts = piece.starts_with(|c: char| !c.is_lowercase());
        if starts && sentences.last().is_some_and(|last| last.ends_with(". ")) {
            sentences.push(String::new());
        }
        if let Some(last) = sentences.last_mut() {
            last.push_str(piece);
        }
    }
    sentences
        .into_iter()
        .map(|sentence| sentence.trim().to_owned())
        .collect()
}

/// `262 144` as the code writes it.
fn plain(text: &str) -> String {
    text.chars().filter(|c| *c != ' ').collect()
}
