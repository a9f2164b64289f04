//! The only retry layer: which steps are repeated, after what wait, and for how long.
//!
//! A step is anything that can be repeated from its start: a request including its complete
//! response, or a blob with its POST and PUT. Steps are not nested, so nothing is repeated by two
//! of them.

mod downtime;

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use reqwest::{Response, StatusCode};

use super::{Network, RateLimiter, retry_after};
use crate::diagnostics::render::one_line;
use crate::oci::reference::Endpoint;
pub(crate) use downtime::RetryState;
use downtime::{HostDowntime, MAX_WAIT};

/// The first wait, unless the timeout is short.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The maximum retry time for optional steps.
const SHORT_TIMEOUT: Duration = Duration::from_secs(15);

/// Whether a retry of a failed step helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryKind {
    /// It would fail in the same way.
    Never,
    /// A new token is needed. Retried twice, regardless of the timeout.
    Reauthenticate,
    /// It may have been an accident. Retried twice.
    Limited,
    /// The host is down. Retried like a temporary failure if it answered before, and otherwise only
    /// for a short time.
    HostDown,
    /// The host has never answered. Retried only for a short time.
    NeverReached,
    /// A temporary failure, with the time of `Retry-After`.
    Transient(Option<Duration>),
    /// The same, but it applies to all requests.
    RateLimited(Option<Duration>),
}

/// The error of a step.
pub(crate) trait Retryable: std::error::Error {
    /// Whether a retry of the step helps.
    fn retry(&self) -> RetryKind;

    /// Adds the number and the duration of the tries.
    fn tried(self, _times: u32, _during: Duration) -> Self
    where
        Self: Sized,
    {
        self
    }
}

/// How failed steps are repeated, and the rate limiter for all requests to the registry.
#[derive(Clone, Debug)]
pub(crate) struct RetryPolicy {
    timeout: Duration,
    /// True if the host has answered before.
    is_reached: bool,
    downtime: HostDowntime,
    pub(crate) rate_limiter: RateLimiter,
}

impl RetryPolicy {
    /// The policy for a registry, which may never have answered.
    pub(crate) fn new(network: &Network, host: &Endpoint) -> Self {
        Self {
            rate_limiter: network.rate_limiters.of(host),
            ..Self::within(network.retry_timeout)
        }
    }

    /// The policy for a service without a rate limiter.
    pub(crate) fn within(timeout: Duration) -> Self {
        Self {
            timeout,
            is_reached: false,
            downtime: HostDowntime::default(),
            rate_limiter: RateLimiter::default(),
        }
    }

    /// The policy once the host has answered.
    pub(crate) fn after_contact(self) -> Self {
        Self {
            is_reached: true,
            ..self
        }
    }

    /// The policy for a step that may succeed without a request to the host, so that its success
    /// says nothing about the host.
    pub(crate) fn without_downtime(&self) -> Self {
        Self {
            downtime: HostDowntime::default(),
            ..self.clone()
        }
    }

    /// The policy for a step that is not retried.
    pub(crate) fn at_once(&self) -> Self {
        Self {
            timeout: Duration::ZERO,
            ..self.clone()
        }
    }

    /// The policy for an optional step.
    pub(crate) fn short(&self) -> Self {
        Self {
            timeout: self.timeout.min(SHORT_TIMEOUT),
            ..self.clone()
        }
    }

