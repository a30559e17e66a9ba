//! Both ports in memory, for tests only: every effect has a point before and after it at which a
//! scheduler may let another lane go on, or let this one crash by dropping its future.

#[allow(dead_code, reason = "not every test has dead letters")]
pub mod cases;
pub mod deliveries;
#[allow(dead_code, reason = "not every test has operators")]
pub mod operations;
pub mod queue;
#[allow(dead_code, reason = "not every test replays")]
pub mod replays;
pub mod store;

use std::future::poll_fn;
use std::task::Poll;

/// As many points.
pub async fn points_pass(points: u32) {
    for _ in 0..points {
        point().await;
    }
}

/// Lets whoever drives the future do something else once.
pub async fn point() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
