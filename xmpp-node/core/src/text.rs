//! Text inside XML: characters, names, references, escaping (XML 1.0, fifth edition; Namespaces in
//! XML 1.0).
//!
//! Knows neither tags nor streams. Everything works on `&str`: UTF-8 is checked before.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memmem};

use crate::framer::FrameError;

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

/// `text` escaped as by [`escape_into`]; borrowed when there is nothing to escape.
pub fn escape(text: &str) -> Cow<'_, str> {
    if text
        .bytes()
        .all(|byte| CLASS[usize::from(byte)] & PLAIN != 0)
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    escape_into(&mut out, text);
    Cow::Owned(out)
}

/// The value of an attribute as a reader of XML sees it: references replaced, each line end and
/// each tab a space (XML 1.0, 3.3.3). `raw` is text between quotes that was checked before.
pub(crate) fn unescape_attribute(raw: &str) -> Cow<'_, str> {
    unescape(raw, true)
}

/// Character data as a reader of XML sees it: references replaced, each line end a line feed.
pub(crate) fn unescape_text(raw: &str) -> Cow<'_, str> {
    unescape(raw, false)
}

/// Replaces what begins with one of the few characters that do not stand for themselves.
fn unescape(raw: &str, attribute: bool) -> Cow<'_, str> {
    // Without branches, as in `is_special_in_text`: nearly always there is nothing to replace.
    if !raw
        .bytes()
        .fold(false, |found, byte| found | (byte == b'&') | (byte < b' '))
    {
        return Cow::Borrowed(raw);
    }
    let special =
        |byte: u8| byte == b'&' || byte == b'\r' || attribute && matches!(byte, b'\n' | b'\t');
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.bytes().position(special) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (c, length) = match rest.as_bytes()[0] {
            // Only a text that was never checked has a reference that cannot be read; it stays.
            b'&' => reference(rest).unwrap_or(('&', 1)),
            first => {
                let length = if first == b'\r' && rest[1..].starts_with('\n') {
                    2
                } else {
                    1
                };
                (if attribute { ' ' } else { '\n' }, length)
            }
        };
        out.push(c);
        rest = &rest[length..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Checks character data between two tags (XML 1.0, 2.4).
pub(crate) fn check_text(text: &str) -> Result<(), FrameError> {
    let bytes = text.as_bytes();
    if bytes
        .iter()
        .fold(false, |found, byte| found | is_special_in_text(*byte))
    {
        check_characters(text)?;
        check_references(text)?;
        if memmem::find(bytes, b"]]>").is_some() {
            return Err(FrameError::NotWellFormed("`]]>` in text"));
        }
    }
    Ok(())
}

/// Without branches and tables, so that the compiler can look at many bytes at once.
const fn is_special_in_text(byte: u8) -> bool {
    (byte < 0x20) | (byte == 0xef) | (byte == b'&') | (byte == b']')
}

/// Checks that `text` has only characters that XML can carry (XML 1.0, 2.2).
pub(crate) fn check_characters(text: &str) -> Result<(), FrameError> {
    let bytes = text.as_bytes();
    if bytes
        .iter()
        .any(|byte| CLASS[usize::from(*byte)] & CONTROL != 0)
    {
        return Err(FrameError::NotWellFormed("control character"));
    }
    check_noncharacters(bytes)
}

/// Refuses U+FFFE and U+FFFF, which are the bytes EF BF BE and EF BF BF.
pub(crate) fn check_noncharacters(mut bytes: &[u8]) -> Result<(), FrameError> {
    while let Some(at) = memchr(0xef, bytes) {
        bytes = &bytes[at + 1..];
        if let [0xbf, 0xbe | 0xbf, ..] = bytes {
            return Err(FrameError::NotWellFormed("U+FFFE or U+FFFF"));
        }
    }
    Ok(())
}

/// Checks every `&` of `text`.
fn check_references(text: &str) -> Result<(), FrameError> {
    let mut rest = text;
    while let Some(at) = memchr(b'&', rest.as_bytes()) {
        let (_, length) = reference(&rest[at..])?;
        rest = &rest[at + length..];
    }
    Ok(())
}

/// Reads the reference at the start of `text`, which begins with `&`: its character and its length
/// in bytes (XML 1.0, 4.1).
///
/// # Errors
/// `RestrictedXml` for an entity that is not predefined (RFC 6120, 11.1), else `NotWellFormed`.
pub(crate) fn reference(text: &str) -> Result<(char, usize), FrameError> {
    const MALFORMED: FrameError = FrameError::NotWellFormed("`&` without a reference");
    // The longest predefined name has four letters; leading zeros may make a number longer.
    let end = memchr2(b';', b'<', text.as_bytes()).ok_or(MALFORMED)?;
    let name = text.get(1..end).ok_or(MALFORMED)?;
    if text.as_bytes()[end] != b';' {
        return Err(MALFORMED);
    }
    let c = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "apos" => '\'',
        "quot" => '"',
        _ => match name.strip_prefix('#') {
            Some(number) => numbered(number)?,
            None if qualified_name(name).is_ok_and(|(length, _)| length == name.len()) => {
                return Err(FrameError::RestrictedXml);
            }
            None => return Err(MALFORMED),
        },
    };
    Ok((c, end + 1))
}