    /// Runs a step until it succeeds, fails finally, or the timeout expires. If the server requests
    /// a wait that is longer than the remaining time, the step fails at once.
    pub(crate) async fn run<T, E: Retryable, F: Future<Output = Result<T, E>>>(
        &self,
        mut step: impl FnMut() -> F,
    ) -> Result<T, E> {
        let mut state = self.retry_state();
        loop {
            let error = match step().await {
                Ok(done) => {
                    self.downtime.reset();
                    return Ok(done);
                }
                Err(error) => error,
            };
            let Some(wait) = state.after(error.retry()) else {
                return Err(state.give_up(error));
            };
            if let RetryKind::RateLimited(_) = error.retry() {
                self.slow_down(wait);
            }
            let text = one_line(&error);
            let wait_text = seconds(wait);
            let is_routine = error.retry() == RetryKind::Reauthenticate;
            if !is_routine && self.downtime.is_new_message(&text, error.retry()) {
                tracing::info!("{text}; trying again in {wait_text}")
            } else {
                tracing::debug!("{text}; trying again in {wait_text}")
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// The state of a step that has not failed yet.
    pub(crate) fn retry_state(&self) -> RetryState {
        let downtime = self.downtime.clone();
        RetryState::new(self.timeout, self.is_reached, downtime, self.waits())
    }

    /// Exponential waits with jitter, so that steps that failed together are not retried together.
    fn waits(&self) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(self.first_wait())
            .with_max_delay(MAX_WAIT)
            .with_factor(2.0)
            .without_max_times()
            .with_jitter()
            .build()
    }

    /// Slows down all requests after a 429, and lets the rate recover after any other response.
    pub(crate) fn observe(&self, response: &Response) {
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            let asked = retry_after(response.headers()).unwrap_or_else(|| self.first_wait());
            // A wait beyond the timeout would never be waited for.
            self.slow_down(if asked > self.timeout {
                Duration::ZERO
            } else {
                asked
            });
        } else {
            self.rate_limiter.recover();
        }
    }

    fn slow_down(&self, wait: Duration) {
        if self.rate_limiter.pause(wait) {
            tracing::info!(
                "the registry limits the rate of requests; waiting {}",
                seconds(wait)
            );
        }
    }

    /// The first wait is short enough for several tries within the timeout.
    fn first_wait(&self) -> Duration {
        FIRST_WAIT.min(self.timeout / 60)
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::downtime::FIRST_CONTACT;
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed")]
    struct Failed(RetryKind, u32);

    impl Retryable for Failed {
        fn retry(&self) -> RetryKind {
            self.0
        }

        fn tried(self, times: u32, _: Duration) -> Self {
            Self(self.0, times)
        }
    }

    fn retries(timeout: u64) -> RetryPolicy {
        RetryPolicy::within(Duration::from_secs(timeout))
    }

    /// How often a step that always fails is tried, and for how long.
    async fn fail(timeout: u64, retry: RetryKind) -> (u32, Duration) {
        let start = Instant::now();
        let failed: Result<(), _> = retries(timeout)
            .run(|| std::future::ready(Err(Failed(retry, 0))))
            .await;
        (failed.unwrap_err().1, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn final_failure_is_immediate_and_limited_one_has_3_tries() {
        assert_eq!(fail(300, RetryKind::Never).await, (1, Duration::ZERO));
        assert_eq!(
            fail(300, RetryKind::Reauthenticate).await,
            (3, Duration::ZERO)
        );
        let (tries, during) = fail(300, RetryKind::Limited).await;
        assert_eq!(tries, 3);
        assert!(during < Duration::from_secs(10), "{during:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn transient_failure_is_retried_until_the_timeout() {
        for timeout in [2, 60, 300, 3600] {
            let (tries, during) = fail(timeout, RetryKind::Transient(None)).await;
            assert!(tries > 5, "{tries} within {timeout} s");
            assert_eq!(during.as_secs(), timeout);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn known_host_is_waited_for_longer_than_unreached_one() {
        assert_eq!(fail(300, RetryKind::HostDown).await.1, FIRST_CONTACT);
        assert_eq!(fail(300, RetryKind::NeverReached).await.1, FIRST_CONTACT);
        // The connection is neither accepted nor refused.
        let since = Instant::now();
        let downtime = || async {
            tokio::time::sleep(FIRST_CONTACT).await;
            Err::<(), _>(Failed(RetryKind::HostDown, 0))
        };
        drop(retries(300).run(downtime).await);
        assert_eq!(since.elapsed(), FIRST_CONTACT);
        let fail_once_reached = async |mut kinds: Vec<RetryKind>| {
            let since = Instant::now();
            let step = || {
                let kind = if kinds.len() > 1 {
                    kinds.remove(0)
                } else {
                    kinds[0]
                };
                std::future::ready(Err::<(), _>(Failed(kind, 0)))
            };
            drop(retries(300).run(step).await);
            since.elapsed().as_secs()
        };
        // After any response, or a connection that broke, the host goes down.
        assert_eq!(
            fail_once_reached(vec![RetryKind::Transient(None), RetryKind::HostDown]).await,
            300
        );
        // A separate host of the token server.
        assert_eq!(
            fail_once_reached(vec![RetryKind::Transient(None), RetryKind::NeverReached]).await,
            FIRST_CONTACT.as_secs()
        );
        let reached = retries(300).after_contact();
        let since = Instant::now();
        let away = || std::future::ready(Err::<(), _>(Failed(RetryKind::HostDown, 0)));
        drop(reached.run(away).await);
        assert_eq!(since.elapsed().as_secs(), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn downtime_of_a_host_is_waited_for_once() {
        let retries = retries(300).after_contact();
        let away = || std::future::ready(Err::<(), _>(Failed(RetryKind::HostDown, 0)));
        let since = Instant::now();
        drop(retries.run(away).await);
        assert_eq!(since.elapsed().as_secs(), 300);
        for _ in 0..1000 {
            assert_eq!(retries.clone().run(away).await.unwrap_err().1, 1);
        }
        assert_eq!(since.elapsed().as_secs(), 300);
        // The host comes back and goes down again.
        let back = || std::future::ready(Ok::<_, Failed>(()));
        retries.run(back).await.unwrap();
        drop(retries.run(away).await);
        assert_eq!(since.elapsed().as_secs(), 600);
    }

    #[tokio::test(start_paused = true)]
    async fn zero_timeout_retries_a_rejected_token_only() {
        assert_eq!(fail(0, RetryKind::Transient(None)).await.0, 1);
        assert_eq!(fail(0, RetryKind::Limited).await.0, 1);
        assert_eq!(fail(0, RetryKind::Reauthenticate).await.0, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_obeyed_unless_beyond_the_timeout() {
        let asked = Duration::from_secs(40);
        let (tries, during) = fail(100, RetryKind::Transient(Some(asked))).await;
        assert_eq!(tries, 3);
        assert!(during >= 2 * asked, "{during:?}");
        let (tries, during) = fail(30, RetryKind::Transient(Some(asked))).await;
        assert_eq!((tries, during), (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn long_step_is_still_tried_three_times() {
        let mut tries = 0;
        let failed: Result<(), _> = retries(60)
            .run(|| {
                tries += 1;
                async {
                    tokio::time::sleep(Duration::from_secs(600)).await;
                    Err(Failed(RetryKind::Transient(None), 0))
                }
            })
            .await;
        assert_eq!(failed.unwrap_err().1, 3);
        assert_eq!(tries, 3);
    }
}
