//! Work that takes processors, spread over them beside what waits for queue and store: several pieces at a time, and
//! what comes of them in the order in which they came.

use std::collections::VecDeque;
use std::panic::resume_unwind;

use tokio::task::{JoinHandle, spawn_blocking};

/// Has every piece that `next` brings worked on, as many at a time as there are processors, and has what comes of each
/// taken in the order of the pieces. No more of them are held than that. The first error ends it.
pub(crate) async fn spread<P, T, E>(
    mut next: impl AsyncFnMut() -> Result<Option<P>, E>,
    work: impl Fn(P) -> Result<T, E> + Clone + Send + 'static,
    mut take: impl AsyncFnMut(T) -> Result<(), E>,
) -> Result<(), E>
where
    P: Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let most = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut at_work, mut is_read) = (VecDeque::with_capacity(most), false);
    loop {
        while !is_read && at_work.len() < most {
            match next().await? {
                Some(piece) => {
                    let work = work.clone();
                    at_work.push_back(spawn_blocking(move || work(piece)));
                }
                None => is_read = true,
            }
        }
        let Some(oldest) = at_work.pop_front() else { return Ok(()) };
        take(joined(oldest).await?).await?;
    }
}

/// What a thread came to. Its panic goes on here.
async fn joined<T>(thread: JoinHandle<T>) -> T {
    match thread.await {
        Ok(came_to) => came_to,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // Only the end of the runtime cancels it, and that ends whoever waits here too.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    async fn of(
        pieces: u32,
        work: impl Fn(u32) -> Result<u32, String> + Clone + Send + 'static,
    ) -> Result<Vec<u32>, String> {
        let (mut given, mut taken) = (0..pieces, Vec::new());
        let next = async || Ok(given.next());
        spread(next, work, async |it| {
            taken.push(it);
            Ok(())
        })
        .await?;
        Ok(taken)
    }

    #[tokio::test]
    async fn what_comes_of_pieces_is_taken_in_their_order_whichever_is_done_first() {
        let slow_at_times = |piece: u32| {
            std::thread::sleep(Duration::from_millis(u64::from(piece % 3)));
            Ok(piece * 2)
        };
        let doubled: Vec<u32> = (0..50).map(|piece| piece * 2).collect();
        assert_eq!(of(50, slow_at_times).await.unwrap(), doubled);
        assert_eq!(of(0, Ok).await.unwrap(), Vec::<u32>::new());
    }

    #[tokio::test]
    async fn no_more_pieces_are_held_than_there_are_processors() {
        let held = Arc::new(AtomicUsize::new(0));
        let most = std::thread::available_parallelism().unwrap().get();
        let (mut given, seen) = (0..50, Arc::clone(&held));
        let next = async || {
            assert!(held.load(Ordering::SeqCst) < most);
            held.fetch_add(1, Ordering::SeqCst);
            Ok::<_, String>(given.next())
        };
        let take = async |_| {
            seen.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        spread(next, Ok, take).await.unwrap();
    }

    #[tokio::test]
    async fn the_first_error_ends_it() {
        let fails = |piece: u32| if piece == 7 { Err("the seventh".to_owned()) } else { Ok(piece) };
        assert_eq!(of(u32::MAX, fails).await.unwrap_err(), "the seventh");
    }

    #[tokio::test]
    #[should_panic(expected = "at the third")]
    async fn a_panic_is_not_kept_from_whoever_waits() {
        let panics = |piece: u32| {
            assert!(piece != 3, "at the third");
            Ok(piece)
        };
        of(10, panics).await.unwrap();
    }
}
