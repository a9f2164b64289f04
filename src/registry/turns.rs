//! A bound for what oci-client reads of an answer.
//!
//! It reads the body of a refused upload whole, however long that is, and lets nobody in between.
//! What can be counted is how often its future has something to do: to connect, to send, to take the
//! head of an answer, and then for about every piece of a body, of which there is never more than a
//! read buffer. A body that has no end runs out of turns before it fills the memory.

use std::pin::pin;
use std::task::Poll;

use futures_util::StreamExt as _;
use futures_util::future::poll_fn;
use futures_util::stream::FuturesUnordered;

/// The most turns of one upload. Its two requests take seven where they connect through a proxy and
/// TLS; the rest is room for slow networks, and for refusals that come in many small pieces.
const MOST: usize = 128;

/// What the future comes to; none when it is still not done after [`MOST`] turns of its own.
pub(super) async fn within_turns<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut turns = 0;
    let counted = poll_fn(|context| {
        turns += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if turns >= MOST => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    // By itself in a set it is woken for nobody else's sake, as the many that share a task are.
    let mut alone = FuturesUnordered::from_iter([counted]);
    alone.next().await.flatten()
}

#[cfg(test)]
mod tests {
    use futures_util::stream::StreamExt as _;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn only_what_the_future_itself_waits_for_is_counted() {
        let (send, mut receive) = mpsc::channel::<()>(1);
        let counted = within_turns(async {
            receive.recv().await;
            "done"
        });
        let noise = async {
            for _ in 0..10 * MOST {
                tokio::task::yield_now().await;
            }
            drop(send);
        };
        // Both are polled whenever one of them is woken.
        assert_eq!(tokio::join!(counted, noise).0, Some("done"));
    }

    #[tokio::test]
    async fn what_never_ends_runs_out_of_turns() {
        let endless = futures_util::stream::repeat(()).for_each(|()| tokio::task::yield_now());
        assert_eq!(within_turns(endless).await, None);
    }
}
