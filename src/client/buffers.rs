//! Where large requests are written: the same memory again and again.

use bytes::Bytes;
use crossbeam::channel::{self, Receiver, Sender};

/// What is kept of those that are out of use; every sender has one while it sends.
const IDLE_MAX: usize = 4;

/// A larger one takes so long to sign and to send that making it does not count.
const IDLE_BYTES_MAX: usize = 1 << 20;

/// A smaller one is made faster than kept.
const KEPT_BYTES_MIN: usize = 4 << 10;

/// Buffers that await their next request. Bounded: [`IDLE_MAX`] of [`IDLE_BYTES_MAX`].
pub(super) struct Buffers {
    idle: Receiver<Vec<u8>>,
    returned: Sender<Vec<u8>>,
}

impl Buffers {
    /// An empty one, of whatever capacity.
    pub fn take(&self) -> Vec<u8> {
        self.idle.try_recv().unwrap_or_default()
    }

    /// Keeps a request's memory, if nobody else holds it.
    pub fn give_back(&self, request: Bytes) {
        if request.len() < KEPT_BYTES_MIN {
            return;
        }
        if let Ok(mut buffer) = request.try_into_mut() {
            // Nothing is left to be moved when it becomes a vector again.
            buffer.clear();
            self.keep(buffer.into());
        }
    }

    fn keep(&self, buffer: Vec<u8>) {
        if buffer.capacity() <= IDLE_BYTES_MAX {
            // One too many is simply freed.
            let _ = self.returned.try_send(buffer);
        }
    }
}

impl Default for Buffers {
    fn default() -> Buffers {
        let (returned, idle) = channel::bounded(IDLE_MAX);
        Buffers { idle, returned }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(bytes: usize) -> Bytes {
        let mut buffer = Vec::with_capacity(bytes);
        buffer.resize(KEPT_BYTES_MIN, b'r');
        buffer.into()
    }

    #[test]
    fn the_memory_of_a_request_is_the_next_ones() {
        let buffers = Buffers::default();
        let sent = request(5_000);
        let at = sent.as_ptr();
        drop(sent.clone());
        buffers.give_back(sent);
        let next = buffers.take();
        assert_eq!((next.as_ptr(), next.len(), next.capacity()), (at, 0, 5_000));
        assert_eq!(buffers.take().capacity(), 0);
    }

    #[test]
    fn what_a_transport_still_holds_is_left_to_it() {
        let buffers = Buffers::default();
        let sent = request(5_000);
        let held = sent.clone();
        buffers.give_back(sent);
        assert_eq!((buffers.idle.len(), held.len()), (0, KEPT_BYTES_MIN));
    }

    #[test]
    fn few_are_kept_and_none_that_is_small_or_large() {
        let buffers = Buffers::default();
        buffers.give_back(Bytes::from(vec![0; KEPT_BYTES_MIN - 1]));
        buffers.give_back(request(IDLE_BYTES_MAX + 1));
        assert_eq!(buffers.idle.len(), 0);
        (0..10).for_each(|_| buffers.give_back(request(IDLE_BYTES_MAX)));
        assert_eq!(buffers.idle.len(), IDLE_MAX);
    }
}
