//! Locks that a panic does not close.
//!
//! Code of the user's runs on our threads: decoders, generators, callbacks, loggers. A panic of it is
//! caught at the thread's loop, and what lies behind a lock is whole between two statements; so the
//! other threads go on, where a poisoned lock would end them one by one.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Locks, also after a panic of another holder.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for reading, also after a panic of another holder.
pub(crate) fn read<T: ?Sized>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for writing, also after a panic of another holder.
pub(crate) fn write<T: ?Sized>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_panic_of_one_holder_does_not_reach_the_next() {
        let (mutex, rw) = (Mutex::new(1), RwLock::new(1));
        let panics = |holds: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(holds)).is_err());
        panics(&|| {
            *lock(&mutex) += 1;
            let _guard = lock(&mutex);
            panic!("while it is held");
        });
        panics(&|| {
            *write(&rw) += 1;
            let _guard = write(&rw);
            panic!("while it is held");
        });
        assert_eq!((*lock(&mutex), *read(&rw)), (2, 2));
        *write(&rw) += 1;
        assert_eq!(*read(&rw), 3);
    }
}
