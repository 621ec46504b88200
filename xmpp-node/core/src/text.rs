//! Text inside XML: which characters and names there are, references, escaping (XML 1.0, fifth edition).
//!
//! Knows neither tags nor streams.

use std::borrow::Cow;

/// Appends `text` so that it may stand in character data and in attribute values of either quote.
///
/// Characters that XML cannot carry at all are replaced by U+FFFD.
pub fn escape_into(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            // Written plainly, line ends and tabs in attributes would be read as spaces.
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\t' => out.push_str("&#9;"),
            c if is_char(c) => out.push(c),
            _ => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
}

/// `text` escaped for character data and attribute values; borrowed when there is nothing to escape.
pub fn escape(text: &str) -> Cow<'_, str> {
    let plain =
        |c: char| !matches!(c, '<' | '>' | '&' | '\'' | '"' | '\n' | '\r' | '\t') && is_char(c);
    if text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    escape_into(&mut out, text);
    Cow::Owned(out)
}

/// Whether XML can carry the character (XML 1.0, 2.2).
pub(crate) const fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}
