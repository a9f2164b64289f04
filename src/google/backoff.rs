//! Waiting for what Google has promised and does not show yet, with a bound.

use std::time::Duration;

use tokio::time::Instant;

/// How long something may still take: each wait is longer than the one before.
#[derive(Debug)]
pub struct Backoff {
    end: Instant,
    pause: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(10);

    /// Patience for so long, from now.
    pub fn new(limit: Duration) -> Self {
        Self {
            end: Instant::now() + limit,
            pause: Self::FIRST,
        }
    }

    /// Waits, and says whether another look is worth it; false when the time is over.
    pub async fn wait(&mut self) -> bool {
        self.wait_at_least(Duration::ZERO).await
    }

    /// The same where the other side said how long to wait at least. What it asks for past the end
    /// is not waited for.
    pub async fn wait_at_least(&mut self, asked: Duration) -> bool {
        let now = Instant::now();
        let pause = self.pause.max(asked);
        if now >= self.end || now + asked > self.end {
            return false;
        }
        tokio::time::sleep(pause.min(self.end - now)).await;
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
        let mut patience = Backoff::new(Duration::from_millis(5));
        assert!(!patience.wait_at_least(Duration::from_secs(3600)).await);
        assert!(patience.wait().await);
        assert!(!patience.wait().await);
    }
}
