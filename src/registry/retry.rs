//! The one retry layer: which steps are done again, after what wait, and for how long.
//!
//! A step is what can be repeated from its start: a request with its answer read to the end, or a
//! blob with its POST and its PUT. Steps do not nest, so nothing is repeated by two of them.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};

use super::downtime::{HostDowntime, LONGEST_WAIT, RetryState};
use crate::diagnostics::render::one_line;
use crate::http::{Network, RateLimiter};
use crate::oci::reference::Endpoint;

/// The first wait, unless the time allowed is short.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// How long what need not be known is waited for.
const BRIEF: Duration = Duration::from_secs(15);

/// Whether it helps to do a failed step again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryKind {
    /// It would fail in the same way.
    Never,
    /// A new token is to be shown: twice, whatever time is allowed.
    Reauthenticate,
    /// It was bad luck, or it is none: twice.
    Limited,
    /// Nobody is there: as what passes with time where somebody was before, else not for long.
    HostDown,
    /// Nobody is there, and nobody ever was: not for long.
    NeverReached,
    /// It passes with time; the other side may have said after how much.
    Transient(Option<Duration>),
    /// Likewise, but it is about all that is sent.
    RateLimited(Option<Duration>),
}

/// An error of a step.
pub(crate) trait Retryable: std::error::Error {
    /// Whether it helps to do the step again.
    fn retry(&self) -> RetryKind;

    /// The same error, knowing how often and how long the step was tried.
    fn tried(self, times: u32, during: Duration) -> Self;
}

/// How failed steps are repeated, and the pace that all requests to the registry keep.
#[derive(Clone, Debug)]
pub(crate) struct RetryPolicy {
    timeout: Duration,
    /// True when the host has answered before.
    is_reached: bool,
    silence: HostDowntime,
    pub(super) pace: RateLimiter,
}

impl RetryPolicy {
    pub(super) fn new(network: &Network, host: &Endpoint) -> Self {
        Self {
            timeout: network.retry_timeout,
            is_reached: false,
            silence: HostDowntime::default(),
            pace: network.paces.of(host),
        }
    }

    /// The same once the host has answered.
    pub(super) fn after_contact(self) -> Self {
        Self {
            is_reached: true,
            ..self
        }
    }

    /// The same for a step that may be done without asking the host, and so tells nothing of it.
    pub(super) fn without_downtime(&self) -> Self {
        Self {
            silence: HostDowntime::default(),
            ..self.clone()
        }
    }

    /// The same for a step whose first failure is told at once.
    pub(super) fn at_once(&self) -> Self {
        Self {
            timeout: Duration::ZERO,
            ..self.clone()
        }
    }

    /// The same for a step that a run can do without.
    pub(super) fn brief(&self) -> Self {
        Self {
            timeout: self.timeout.min(BRIEF),
            ..self.clone()
        }
    }

