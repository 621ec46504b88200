//! Start tags, read attribute by attribute, and the pieces of content that was checked before.
//!
//! Used twice: strictly, when bytes from a peer are checked, and again on what passed that check.
//! Knows no namespaces, only names as written.

use std::borrow::Cow;
use std::str;

use memchr::{memchr, memchr3, memmem};

use crate::framer::FrameError;
use crate::ns;
use crate::text::{self, CLASS, PLAIN, is_space, qualified_name, unescape_attribute};

/// A name as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    /// Empty when there is none.
    pub(crate) prefix: &'a str,
    pub(crate) local: &'a str,
}

impl<'a> Name<'a> {
    fn new(whole: &'a str, prefix_len: usize) -> Self {
        match prefix_len {
            0 => Self {
                prefix: "",
                local: whole,
            },
            _ => Self {
                prefix: &whole[..prefix_len],
                local: &whole[prefix_len + 1..],
            },
        }
    }

    /// Bytes as written, with prefix and colon.
    pub(crate) fn len(self) -> usize {
        match self.prefix.len() {
            0 => self.local.len(),
            prefix => prefix + 1 + self.local.len(),
        }
    }

    /// Whether it is this name without a prefix.
    pub(crate) fn is(self, local: &str) -> bool {
        self.prefix.is_empty() && self.local == local
    }
}

/// One attribute or namespace declaration as written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attribute<'a> {
    pub(crate) name: Name<'a>,
    /// The value with its quotes.
    pub(crate) quoted: &'a str,
    /// Where the name begins in the tag.
    pub(crate) start: usize,
    /// Where the closing quote ends in the tag.
    pub(crate) end: usize,
}

impl<'a> Attribute<'a> {
    /// The value as written.
    pub(crate) fn raw(&self) -> &'a str {
        &self.quoted[1..self.quoted.len() - 1]
    }

    /// The value as a reader of XML sees it.
    pub(crate) fn value(&self) -> Cow<'a, str> {
        unescape_attribute(self.raw())
    }
}

/// Reads the attributes of one start tag in order.
#[derive(Debug)]
pub(crate) struct TagReader<'a> {
    tag: &'a str,
    at: usize,
    name: Name<'a>,
}

impl<'a> TagReader<'a> {
    /// `tag` reaches from `<` to the first `>` outside of quotes.
    ///
    /// # Errors
    /// `NotWellFormed` when no name begins the tag or when it has a character that XML cannot
    /// carry.
    pub(crate) fn new(tag: &'a str) -> Result<Self, FrameError> {
        if !tag.is_ascii() {
            text::check_noncharacters(tag.as_bytes())?;
        }
        let (length, prefix) = qualified_name(tag.get(1..).unwrap_or_default())?;
        Ok(Self {
            tag,
            at: 1 + length,
            name: Name::new(&tag[1..=length], prefix),
        })
    }

    /// The name of the element.
    pub(crate) fn name(&self) -> Name<'a> {
        self.name
    }

    /// The next attribute; `None` at the end of the tag.
    ///
    /// # Errors
    /// `NotWellFormed` or `RestrictedXml`, see [`text::reference`].
    pub(crate) fn next_attribute(&mut self) -> Result<Option<Attribute<'a>>, FrameError> {
        let bytes = self.tag.as_bytes();
        let start = skip_space(bytes, self.at);
        match &bytes[start.min(bytes.len())..] {
            b">" | b"/>" => return Ok(None),
            _ if start == self.at => {
                return Err(FrameError::NotWellFormed("space or end of tag expected"));
            }
            _ => {}
        }
        let (length, prefix) = qualified_name(&self.tag[start..])?;
        let name = Name::new(&self.tag[start..start + length], prefix);
        let equals = skip_space(bytes, start + length);
        if bytes.get(equals) != Some(&b'=') {
            return Err(FrameError::NotWellFormed("attribute without a value"));
        }
        let open = skip_space(bytes, equals + 1);
        let end = end_of_value(self.tag, open)?;
        self.at = end;
        Ok(Some(Attribute {
            name,
            quoted: &self.tag[open..end],
            start,
            end,
        }))
    }

    /// The attribute that `wanted` accepts. For tags that were checked: a fault ends the search.
    pub(crate) fn find(mut self, wanted: impl Fn(Name<'a>) -> bool) -> Option<Attribute<'a>> {
        while let Ok(Some(attribute)) = self.next_attribute() {
            if wanted(attribute.name) {
                return Some(attribute);
            }
        }
        None
    }
}

/// Whether the tag closes its element at once.
pub(crate) fn is_empty_tag(tag: &[u8]) -> bool {
    tag.ends_with(b"/>")
}

/// Checks the quoted value that begins at `open` and returns where its closing quote ends.
fn end_of_value(tag: &str, open: usize) -> Result<usize, FrameError> {
    let bytes = tag.as_bytes();
    let quote = match bytes.get(open) {
        Some(quote @ (b'\'' | b'"')) => *quote,
        _ => return Err(FrameError::NotWellFormed("attribute value without quotes")),
    };
    let mut at = open + 1;
    while let Some(&byte) = bytes.get(at) {
        if CLASS[usize::from(byte)] & PLAIN != 0 || byte >= 0x80 {
            at += 1;
        } else if byte == quote {
            return Ok(at + 1);
        } else {
            at += match byte {
                b'&' => text::reference(&tag[at..])?.1,
                b'>' | b'\'' | b'"' => 1,
                byte if is_space(byte) => 1,
                b'<' => return Err(FrameError::NotWellFormed("`<` in an attribute value")),
                _ => return Err(FrameError::NotWellFormed("control character")),
            };
        }
    }
    Err(FrameError::NotWellFormed("attribute value without an end"))
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|byte| is_space(*byte)) {
        at += 1;
    }
    at
}

