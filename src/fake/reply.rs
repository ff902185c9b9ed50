use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use serde_json::json;

use crate::fake::date;
use crate::fake::fault::{Delivery, Fault};
use crate::fake::refusal::Refusal;
use crate::fake::script::Scripted;
use crate::model::Timestamp;

/// An answer, and how it is to reach the caller.
pub(super) struct Reply {
    pub response: Response<Bytes>,
    pub delay: Duration,
    pub delivery: Delivery,
}

impl Reply {
    pub fn whole(response: Response<Bytes>) -> Reply {
        Reply {
            response,
            delay: Duration::ZERO,
            delivery: Delivery::Whole,
        }
    }

    /// No answer, to a call that was not carried out.
    pub fn none(scripted: &Scripted) -> Reply {
        Reply {
            response: Response::new(Bytes::new()),
            delay: scripted.delay,
            delivery: scripted
                .fault
                .as_ref()
                .map_or(Delivery::Never, Fault::delivery),
        }
    }
}

/// Puts what came of a call in the service's form, with this time in its Date header.
pub(super) fn to(
    outcome: Result<Vec<u8>, Refusal>,
    time: Timestamp,
    request_id: String,
) -> Response<Bytes> {
    let (status, body) = match outcome {
        Ok(body) => (200, body),
        Err(refusal) => (refusal.status, body_of(&refusal)),
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    insert(headers, DATE.as_str(), &date::of(time));
    insert(headers, "x-amzn-requestid", &request_id);
    response
}

fn body_of(refusal: &Refusal) -> Vec<u8> {
    json!({ "__type": refusal.code, "message": refusal.message })
        .to_string()
        .into_bytes()
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

const JSON: &str = "application/x-amz-json-1.1";