    /// Does a step until it succeeds, until its failure is final, or until the time is up. A wait
    /// that the other side asks for and that is longer than the time left is not begun.
    pub(crate) async fn run<T, E: Retryable, F: Future<Output = Result<T, E>>>(
        &self,
        mut step: impl FnMut() -> F,
    ) -> Result<T, E> {
        let mut patience = self.patience();
        loop {
            let error = match step().await {
                Ok(done) => {
                    self.silence.is_over();
                    return Ok(done);
                }
                Err(error) => error,
            };
            let Some(wait) = patience.after(error.retry()) else {
                return Err(patience.give_up(error));
            };
            if let RetryKind::RateLimited(_) = error.retry() {
                self.slow_down(wait);
            }
            let text = one_line(&error);
            let wait_text = seconds(wait);
            let is_routine = error.retry() == RetryKind::Reauthenticate;
            if !is_routine && self.silence.is_news(&text, error.retry()) {
                tracing::info!("{text}; trying again in {wait_text}")
            } else {
                tracing::debug!("{text}; trying again in {wait_text}")
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// What is left of the patience with a step that has not failed yet.
    pub(crate) fn patience(&self) -> RetryState {
        let silence = self.silence.clone();
        RetryState::new(self.timeout, self.is_reached, silence, self.waits())
    }

    /// Exponential waits with jitter, so that many who failed together do not come back together.
    fn waits(&self) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(self.first_wait())
            .with_max_delay(LONGEST_WAIT)
            .with_factor(2.0)
            .without_max_times()
            .with_jitter()
            .build()
    }

    /// Slows everybody down after a 429, and lets them be faster again after anything else.
    pub(super) fn observe(&self, answer: &Response) {
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            let asked = retry_after(answer.headers()).unwrap_or_else(|| self.first_wait());
            // Nobody waits for what is not waited for.
            self.slow_down(if asked > self.timeout {
                Duration::ZERO
            } else {
                asked
            });
        } else {
            self.pace.recover();
        }
    }

    fn slow_down(&self, wait: Duration) {
        if self.pace.pause(wait) {
            tracing::info!(
                "the registry asks for fewer requests: nothing is sent for {}",
                seconds(wait)
            );
        }
    }

    /// Several tries fit into any time that is allowed.
    fn first_wait(&self) -> Duration {
        FIRST_WAIT.min(self.timeout / 60)
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// How long an answer asks to wait: seconds or a date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?;
            // A date that has passed asks for nothing.
            Some(
                at.duration_since(std::time::SystemTime::now())
                    .unwrap_or_default(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::registry::downtime::FIRST_CONTACT;

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
        RetryPolicy {
            timeout: Duration::from_secs(timeout),
            is_reached: false,
            silence: HostDowntime::default(),
            pace: RateLimiter::default(),
        }
    }

    /// How often a step that fails for ever is tried, and for how long.
    async fn fail(timeout: u64, retry: RetryKind) -> (u32, Duration) {
        let start = Instant::now();
        let failed: Result<(), _> = retries(timeout)
            .run(|| std::future::ready(Err(Failed(retry, 0))))
            .await;
        (failed.unwrap_err().1, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_final_failure_is_told_at_once_and_bad_luck_is_tried_twice_more() {
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
    async fn what_passes_with_time_is_tried_until_the_time_is_up_and_not_longer() {
        for timeout in [2, 60, 300, 3600] {
            let (tries, during) = fail(timeout, RetryKind::Transient(None)).await;
            assert!(tries > 5, "{tries} within {timeout} s");
            assert_eq!(during.as_secs(), timeout);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_was_there_before_is_waited_for_longer_than_one_that_never_was() {
        assert_eq!(fail(300, RetryKind::HostDown).await.1, FIRST_CONTACT);
        assert_eq!(fail(300, RetryKind::NeverReached).await.1, FIRST_CONTACT);
        // Nobody answers, and nobody refuses either.
        let since = Instant::now();
        let silence = || async {
            tokio::time::sleep(FIRST_CONTACT).await;
            Err::<(), _>(Failed(RetryKind::HostDown, 0))
        };
        drop(retries(300).run(silence).await);
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
        // An answer of any kind, or a connection that broke, and then nobody.
        assert_eq!(
            fail_once_reached(vec![RetryKind::Transient(None), RetryKind::HostDown]).await,
            300
        );
        // A host of its own that tokens are had from.
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
    async fn a_host_that_is_gone_is_waited_for_once_for_all_steps() {
        let retries = retries(300).after_contact();
        let away = || std::future::ready(Err::<(), _>(Failed(RetryKind::HostDown, 0)));
        let since = Instant::now();
        drop(retries.run(away).await);
        assert_eq!(since.elapsed().as_secs(), 300);
        for _ in 0..1000 {
            assert_eq!(retries.clone().run(away).await.unwrap_err().1, 1);
        }
        assert_eq!(since.elapsed().as_secs(), 300);
        // It came back, and is gone again.
        let back = || std::future::ready(Ok::<_, Failed>(()));
        retries.run(back).await.unwrap();
        drop(retries.run(away).await);
        assert_eq!(since.elapsed().as_secs(), 600);
    }

    #[tokio::test(start_paused = true)]
    async fn no_time_is_no_second_try_but_for_a_token() {
        assert_eq!(fail(0, RetryKind::Transient(None)).await.0, 1);
        assert_eq!(fail(0, RetryKind::Limited).await.0, 1);
        assert_eq!(fail(0, RetryKind::Reauthenticate).await.0, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_asked_for_is_kept_and_one_that_is_too_long_not_begun() {
        let asked = Duration::from_secs(40);
        let (tries, during) = fail(100, RetryKind::Transient(Some(asked))).await;
        assert_eq!(tries, 3);
        assert!(during >= 2 * asked, "{during:?}");
        let (tries, during) = fail(30, RetryKind::Transient(Some(asked))).await;
        assert_eq!((tries, during), (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_that_takes_longer_than_the_time_allowed_is_still_tried_thrice() {
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

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read(" 0 "), Some(Duration::ZERO));
        assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(read("Tue, 31 Dec 2999 23:59:59 GMT").unwrap() > Duration::from_secs(1_000_000));
        for other in ["soon", "-1", "1.5", ""] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
