//! Whether an object is as it was applied: a cluster at rest must cause no writes, and a change by somebody else must be undone.

use ring::digest::{SHA256, digest};
use serde_json::Value;

/// Hash of plain data, 32 hexadecimal digits.
#[must_use]
pub fn hash(wanted: &Value) -> String {
    let digest = digest(&SHA256, wanted.to_string().as_bytes());
    digest.as_ref()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Whether `found` was applied with this very content, and nobody changed any of it since.
pub(super) fn is_applied(wanted: &Value, found: &Value, annotation: &str, hash: &str) -> bool {
    found["metadata"]["annotations"][annotation] == hash && covers(wanted, found)
}

/// Whether everything in `wanted` is in `found`; what others or defaults added does not matter.
fn covers(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => wanted
            .iter()
            .all(|(key, wanted)| covers(wanted, found.get(key).unwrap_or(&Value::Null))),
        (Value::Array(wanted), Value::Array(found)) => {
            wanted.len() == found.len() && wanted.iter().zip(found).all(|(a, b)| covers(a, b))
        }
        (Value::String(wanted), Value::String(found)) => {
            wanted == found
                || quantity(wanted).is_some_and(|wanted| quantity(found) == Some(wanted))
        }
        _ => wanted == found,
    }
}

/// A Kubernetes quantity in thousandths: the API server writes `1.5Gi` as `1536Mi`.
pub fn quantity(text: &str) -> Option<i128> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: i128 = match &text[digits.len()..] {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        _ => return None,
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if part.len() > 9 || whole.len() > 15 {
        return None;
    }
    let scale = 10_i128.pow(u32::try_from(part.len()).ok()?);
    let number = whole.parse::<i128>().ok()? * scale
        + if part.is_empty() {
            0
        } else {
            part.parse().ok()?
        };
    Some(number * factor / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_of_the_server_are_no_difference_and_changes_are() {
        let wanted = json!({ "a": { "size": "1.5Gi", "list": [{ "n": 1 }] } });
        let found = json!({ "a": { "size": "1536Mi", "list": [{ "n": 1, "d": 0 }], "more": 1 }, "status": {} });
        assert!(covers(&wanted, &found));
        for pointer in ["/a/size", "/a/list/0/n", "/a/list"] {
            let mut other = found.clone();
            *other.pointer_mut(pointer).expect("it is there") = json!("2Gi");
            assert!(!covers(&wanted, &other), "{pointer}");
        }
    }

    #[test]
    fn what_was_taken_out_shows_in_the_hash() {
        let (old, new) = (
            json!({ "metadata": {}, "x": { "a": 1, "b": 2 } }),
            json!({ "metadata": {}, "x": { "a": 1 } }),
        );
        let mut found = old.clone();
        found["metadata"]["annotations"]["h"] = hash(&old).into();
        assert!(is_applied(&old, &found, "h", &hash(&old)));
        assert!(!is_applied(&new, &found, "h", &hash(&new)));
    }

    #[test]
    fn quantities_are_numbers() {
        assert_eq!(quantity("500m"), quantity("0.5"));
        assert_eq!(quantity("1Gi"), quantity("1024Mi"));
        assert_ne!(quantity("1Gi"), quantity("1G"));
        assert_eq!(quantity("xmpp"), None);
        assert_eq!(quantity("1.5.5"), None);
    }
}