/// A piece of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A start tag, or an empty element's tag.
    Start(&'a str),
    /// An end tag.
    End,
    /// Character data as written.
    Text(&'a str),
    /// What stands in a CDATA section.
    CData(&'a str),
}

/// Takes content apart that was checked before; stops early at anything that could not have passed.
#[derive(Debug, Clone)]
pub(crate) struct Pieces<'a> {
    rest: &'a str,
}

impl<'a> Pieces<'a> {
    /// `content` begins at the start of a tag or of text.
    pub(crate) fn new(content: &'a str) -> Self {
        Self { rest: content }
    }

    fn cut(&mut self, length: usize) -> &'a str {
        let (piece, rest) = self.rest.split_at(length);
        self.rest = rest;
        piece
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let bytes = self.rest.as_bytes();
        match bytes {
            [] => None,
            [b'<', b'/', ..] => {
                let end = memchr(b'>', bytes)? + 1;
                self.cut(end);
                Some(Piece::End)
            }
            [b'<', b'!', ..] => {
                let end = memmem::find(bytes, b"]]>")? + 3;
                let section = self.cut(end);
                section.get(CDATA.len()..end - 3).map(Piece::CData)
            }
            [b'<', ..] => {
                let end = end_of_tag(bytes)?;
                Some(Piece::Start(self.cut(end)))
            }
            _ => {
                let end = memchr(b'<', bytes).unwrap_or(bytes.len());
                Some(Piece::Text(self.cut(end)))
            }
        }
    }
}

/// The tag at the start of an element that was checked before.
pub(crate) fn first_tag(element: &str) -> &str {
    &element[..end_of_tag(element.as_bytes()).unwrap_or(0)]
}

/// Where the tag at the start of `bytes` ends: after the first `>` outside of quotes.
fn end_of_tag(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr3(b'>', b'\'', b'"', &bytes[at..])? + 1;
        let byte = bytes[at - 1];
        if byte == b'>' {
            return Some(at);
        }
        at += memchr(byte, &bytes[at..])? + 1;
    }
}

/// Namespace of the element with the tag `child` inside an element with the tag `parent`, as far as
/// the two say it; `None` when it comes from further outside. `prefix` is that of the child's name.
pub(crate) fn namespace_of<'a>(
    child: &'a str,
    parent: &'a str,
    prefix: &str,
) -> Option<Cow<'a, str>> {
    if prefix == "xml" {
        return Some(Cow::Borrowed(ns::XML));
    }
    let declares = |name: Name<'_>| match prefix {
        "" => name.is("xmlns"),
        _ => name.prefix == "xmlns" && name.local == prefix,
    };
    let found = [child, parent]
        .into_iter()
        .find_map(|tag| TagReader::new(tag).ok()?.find(declares));
    match found {
        Some(attribute) => Some(attribute.value()),
        None if prefix == "stream" => Some(Cow::Borrowed(ns::STREAMS)),
        None => None,
    }
}

/// Bytes that passed the check as text; empty text for bytes that cannot have passed it.
pub(crate) fn checked(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or_default()
}

/// How a CDATA section begins.
pub(crate) const CDATA: &[u8] = b"<![CDATA[";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tag: &str) -> Result<Vec<(String, String)>, FrameError> {
        let mut reader = TagReader::new(tag)?;
        let mut attributes = Vec::new();
        while let Some(attribute) = reader.next_attribute()? {
            let Name { prefix, local } = attribute.name;
            attributes.push((format!("{prefix}|{local}"), attribute.value().into_owned()));
        }
        Ok(attributes)
    }

    #[test]
    fn attributes_are_read_in_order_with_their_values_unescaped() {
        let attributes = read("<a:b c='1'\n d:e = \"it's &lt;\" />").expect("well-formed");
        assert_eq!(
            attributes,
            [
                ("|c".to_owned(), "1".to_owned()),
                ("d|e".to_owned(), "it's <".to_owned())
            ]
        );
        assert_eq!(read("<a>"), Ok(Vec::new()));
        assert_eq!(read("<a/>"), Ok(Vec::new()));
    }

    #[test]
    fn ill_formed_tags_are_refused() {
        for tag in [
            "<>",
            "</>",
            "< a>",
            "<1>",
            "<a:b:c>",
            "<a<b>",
            "<a b>",
            "<a b=>",
            "<a b=c>",
            "<a b='c'd='e'>",
            "<a b='<'>",
            "<a b='&'>",
            "<a b='\u{1}'>",
            "<a b='\u{ffff}'>",
            "<a / >",
            "<a b='c'/ >",
            "<a /b='c'>",
            "<a ='c'>",
            "<a b 'c'>",
            "<a b='&#1;'>",
            "<a/a>",
        ] {
            assert!(read(tag).is_err(), "{tag}");
        }
    }

    #[test]
    fn content_is_taken_apart_into_its_pieces() {
        let pieces: Vec<_> = Pieces::new("a<b c='>'/><d><![CDATA[<e>]]></d>&amp;").collect();
        assert_eq!(
            pieces,
            [
                Piece::Text("a"),
                Piece::Start("<b c='>'/>"),
                Piece::Start("<d>"),
                Piece::CData("<e>"),
                Piece::End,
                Piece::Text("&amp;"),
            ]
        );
    }
}
