//! Compares the clock of this machine with that of a host.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::{CheckResult, Problem};
use crate::http::Network;
use crate::oci::reference::Endpoint;

/// The largest accepted difference. Google accepts signatures that are up to five minutes off, and
/// an OIDC token lives as long.
const MAX_DIFFERENCE: Duration = Duration::from_secs(120);

/// Compares the `Date` header of a response with the local time.
pub(super) async fn compare(endpoint: &Endpoint, network: &Network) -> CheckResult {
    let unknown = || CheckResult::Note("it could not be compared".to_owned());
    let Ok(client) = network.exchange_client() else {
        return unknown();
    };
    let before = SystemTime::now();
    let Ok(response) = client.get(endpoint.url("https")).send().await else {
        return unknown();
    };
    let date = response.headers().get(reqwest::header::DATE);
    let date = date
        .and_then(|date| OffsetDateTime::parse(date.to_str().ok()?, &Rfc2822).ok())
        .map(SystemTime::from);
    match date {
        Some(theirs) => check(endpoint, before, SystemTime::now(), theirs),
        None => unknown(),
    }
}

/// Checks the time `theirs` of a response that was made between `before` and `after` by the local
/// clock.
fn check(
    host: &Endpoint,
    before: SystemTime,
    after: SystemTime,
    theirs: SystemTime,
) -> CheckResult {
    let (difference, is_ahead) = match (before.duration_since(theirs), theirs.duration_since(after))
    {
        (Ok(ahead), _) if !ahead.is_zero() => (ahead, true),
        (_, Ok(behind)) => (behind, false),
        _ => (Duration::ZERO, false),
    };
    if difference > MAX_DIFFERENCE {
        CheckResult::found(Problem::Clock {
            host: host.clone(),
            seconds: difference.as_secs(),
            is_ahead,
        })
    } else {
        CheckResult::Ok("clock is in sync".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_is_wrong_from_two_minutes_on_either_side() {
        let host: Endpoint = "gcr.io".parse().unwrap();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (before, after, theirs, good) in [
            (1000, 1001, 1000, true),
            // `Date` has whole seconds, and a slow response is no wrong clock.
            (1000, 1500, 1200, true),
            (1000, 1001, 1100, true),
            (1000, 1001, 1130, false),
            (1130, 1131, 1000, false),
        ] {
            let result = check(&host, at(before), at(after), at(theirs));
            assert_eq!(matches!(result, CheckResult::Ok(_)), good, "{theirs}");
        }
    }
}
