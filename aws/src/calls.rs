//! Repeating what may be repeated, within a deadline.

use crate::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The first pause; each further one may be twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// The longest pause: throttled partitions recover within seconds.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How calls are repeated: with full jitter, so that many processes don't come back at once, until a deadline.
#[derive(Clone, Debug)]
pub struct Calls {
    deadline: Duration,
    state: Arc<AtomicU64>,
}

impl Calls {
    pub fn new(deadline: Duration, seed: u64) -> Calls {
        Calls { deadline, state: Arc::new(AtomicU64::new(seed)) }
    }

    /// The same with a later deadline, for calls that move so many bytes that one of them takes long.
    pub fn longer(&self, by: Duration) -> Calls {
        Calls { deadline: self.deadline + by, state: self.state.clone() }
    }

    /// Makes a call until it succeeds, is refused, or the deadline is over. The last failure is given back.
    ///
    /// Only for calls that may take effect twice: an answer that was lost is a call that is made again.
    pub async fn repeat<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let started = Instant::now();
        let mut attempt = 0;
        loop {
            let failure = match call().await {
                Err(failure) if failure.passes() => failure,
                decided => return decided,
            };
            let pause = self.pause(attempt);
            if started.elapsed() + pause >= self.deadline {
                return Err(failure);
            }
            attempt += 1;
            tokio::time::sleep(pause).await;
        }
    }

    /// Makes several calls, of which each may be repeated, within the deadline of one. What is under way then is given up, and
    /// whether it takes effect is not known.
    pub async fn within<T, E: From<Failure>>(&self, calls: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let late = |_| Err(Failure::Unavailable(format!("undecided after {:?}", self.deadline)).into());
        tokio::time::timeout(self.deadline, calls).await.unwrap_or_else(late)
    }

    /// A pause before attempt `attempt + 1`: anything up to a bound that doubles with each.
    pub fn pause(&self, attempt: u32) -> Duration {
        let bound = PAUSE_MAX.min(PAUSE_FIRST * 2u32.saturating_pow(attempt.min(16)));
        bound.mul_f64(self.fraction())
    }

    /// A number from 0 to 1 (splitmix64).
    fn fraction(&self) -> f64 {
        let mut z = self.state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn calls() -> Calls {
        Calls::new(Duration::from_secs(10), 7)
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_repeated_and_what_is_refused_is_not() {
        let made = Cell::new(0);
        let outcome = calls()
            .repeat(async || {
                made.set(made.get() + 1);
                if made.get() < 4 { Err(Failure::Throttled("slow down".into())) } else { Ok(made.get()) }
            })
            .await;
        assert_eq!(outcome, Ok(4));
        let made = Cell::new(0);
        let refused: Result<(), Failure> = calls()
            .repeat(async || {
                made.set(made.get() + 1);
                Err(Failure::Refused("no such table".into()))
            })
            .await;
        assert_eq!((refused, made.get()), (Err(Failure::Refused("no such table".into())), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_ends_the_repeating() {
        let started = Instant::now();
        let made = Cell::new(0);
        let outcome: Result<(), Failure> = calls()
            .repeat(async || {
                made.set(made.get() + 1);
                Err(Failure::Unavailable("silence".into()))
            })
            .await;
        assert_eq!(outcome, Err(Failure::Unavailable("silence".into())));
        assert!(started.elapsed() < Duration::from_secs(10) && made.get() > 5, "{} calls", made.get());
    }

    #[tokio::test(start_paused = true)]
    async fn several_calls_share_one_deadline() {
        let (calls, started) = (calls(), Instant::now());
        let made = Cell::new(0);
        let slow = async || {
            tokio::time::sleep(Duration::from_secs(4)).await;
            made.set(made.get() + 1);
            Ok::<_, Failure>(())
        };
        let outcome = calls
            .within(async {
                for _ in 0..3 {
                    calls.repeat(slow).await?;
                }
                Ok::<_, Failure>(())
            })
            .await;
        assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
        assert_eq!((made.get(), started.elapsed()), (2, Duration::from_secs(10)));
    }

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let calls = calls();
        let pauses: Vec<Duration> = (0..40).map(|attempt| calls.pause(attempt)).collect();
        assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX));
        assert!(pauses[0] <= PAUSE_FIRST && pauses[10..].iter().any(|pause| *pause > PAUSE_MAX / 2));
        assert!(pauses[10..].windows(2).any(|pair| pair[0] != pair[1]));
    }
}
