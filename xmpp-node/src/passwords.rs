//! Passwords as they are hashed: prepared as clients prepare them (RFC 5802, 2.2; RFC 4013).

use std::borrow::Cow;

/// A password prepared; `None` if it has characters that no password may have, or nothing else.
#[must_use]
pub(crate) fn prepared(text: &str) -> Option<Cow<'_, str>> {
    // What is ASCII without controls is prepared already.
    let plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    if text.bytes().all(plain) {
        return Some(Cow::Borrowed(text));
    }
    let prepared = stringprep::saslprep(text).ok()?;
    (!prepared.is_empty()).then_some(prepared)
}

#[cfg(test)]
mod tests {
    use super::prepared;

    #[test]
    fn rfc_4013_passwords_are_prepared_as_clients_prepare_them() {
        assert_eq!(prepared("pass word!").as_deref(), Some("pass word!"));
        assert_eq!(prepared("I\u{ad}X").as_deref(), Some("IX"));
        assert_eq!(prepared("\u{2168}").as_deref(), Some("IX"));
        for bad in ["\u{7}", "\u{627}1", "\u{ad}"] {
            assert_eq!(prepared(bad), None, "{bad:?}");
        }
    }
}
