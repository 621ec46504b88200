//! Why something was not read or written at the API server, for conditions and for people.

/// Why something was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The API server says no, or was not reached.
    #[error("{verb} {kind} {name}: {}", describe(.error))]
    Kube {
        /// What was to be done.
        verb: &'static str,
        /// Of which kind.
        kind: String,
        /// With which object.
        name: String,
        /// Why not.
        error: Box<kube::Error>,
    },
    /// An object of that name exists, and is somebody else's.
    #[error(
        "{kind} {name} exists and does not belong to this XmppCluster: delete or rename it, or name the XmppCluster otherwise"
    )]
    Taken {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
}

impl ApiError {
    /// The object changed, appeared or went meanwhile: look again.
    #[must_use]
    pub fn is_race(&self) -> bool {
        let Self::Kube { error, .. } = self else {
            return false;
        };
        let kube::Error::Api(status) = &**error else {
            return false;
        };
        status.is_conflict() || status.is_already_exists() || status.is_not_found()
    }

    /// One word for conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Taken { .. } => "NameConflict",
            Self::Kube { error, .. } => match &**error {
                kube::Error::Api(status) => match status.code {
                    403 => "Forbidden",
                    409 => "Conflict",
                    422 => "Invalid",
                    _ => "ApiError",
                },
                _ => "ApiUnreachable",
            },
        }
    }
}

/// An error of this call.
pub(super) fn failed(
    verb: &'static str,
    kind: &str,
    name: &str,
) -> impl FnOnce(kube::Error) -> ApiError {
    let (kind, name) = (kind.to_owned(), name.to_owned());
    move |error| ApiError::Kube {
        verb,
        kind,
        name,
        error: Box::new(error),
    }
}

fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
