//! Normalisation of the three parts of an address (RFC 7622, 3.2 to 3.4), with a fast path for
//! ASCII.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use precis_profiles::precis_core::profile::PrecisFastInvocation;
use precis_profiles::{OpaqueString, UsernameCaseMapped};

use super::{JidError, MAX_PART_BYTES, Part};

/// Localpart: profile UsernameCaseMapped (RFC 8265, 3.3), and none of `"&'/:<>@`.
pub(super) fn local(text: &str) -> Result<Cow<'_, str>, JidError> {
    check_length(Part::Local, text)?;
    let enforced = if text.is_ascii() {
        // In ASCII the IdentifierClass is exactly the visible characters.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(JidError::Disallowed(Part::Local));
        }
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        }
    } else {
        settled(Part::Local, text, |text| {
            UsernameCaseMapped::enforce(text).ok()
        })?
    };
    if enforced.bytes().any(|byte| NOT_IN_LOCAL.contains(&byte)) {
        return Err(JidError::Disallowed(Part::Local));
    }
    checked(Part::Local, enforced)
}

/// Resourcepart: profile OpaqueString (RFC 8265, 4.2).
pub(super) fn resource(text: &str) -> Result<Cow<'_, str>, JidError> {
    check_length(Part::Resource, text)?;
    if text.is_ascii() {
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(JidError::Disallowed(Part::Resource));
        }
        return checked(Part::Resource, Cow::Borrowed(text));
    }
    let enforced = settled(Part::Resource, text, |text| {
        OpaqueString::enforce(text).ok()
    })?;
    checked(Part::Resource, enforced)
}

/// The result of a profile, if the profile leaves it as it is (RFC 8264, 7): the lower case of a letter may be one that is
/// not allowed, and an address must mean the same to whoever normalises it next.
fn settled<'a>(
    part: Part,
    text: &'a str,
    enforce: impl for<'b> Fn(&'b str) -> Option<Cow<'b, str>>,
) -> Result<Cow<'a, str>, JidError> {
    let once = enforce(text).ok_or(JidError::Disallowed(part))?;
    match enforce(&once) {
        Some(twice) if twice == once => Ok(once),
        Some(_) | None => Err(JidError::Disallowed(part)),
    }
}

/// Domainpart: an IPv6 address in brackets, an IPv4 address, or a name in U-labels without its
/// trailing dot.
pub(super) fn domain(text: &str) -> Result<Cow<'_, str>, JidError> {
    check_length(Part::Domain, text)?;
    if let Some(address) = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return match address.parse::<Ipv6Addr>() {
            Ok(address) => Ok(Cow::Owned(format!("[{address}]"))),
            Err(_) => Err(JidError::Disallowed(Part::Domain)),
        };
    }
    if is_plain_name(text.as_bytes()) {
        return checked(Part::Domain, Cow::Borrowed(text));
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    let name = if text.is_ascii() && !has_ace_label(text) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        unicode_name(text)?
    };
    check_labels(&name)?;
    checked(Part::Domain, name)
}

/// Whether the name is normalised as it stands: what nearly every name is, found out in one pass.
fn is_plain_name(name: &[u8]) -> bool {
    let mut label = 0;
    for (at, &byte) in name.iter().enumerate() {
        let inside = at > label;
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' => {}
            // Two in a row may belong to Punycode.
            b'-' if inside && name[at - 1] != b'-' => {}
            b'.' if inside && at - label <= MAX_LABEL_BYTES && name[at - 1] != b'-' => {
                label = at + 1
            }
            _ => return false,
        }
    }
    name.len() > label && name.len() - label <= MAX_LABEL_BYTES && !name.ends_with(b"-")
}

/// IDNA for names with anything but plain ASCII labels. The rules are those of UTS 46,
/// non-transitional.
fn unicode_name(text: &str) -> Result<Cow<'_, str>, JidError> {
    let uts46 = Uts46::new();
    let ascii = uts46
        .to_ascii(
            text.as_bytes(),
            AsciiDenyList::EMPTY,
            Hyphens::CheckFirstLast,
            DnsLength::Ignore,
        )
        .map_err(|_| JidError::Disallowed(Part::Domain))?;
    check_labels(ascii.strip_suffix('.').unwrap_or(&ascii))?;
    let (name, result) = uts46.to_unicode(
        text.as_bytes(),
        AsciiDenyList::EMPTY,
        Hyphens::CheckFirstLast,
    );
    result.map_err(|_| JidError::Disallowed(Part::Domain))?;
    // A trailing ideographic full stop has become a dot only now.
    Ok(match name.strip_suffix('.') {
        Some(name) => Cow::Owned(name.to_owned()),
        None => name,
    })
}

/// Each label has 1 to 63 bytes if it is ASCII; of ASCII only letters, digits, `-` inside and `_`
/// are allowed.
fn check_labels(name: &str) -> Result<(), JidError> {
    if name.parse::<Ipv4Addr>().is_ok() {
        return Ok(());
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err(JidError::Empty(Part::Domain));
        }
        if label.is_ascii() && label.len() > MAX_LABEL_BYTES {
            return Err(JidError::TooLong(Part::Domain));
        }
        let allowed = |byte: u8| {
            !byte.is_ascii() || byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
        };
        if !label.bytes().all(allowed) || label.starts_with('-') || label.ends_with('-') {
            return Err(JidError::Disallowed(Part::Domain));
        }
    }
    Ok(())
}

/// Whether a label may be Punycode, which must be turned into Unicode so that both forms are one
/// address.
fn has_ace_label(name: &str) -> bool {
    name.split('.').any(|label| {
        label
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("xn--"))
    })
}

/// Before any work: not empty, and not longer than what could still shrink to the limit.
fn check_length(part: Part, text: &str) -> Result<(), JidError> {
    match text.len() {
        0 => Err(JidError::Empty(part)),
        1..=MAX_RAW_BYTES => Ok(()),
        _ => Err(JidError::TooLong(part)),
    }
}

fn checked(part: Part, text: Cow<'_, str>) -> Result<Cow<'_, str>, JidError> {
    match text.len() {
        0 => Err(JidError::Empty(part)),
        1..=MAX_PART_BYTES => Ok(text),
        _ => Err(JidError::TooLong(part)),
    }
}

/// Normalisation never shrinks a text below a quarter.
const MAX_RAW_BYTES: usize = 4 * MAX_PART_BYTES;

/// RFC 1034, 3.1.
const MAX_LABEL_BYTES: usize = 63;

/// Excluded from localparts in addition to what PRECIS excludes (RFC 7622, 3.3.1).
const NOT_IN_LOCAL: &[u8] = b"\"&'/:<>@";