/// The character of `&#...;`, decimal or hexadecimal with `x`.
fn numbered(number: &str) -> Result<char, FrameError> {
    let (digits, radix) = match number.strip_prefix('x') {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    // `from_str_radix` would take a sign.
    let value = match digits.starts_with('+') {
        true => None,
        false => u32::from_str_radix(digits, radix).ok(),
    };
    value
        .and_then(char::from_u32)
        .filter(|c| is_char(*c))
        .ok_or(FrameError::NotWellFormed(
            "reference to a character that XML has not",
        ))
}

/// Reads the qualified name at the start of `text`: its length, and the length of its prefix or 0.
///
/// A second colon ends the name, so a caller that expects space or `=` there refuses it.
pub(crate) fn qualified_name(text: &str) -> Result<(usize, usize), FrameError> {
    let bytes = text.as_bytes();
    let (mut at, mut part, mut prefix) = (0, 0, 0);
    while let Some(&byte) = bytes.get(at) {
        let class = CLASS[usize::from(byte)];
        if class & NAME_START != 0 || class & NAME != 0 && at > part {
            at += 1;
        } else if byte == b':' && prefix == 0 && at > 0 {
            prefix = at;
            at += 1;
            part = at;
        } else if let Some(c) = text[at..].chars().next().filter(|c| !c.is_ascii())
            && (is_name_start(c) || is_name(c) && at > part)
        {
            at += c.len_utf8();
        } else {
            break;
        }
    }
    if at == part {
        return Err(FrameError::NotWellFormed("name expected"));
    }
    Ok((at, prefix))
}

/// White space of XML (XML 1.0, 2.3).
pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Whether XML can carry the character (XML 1.0, 2.2).
pub(crate) const fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// `NameStartChar` beyond ASCII (XML 1.0, 2.3), without U+FDF0 to U+FFFD: those compatibility forms
/// are used in no name, and a parser as common as rxml refuses them, so a peer could break the streams
/// of others by a stanza that we pass on.
const fn is_name_start(c: char) -> bool {
    matches!(c,
        '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}' | '\u{370}'..='\u{37d}'
        | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}'
        | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}'
        | '\u{10000}'..='\u{effff}')
}

