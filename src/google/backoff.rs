//! Waits with an upper bound until a change that Google has accepted becomes visible.

use std::time::Duration;

use tokio::time::Instant;

/// Waits of increasing length, up to a total limit.
#[derive(Debug)]
pub struct Backoff {
    end: Instant,
    pause: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(10);

    /// Starts now, with this limit.
    pub fn new(limit: Duration) -> Self {
        Self {
            end: Instant::now() + limit,
            pause: Self::FIRST,
        }
    }

    /// Waits. False if the limit is reached, so that another try is pointless.
    pub async fn wait(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.end {
            return false;
        }
        tokio::time::sleep(self.pause.min(self.end - now)).await;
        self.pause = (self.pause * 8 / 5).min(Self::LONGEST);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn backoff_ends_and_never_waits_past_its_end() {
        assert!(!Backoff::new(Duration::ZERO).wait().await);
        let mut backoff = Backoff::new(Duration::from_millis(5));
        assert!(backoff.wait().await);
        assert!(!backoff.wait().await);
    }
}
