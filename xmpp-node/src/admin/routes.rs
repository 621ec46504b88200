//! From HTTP to [`Control`] and back.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::de::IgnoredAny;
use tokio::time::timeout;
use xmpp_node_api::admin::{AdminError, ErrorCode, Request, Response};

use super::Control;
use super::http::{BODY_TIMEOUT, Caller, MAX_BODY_BYTES, REQUEST_TIMEOUT};
use crate::tls::Role;

/// The admin API's paths over one control.
pub(super) fn router(control: Arc<dyn Control>) -> Router {
    Router::new()
        .route("/v1/status", get(read_status).post(request_status))
        .route("/v1/{name}", post(request))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(control)
}

async fn read_status(
    State(control): State<Arc<dyn Control>>,
    Extension(caller): Extension<Caller>,
) -> HttpResponse {
    answer(fulfil(&*control, &caller, Request::Status {}).await)
}

async fn request_status(
    state: State<Arc<dyn Control>>,
    caller: Extension<Caller>,
    body: Body,
) -> HttpResponse {
    request(state, caller, Path("status".to_owned()), body).await
}

async fn request(
    State(control): State<Arc<dyn Control>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Body,
) -> HttpResponse {
    match read(&name, body).await {
        Ok(request) => answer(fulfil(&*control, &caller, request).await),
        Err(error) => answer(Err(error)),
    }
}

async fn unknown() -> HttpResponse {
    let error = AdminError::new(
        ErrorCode::UnknownRequest,
        "no such path, or not by this method",
    );
    answer(Err(error.with_fix(
        "POST /v1/<request> with a JSON object, or GET /v1/status",
    )))
}

async fn fulfil(
    control: &dyn Control,
    caller: &Caller,
    request: Request,
) -> Result<Response, AdminError> {
    let (name, only_reads) = (request.name(), request.only_reads());
    let outcome = if only_reads || may_change(caller) {
        let outcome = timeout(REQUEST_TIMEOUT, control.call(request)).await;
        outcome.unwrap_or_else(|_| {
            let message = format!("{name} was not done within {} s", REQUEST_TIMEOUT.as_secs());
            Err(AdminError::new(ErrorCode::Timeout, message)
                .with_fix("look at the status before asking again: it may still be done"))
        })
    } else {
        let message = format!("{caller} may not ask for {name}");
        Err(AdminError::new(ErrorCode::Forbidden, message)
            .with_fix("use a certificate of the role admin or operator"))
    };
    match &outcome {
        Ok(_) if only_reads => {}
        Ok(_) => tracing::info!(request = name, %caller, "admin request done"),
        Err(error) => {
            tracing::info!(request = name, %caller, code = ?error.code, %error, "admin request refused");
        }
    }
    outcome
}

/// A node's own certificate is for the peer port: whoever takes it from a node must not rule the cluster by it.
fn may_change(caller: &Caller) -> bool {
    !matches!(caller, Caller::Peer(peer) if peer.role == Role::Node)
}

/// Reads a request of that name from a body: a JSON object, or nothing for one without fields.
async fn read(name: &str, body: Body) -> Result<Request, AdminError> {
    let invalid = |message: String| AdminError::new(ErrorCode::Invalid, message);
    if !Request::NAMES.contains(&name) {
        let error = AdminError::new(
            ErrorCode::UnknownRequest,
            format!("no request is named {name:?}"),
        );
        return Err(error.with_fix(format!("one of: {}", Request::NAMES.join(", "))));
    }
    let body = timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY_BYTES))
        .await
        .map_err(|_| {
            AdminError::new(
                ErrorCode::Timeout,
                "the body of the request did not come in time",
            )
        })?
        .map_err(|_| {
            invalid(format!(
                "the body cannot be read, or is larger than {MAX_BODY_BYTES} bytes"
            ))
        })?;
    parse(name, &body)
}

/// The request of a known name with this body.
///
/// # Errors
/// [`ErrorCode::Invalid`], naming the field that is at fault.
pub fn parse(name: &str, body: &[u8]) -> Result<Request, AdminError> {
    let invalid = |message: String| AdminError::new(ErrorCode::Invalid, message);
    let fields = match body.trim_ascii() {
        b"" => b"{}",
        text => text,
    };
    let not_json = |error: String| invalid(format!("the body is not JSON: {error}"));
    let fields = str::from_utf8(fields).map_err(|error| not_json(error.to_string()))?;
    let _: IgnoredAny =
        serde_json::from_str(fields).map_err(|error| not_json(error.to_string()))?;
    if !fields.starts_with('{') {
        return Err(invalid(format!(
            "the body must be an object: the fields of {name}"
        )));
    }
    // Read at once, not by way of a map, which would take the last of two equal keys.
    let tagged = format!("{{\"{name}\":{fields}}}");
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(&tagged)).map_err(
        |error| {
            let path = error.path().to_string();
            let field = path.strip_prefix(name).unwrap_or(&path);
            invalid(field_fault(
                field.trim_start_matches('.'),
                &error.inner().to_string(),
            ))
        },
    )
}

/// What is wrong with a field, its name first. `path` leads to it, or to the object that should have it.
fn field_fault(path: &str, error: &str) -> String {
    let error = error.split(" at line ").next().unwrap_or(error);
    let in_object = |field: &str, what: &str| match path {
        "" => format!("{field}: {what}"),
        path if path.rsplit('.').next() == Some(field) => format!("{path}: {what}"),
        path => format!("{path}.{field}: {what}"),
    };
    let named = |rest: &'_ str| rest.split('`').next().unwrap_or_default().to_owned();
    if let Some(rest) = error.strip_prefix("missing field `") {
        return in_object(&named(rest), "is missing");
    }
    if let Some(rest) = error.strip_prefix("duplicate field `") {
        return in_object(&named(rest), "is there twice");
    }
    if let Some(rest) = error.strip_prefix("unknown field `") {
        let expected = rest.split_once("`, ").map_or("", |(_, expected)| expected);
        return in_object(&named(rest), &format!("unknown field, {expected}"));
    }
    match path {
        "" => error.to_owned(),
        path => format!("{path}: {error}"),
    }
}

fn answer(outcome: Result<Response, AdminError>) -> HttpResponse {
    // Answers may hold secrets.
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    match outcome {
        Ok(response) => (no_store, Json(response)).into_response(),
        Err(error) => {
            let status = StatusCode::from_u16(error.code.http_status());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, no_store, Json(error)).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::field_fault;

    #[test]
    fn a_fault_names_the_whole_way_to_its_field_first() {
        for (path, error, fault) in [
            ("", "missing field `on`", "on: is missing"),
            ("on", "duplicate field `on`", "on: is there twice"),
            ("member", "missing field `ber`", "member.ber: is missing"),
            ("member.id", "missing field `id`", "member.id: is missing"),
            (
                "ids[1]",
                "invalid type: integer `1` at line 1 column 9",
                "ids[1]: invalid type: integer `1`",
            ),
        ] {
            assert_eq!(field_fault(path, error), fault);
        }
    }
}