/// What `NameChar` has beyond ASCII in addition to [`is_name_start`].
const fn is_name(c: char) -> bool {
    matches!(c, '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
}

/// ASCII that begins a name; the colon is treated apart.
pub(crate) const NAME_START: u8 = 1;
/// ASCII that may follow in a name.
pub(crate) const NAME: u8 = 2;
/// Bytes that stand for themselves everywhere: no markup, quote, white space but the space,
/// control.
pub(crate) const PLAIN: u8 = 4;
/// Control characters that XML cannot carry.
pub(crate) const CONTROL: u8 = 8;

/// What each byte may be. Bytes beyond ASCII have no class, as they need the whole character.
pub(crate) const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        let c = byte as u8;
        if c.is_ascii_alphabetic() || c == b'_' {
            table[byte] |= NAME_START;
        }
        if c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.') {
            table[byte] |= NAME;
        }
        if c >= b' ' && !matches!(c, b'<' | b'>' | b'&' | b'\'' | b'"') {
            table[byte] |= PLAIN;
        }
        if c < b' ' && !is_space(c) {
            table[byte] |= CONTROL;
        }
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaping_covers_markup_quotes_and_what_attributes_would_change() {
        assert_eq!(
            escape("a<b>&'\"\n\t\r\u{e9}"),
            "a&lt;b&gt;&amp;&apos;&quot;&#10;&#9;&#13;\u{e9}"
        );
        assert!(matches!(escape("plain text"), Cow::Borrowed("plain text")));
        assert_eq!(escape("\u{1}\u{ffff}"), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn unescaping_reverses_escaping() {
        let text = "a<b>&'\"\n\t\r\u{e9}\u{1f600}";
        assert_eq!(unescape_attribute(&escape(text)), text);
        assert_eq!(unescape_text(&escape(text)), text);
    }

    #[test]
    fn xml_3_3_3_line_ends_and_tabs_in_attributes_are_spaces() {
        assert_eq!(unescape_attribute("a\r\nb\rc\nd\te&#10;f"), "a b c d e\nf");
        assert_eq!(unescape_text("a\r\nb\rc\nd\te"), "a\nb\nc\nd\te");
    }

    #[test]
    fn xml_4_1_references_are_the_five_names_and_numbers_of_characters() {
        assert_eq!(reference("&lt;b"), Ok(('<', 4)));
        assert_eq!(reference("&#x1F600;"), Ok(('\u{1f600}', 9)));
        assert_eq!(reference("&#0065;"), Ok(('A', 7)));
        assert_eq!(reference("&nbsp;"), Err(FrameError::RestrictedXml));
        for text in [
            "&",
            "&;",
            "&lt",
            "& lt;",
            "&#;",
            "&#x;",
            "&#+65;",
            "&#1;",
            "&#xFFFE;",
            "&#xD800;",
            "&#x110000;",
        ] {
            assert!(
                matches!(reference(text), Err(FrameError::NotWellFormed(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn xml_names_3_names_have_at_most_one_colon_between_two_names() {
        assert_eq!(qualified_name("a:b c"), Ok((3, 1)));
        assert_eq!(qualified_name("a-1.2="), Ok((5, 0)));
        assert_eq!(qualified_name("a:b:c"), Ok((3, 1)));
        assert_eq!(qualified_name("\u{e9}\u{b7}>"), Ok((4, 0)));
        for text in ["", ":a", "a:", "1a", "-a", "a:1", "\u{b7}a", "\u{d7}"] {
            assert!(qualified_name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_character_is_accepted_in_names_that_rxml_refuses() {
        for c in '\0'..=char::MAX {
            for name in [String::from(c), format!("a{c}")] {
                if qualified_name(&name).is_ok_and(|(length, _)| length == name.len()) {
                    assert!(rxml::NcName::try_from(name).is_ok(), "{c:?}");
                }
            }
        }
    }

    #[test]
    fn every_character_of_xml_is_accepted_and_no_other() {
        for c in '\0'..=char::MAX {
            let accepted = check_characters(c.encode_utf8(&mut [0; 4])).is_ok();
            assert_eq!(accepted, is_char(c), "{c:?}");
        }
    }
}
