use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

use crate::error::{Error, ErrorKind, Result};

/// A running thread of this crate.
#[derive(Debug)]
pub(crate) struct Handle {
    name: String,
    thread: JoinHandle<()>,
}

/// Starts a thread under a name of at most 15 characters, which is what Linux shows.
///
/// # Errors
/// The operating system has no thread left.
pub(crate) fn spawn(
    name: String,
    stack_bytes: usize,
    body: impl FnOnce() + Send + 'static,
) -> Result<Handle> {
    let started = Builder::new()
        .name(name.clone())
        .stack_size(stack_bytes)
        .spawn(body);
    match started {
        Ok(thread) => Ok(Handle { name, thread }),
        Err(error) => Err(Error::new(ErrorKind::Thread {
            name,
            message: format!("could not start: {error}"),
        })),
    }
}

impl Handle {
    /// Waits for the thread's end; a panic becomes an error that says where.
    pub fn join(self) -> Result<()> {
        let message = match self.thread.join() {
            Ok(()) => return Ok(()),
            Err(panic) => panic_message(&*panic),
        };
        Err(Error::new(ErrorKind::Thread {
            name: self.name,
            message,
        }))
    }

    #[cfg(feature = "fake")]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Runs a thread's work; a panic becomes an error that says where.
pub(crate) fn caught<T>(name: &str, work: impl FnOnce() -> T) -> Result<T> {
    // What the work used is not looked at again, or changes only when a step of it is done.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let (name, message) = (name.to_owned(), panic_message(&*panic));
        Error::new(ErrorKind::Thread { name, message })
    })
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panicked".to_owned())
}
