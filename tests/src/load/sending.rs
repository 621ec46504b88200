//! Who submits messages, and when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use callbridge::TrySendError;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::Mode;
use super::direction::Direction;

/// Sends until `stop`; what is returned ends when nothing more is sent.
pub(super) fn start(
    mode: Mode,
    directions: &[Arc<Direction>],
    stop: &CancellationToken,
) -> impl Future<Output = Result<(), JoinError>> + use<> {
    let mut tasks = JoinSet::new();
    match mode {
        Mode::Window(window) => {
            for direction in directions {
                direction.room.add_permits(window as usize);
                let (direction, stop) = (Arc::clone(direction), stop.clone());
                tasks.spawn(async move { by_window(&direction, &stop).await });
            }
        }
        Mode::Rate(rate) => {
            let (directions, stop) = (directions.to_vec(), stop.clone());
            // A thread sleeps to within some 50 us; the timers of the runtime, to within 1 or 2 ms.
            let clock = spawn_blocking(move || by_clock(&directions, rate, &stop));
            tasks.spawn(async move {
                // A panic there is one here; there is no other way for it to fail.
                if let Err(Ok(panic)) = clock.await.map_err(JoinError::try_into_panic) {
                    std::panic::resume_unwind(panic);
                }
            });
        }
    }
    async move {
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        Ok(())
    }
}

async fn by_window(direction: &Direction, stop: &CancellationToken) {
    while let Some(Ok(place)) = stop.run_until_cancelled(direction.room.acquire()).await {
        place.forget();
        let message = direction.next(Instant::now());
        if direction.bridge.send(message).await.is_err() {
            return;
        }
    }
}

fn by_clock(directions: &[Arc<Direction>], rate: u32, stop: &CancellationToken) {
    let start = Instant::now();
    for (number, direction) in (0_u32..).zip(directions.iter().cycle()) {
        let due = start + Duration::from_secs(1).mul_f64(f64::from(number) / f64::from(rate));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        loop {
            if stop.is_cancelled() {
                return;
            }
            match direction.bridge.try_send(direction.next(due)) {
                Ok(_) => break,
                Err(TrySendError::Full(_)) => {
                    direction.withdraw();
                    std::thread::sleep(RETRY);
                }
                Err(TrySendError::Stopped | TrySendError::NotAStanza(_)) => return,
            }
        }
    }
}

/// How soon a bridge whose window is full is tried again.
const RETRY: Duration = Duration::from_micros(200);
