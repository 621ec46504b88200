//! The digest by which a component proves that it knows its secret (XEP-0114, 3).
//!
//! Knows neither streams nor where secrets come from. SHA-1 is what the standard fixes; the stream
//! runs inside TLS.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA1_OUTPUT_LEN};
use subtle::ConstantTimeEq;

/// The handshake a component sends: lower-case hexadecimal SHA-1 of the stream id followed by the
/// secret.
///
/// `stream_id` is the `id` of the response header with XML escapes decoded (XEP-0114, 3).
pub fn digest(stream_id: &str, secret: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * SHA1_OUTPUT_LEN);
    for byte in sha1(stream_id, secret) {
        hex.push(char::from(HEX[usize::from(byte >> 4)]));
        hex.push(char::from(HEX[usize::from(byte & 0xf)]));
    }
    hex
}

/// Whether `presented` is the digest of `secret`, in either case of letters.
///
/// Takes the same time for every `presented` of the right length, so it tells nothing about the
/// secret.
pub fn verify(stream_id: &str, secret: &[u8], presented: &str) -> bool {
    let expected = digest(stream_id, secret);
    let presented = presented
        .trim_matches([' ', '\t', '\n', '\r'])
        .to_ascii_lowercase();
    expected.as_bytes().ct_eq(presented.as_bytes()).into()
}

fn sha1(stream_id: &str, secret: &[u8]) -> [u8; SHA1_OUTPUT_LEN] {
    let mut context = ring::digest::Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(stream_id.as_bytes());
    context.update(secret);
    let mut out = [0; SHA1_OUTPUT_LEN];
    out.copy_from_slice(context.finish().as_ref());
    out
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    /// The stream id and secret are from the examples of XEP-0114; the sum was made with `sha1sum`.
    #[test]
    fn xep_0114_3_digest_is_lower_case_hex_of_id_and_secret() {
        assert_eq!(
            digest("3BF96D32", b"test"),
            "aaee83c26aeeafcbabeabfcbcd50df997e0a2a1e"
        );
    }

    #[test]
    fn xep_0114_3_upper_case_digest_is_accepted() {
        let upper = digest("3BF96D32", b"test").to_uppercase();
        assert!(verify("3BF96D32", b"test", &upper));
    }

    #[test]
    fn whitespace_around_the_digest_is_ignored() {
        assert!(verify("a", b"b", &format!("\n {} ", digest("a", b"b"))));
    }

    #[test]
    fn wrong_secret_id_or_length_is_refused() {
        let right = digest("id", b"secret");
        assert!(verify("id", b"secret", &right));
        assert!(!verify("id", b"Secret", &right));
        assert!(!verify("di", b"secret", &right));
        assert!(!verify("id", b"secret", &right[..39]));
        assert!(!verify("id", b"secret", ""));
    }
}
