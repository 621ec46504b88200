//! `xmpp user import`: users from a file, a line each, `name:password`.
//!
//! The whole file is looked at before the first user is added, so a mistake in it adds nobody. Bounds: [`MAX_BYTES`] of file.

use std::collections::HashSet;
use std::io::{IsTerminal as _, Read as _};
use std::path::Path;

use serde::Serialize;
use xmpp_core::jid::Jid;
use xmpp_node_api::admin::{ErrorCode, Request, Secret};
use xmpp_node_client::admin::{AdminClient, ClientError};
use zeroize::Zeroizing;

use super::{Answer, Failure, Output};
use crate::passwords::prepared;

/// The largest file: a hundred thousand users and more.
const MAX_BYTES: u64 = 16 << 20;
/// How many faults are told.
const TOLD: usize = 10;

/// What became of a file of users.
#[derive(Debug, Serialize)]
struct Imported {
    /// Users that were added.
    added: usize,
    /// Users that were there and have the password of the file now.
    replaced: usize,
    /// Names of users that were there and were left as they are.
    kept: Vec<String>,
}

/// Adds every user of a file; those that are there get the password of the file if `replace`, else stay as they are.
pub(super) async fn import(
    client: &AdminClient,
    output: Output,
    file: &Path,
    replace: bool,
) -> Result<Answer, Failure> {
    let users = users(file, &text(file)?)?;
    let mut imported = Imported {
        added: 0,
        replaced: 0,
        kept: Vec::new(),
    };
    let told = std::io::stderr().is_terminal();
    for (at, (name, password)) in users.iter().enumerate() {
        match put(client, name, password, false).await {
            Ok(()) => imported.added += 1,
            Err(ClientError::Refused(error)) if error.code == ErrorCode::UserExists => {
                if replace {
                    put(client, name, password, true).await?;
                    imported.replaced += 1;
                } else {
                    imported.kept.push(name.clone());
                }
            }
            Err(error) => {
                let done = imported.added + imported.replaced;
                eprintln!("{}: stopped at {name}, after {done} users", file.display());
                return Err(error.into());
            }
        }
        if told && (at + 1) % 100 == 0 {
            eprintln!("{} of {} users", at + 1, users.len());
        }
    }
    Answer::of(output, &imported, || {
        let kept = imported.kept.len();
        let mut text = format!(
            "Success: {} added, {} with a new password, {kept} kept as they were\n",
            imported.added, imported.replaced
        );
        if kept > 0 {
            text.push_str("Fix: --replace gives those that are there the passwords of the file\n");
        }
        text
    })
}

async fn put(
    client: &AdminClient,
    name: &str,
    password: &str,
    replace: bool,
) -> Result<(), ClientError> {
    let request = Request::PutUser {
        name: name.to_owned(),
        password: Secret::new(password.to_owned()),
        replace,
    };
    client.call(&request).await.map(drop)
}

fn text(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let fault = |what: String| Failure::Usage(format!("{}: {what}", file.display()));
    let mut text = Zeroizing::new(String::new());
    let read = match file == Path::new("-") {
        true => std::io::stdin()
            .take(MAX_BYTES + 1)
            .read_to_string(&mut text),
        false => std::fs::File::open(file)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text)),
    };
    let size = read.map_err(|error| fault(format!("cannot be read: {error}")))?;
    match size as u64 > MAX_BYTES {
        true => Err(fault(format!("is larger than {MAX_BYTES} bytes"))),
        false => Ok(text),
    }
}

/// Names and passwords of the lines; empty lines and those that begin with `#` say nothing.
fn users(file: &Path, text: &str) -> Result<Vec<(String, Zeroizing<String>)>, Failure> {
    let (mut users, mut faults, mut names) = (Vec::new(), Vec::new(), HashSet::new());
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let fault = match line.split_once(':') {
            None => Some("has no colon between name and password"),
            Some((name, password)) => match Jid::localpart(name) {
                Err(_) => Some("the name has characters that no address may have"),
                Ok(_) if password.is_empty() => Some("the password is empty"),
                Ok(_) if prepared(password).is_none() => {
                    Some("the password has characters that no password may have (RFC 4013)")
                }
                Ok(name) if !names.insert(name.clone().into_owned()) => {
                    Some("the name is there twice")
                }
                Ok(name) => {
                    let password = Zeroizing::new(password.to_owned());
                    users.push((name.into_owned(), password));
                    None
                }
            },
        };
        faults.extend(fault.map(|fault| format!("line {}: {fault}", at + 1)));
    }
    if faults.is_empty() && users.is_empty() {
        faults.push("has no users: a line each, name:password".to_owned());
    }
    if faults.is_empty() {
        return Ok(users);
    }
    let more = faults.len().saturating_sub(TOLD);
    faults.truncate(TOLD);
    if more > 0 {
        faults.push(format!("and {more} lines more"));
    }
    let faults = faults.join("\n  ");
    Err(Failure::Usage(format!(
        "{}: nobody was added\n  {faults}",
        file.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        match users(Path::new("users"), text) {
            Ok(users) => Ok(users
                .into_iter()
                .map(|(name, password)| (name, password.to_string()))
                .collect()),
            Err(Failure::Usage(text)) => Err(text),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_line_is_a_user_and_may_have_colons_in_its_password() {
        let pair = |name: &str, password: &str| (name.to_owned(), password.to_owned());
        let users = read("# ours\n\nRomeo:a:b \njuliet:x\r\n");
        assert_eq!(users, Ok(vec![pair("romeo", "a:b "), pair("juliet", "x")]));
    }

    #[test]
    fn every_faulty_line_is_told_and_no_password() {
        let told =
            read("romeo:x\nju liet:secret1\nnobody\nRomeo:secret2\nmercutio:\na:\u{7}secret3\n");
        let told = told.expect_err("faults");
        for line in 2..=6 {
            assert!(told.contains(&format!("line {line}: ")), "{told}");
        }
        assert!(!told.contains("secret"), "{told}");
        assert!(read("# nobody\n").is_err());
    }
}
