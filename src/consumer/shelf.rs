use crate::sys::lock::lock;
use std::sync::Mutex;

use crossbeam::channel::{self, Receiver, Sender};

/// Rings once for any number of pulls until somebody has heard it.
#[derive(Clone, Debug)]
pub(super) struct Bell(Sender<()>);

impl Bell {
    pub fn new() -> (Bell, Receiver<()>) {
        let (sender, receiver) = channel::bounded(1);
        (Bell(sender), receiver)
    }

    pub fn ring(&self) {
        // Full means that it rings already, and disconnected that nobody is there to hear it.
        let _ = self.0.try_send(());
    }
}

/// A hand-over that never blocks who lays down. Holds one item a shard at most, so it needs no limit.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    items: Mutex<Vec<T>>,
    bell: Bell,
}

impl<T> Shelf<T> {
    /// Makes a shelf that rings when something is laid on it.
    pub fn new(bell: Bell) -> Shelf<T> {
        Shelf {
            items: Mutex::new(Vec::new()),
            bell,
        }
    }

    pub fn put(&self, items: impl IntoIterator<Item = T>) {
        lock(&self.items).extend(items);
        self.bell.ring();
    }

    /// Lays an item down in place of those that it makes needless.
    pub fn put_instead(&self, item: T, is_needless: impl Fn(&T) -> bool) {
        let mut items = lock(&self.items);
        items.retain(|old| !is_needless(old));
        items.push(item);
        drop(items);
        self.bell.ring();
    }

    pub fn ring(&self) {
        self.bell.ring();
    }

    /// What rings when something is laid on it.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut lock(&self.items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_laid_down_instead_of_others_comes_last_and_rings() {
        let (bell, heard) = Bell::new();
        let shelf = Shelf::new(bell);
        shelf.put([1, 20, 3]);
        heard.try_recv().expect("it rang");
        shelf.put_instead(4, |old| *old < 10);
        heard.try_recv().expect("it rang again");
        assert_eq!(shelf.take(), [20, 4]);
        assert!(shelf.take().is_empty());
    }
}
