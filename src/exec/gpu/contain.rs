//! Contains panics from wgpu and its drivers. wgpu panics where it cannot return an error: when a device is lost while
//! it is waited for, and when memory runs out while a device is opened. A driver that aborts the process or reads
//! beyond its memory cannot be contained.

use crate::text;
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static CONTAINED: Cell<u32> = const { Cell::new(0) };
}

/// Whether a panic on this thread will become an error, so that a panic hook should print nothing.
pub fn is_contained() -> bool {
    CONTAINED.get() > 0
}

/// Calls `call` and returns the message of a panic as text.
pub(super) fn contain<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    struct Depth;
    impl Drop for Depth {
        fn drop(&mut self) {
            CONTAINED.set(CONTAINED.get() - 1);
        }
    }
    CONTAINED.set(CONTAINED.get() + 1);
    let depth = Depth;
    // State that a panic left inconsistent belongs to a device that is given up.
    let result = catch_unwind(AssertUnwindSafe(call));
    drop(depth);
    result.map_err(|panic| text_of(&*panic))
}

/// Awaits `future` and returns the message of a panic as text.
pub(super) async fn contain_future<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(move |context| match contain(|| future.as_mut().poll(context)) {
        Ok(poll) => poll.map(Ok),
        Err(text) => std::task::Poll::Ready(Err(text)),
    })
    .await
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text::first_lines(text.unwrap_or("a panic without a message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_comes_back_as_text_and_the_thread_is_as_before() {
        assert_eq!(contain(|| 7), Ok(7));
        assert_eq!(contain(|| -> u32 { panic!("planted {}", 1) }), Err("planted 1".to_string()));
        assert!(!is_contained());
        assert_eq!(contain(|| (contain(|| ()).is_ok(), is_contained())), Ok((true, true)));
        let ended = pollster::block_on(contain_future(async { panic!("planted later") }));
        assert_eq!(ended, Err::<(), _>("planted later".to_string()));
    }
}
