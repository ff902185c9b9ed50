//! Text of requests that are written by hand.

use crate::client::wire::scanner::is_plain;
use crate::client::wire::stream_field;
use crate::sys::buffers::Writing;

pub(super) fn push_stream(body: &mut Writing, stream: &str) {
    body.push(format!("\"{}\":", stream_field(stream)).as_bytes());
    push_json_string(body, stream);
}

pub(super) fn push_json_string(body: &mut Writing, text: &str) {
    if is_plain(text.as_bytes()) {
        body.push_by(text.len() + 2, |room| {
            (room[0], room[text.len() + 1]) = (b'"', b'"');
            room[1..=text.len()].copy_from_slice(text.as_bytes());
        });
    } else {
        body.push(serde_json::Value::from(text).to_string().as_bytes());
    }
}
