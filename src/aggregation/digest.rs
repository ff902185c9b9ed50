//! MD5 of one body, and of many.

use md5::{Digest, Md5};

/// Computes the MD5 of one body.
pub(super) fn digest(body: &[u8]) -> [u8; 16] {
    Md5::digest(body).into()
}

/// Computes the MD5 of each body.
pub(super) fn digest_all(bodies: &[&[u8]]) -> Vec<[u8; 16]> {
    bodies.iter().map(|body| digest(body)).collect()
}
