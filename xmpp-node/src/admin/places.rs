//! Places for the connections of one listener, so that those who only hold connections keep nobody out.
//!
//! A connection *rests* while no request of it is under way: from its beginning, TLS handshake included, to the end of its
//! first header, and between two requests. When every place is taken, the connection that has rested longest gives its own
//! up; when none rests, the newcomer waits, and with it, in the kernel's bounded backlog, all that come after it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// The places. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    resting: Arc<Mutex<Resting>>,
}

/// In the order in which they began to rest.
#[derive(Debug, Default)]
struct Resting {
    next: u64,
    connections: BTreeMap<u64, CancellationToken>,
}

impl Places {
    pub(super) fn new(places: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(places)),
            resting: Arc::default(),
        }
    }

    /// A place for a connection, which rests. Cancel-safe.
    pub(super) async fn take(&self) -> Place {
        let free = Arc::clone(&self.free);
        let permit = match Arc::clone(&free).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => {
                let longest = self.resting().connections.pop_first();
                longest.inspect(|(_, displaced)| displaced.cancel());
                free.acquire_owned().await.ok()
            }
        };
        let place = Place {
            resting: Arc::clone(&self.resting),
            number: Mutex::new(0),
            displaced: CancellationToken::new(),
            _permit: permit,
        };
        place.rests();
        place
    }

    fn resting(&self) -> MutexGuard<'_, Resting> {
        lock(&self.resting)
    }
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    resting: Arc<Mutex<Resting>>,
    /// Of the rest, while there is one.
    number: Mutex<u64>,
    displaced: CancellationToken,
    /// The semaphore is never closed, so that there is one.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// A request came in whole: the place is kept until it is answered.
    pub(super) fn works(&self) {
        lock(&self.resting).connections.remove(&lock(&self.number));
    }

    /// The request is answered.
    pub(super) fn rests(&self) {
        let mut resting = lock(&self.resting);
        resting.next += 1;
        let number = resting.next;
        resting.connections.insert(number, self.displaced.clone());
        *lock(&self.number) = number;
    }

    /// Waits until the place is needed for somebody else: the connection must end. Cancel-safe.
    pub(super) async fn displaced(&self) {
        self.displaced.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.works();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn take(places: &Places) -> Option<Place> {
        places.take().now_or_never()
    }

    fn is_displaced(place: &Place) -> bool {
        place.displaced().now_or_never().is_some()
    }

    #[test]
    fn the_one_that_rested_longest_gives_its_place_up() {
        let places = Places::new(3);
        let [one, two, three] = [(); 3].map(|()| take(&places).expect("there is room"));
        one.works();
        two.works();
        two.rests();
        // One works and two rested last.
        let mut next = std::pin::pin!(places.take());
        assert!(next.as_mut().now_or_never().is_none());
        assert_eq!([&one, &two, &three].map(is_displaced), [false, false, true]);
        drop(three);
        let four = next.now_or_never().expect("there is room");
        assert!(!is_displaced(&four));
    }

    #[test]
    fn whoever_works_keeps_its_place_and_the_next_waits() {
        let places = Places::new(1);
        let one = take(&places).expect("there is room");
        one.works();
        assert!(take(&places).is_none());
        assert!(!is_displaced(&one));
        one.rests();
        assert!(take(&places).is_none());
        assert!(is_displaced(&one));
        drop(one);
        assert!(take(&places).is_some());
        assert!(lock(&places.resting).connections.is_empty());
    }
}
