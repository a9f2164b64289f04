//! Pull secrets without a key hold a token and state its expiry.

use standin::{Behaviour, Fault, FaultAction, RequestKind};

use super::{image, pull_secret_command};
use crate::support::google::{ACCOUNT, Google};
use crate::support::run::Run;

const GCR_IO: &str = "gcr.io/acme/app:1";

fn push(google: &Google) -> Run {
    google
        .with_environment(Run::new())
        .set("access_token", google.standin.access_token(ACCOUNT))
        .file("image.tar", image())
        .set("image", "image.tar")
        .set("tags", GCR_IO)
        .set("pull_secret", "gcr-pull")
        .set("pull_secret_file", "secret.yaml")
}

#[test]
fn token_secret_states_its_expiry() {
    let google = Google::with(Behaviour {
        oauth_lifetime: std::time::Duration::from_secs(1200),
        ..Behaviour::default()
    });
    let outcome = push(&google).set("report_file", "report.json").succeeds();
    let secret: serde_json::Value = serde_yaml::from_str(&outcome.read("secret.yaml")).unwrap();
    let annotations = &secret["metadata"]["annotations"];
    let end = annotations["gcr-push.github.io/expires-at"]
        .as_str()
        .unwrap();
    assert!(
        outcome.stderr.contains(&format!("is valid until {end}")),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stdout.contains(end), "{}", outcome.stdout);
    let report: serde_json::Value = serde_json::from_str(&outcome.read("report.json")).unwrap();
    assert_eq!(report["pull_secret"]["expires_at"], end);
    assert_eq!(report["pull_secret"]["hosts"][0], "gcr.io");
    // Within the twenty minutes of the token's lifetime.
    let parsed = time(end);
    let now = std::time::SystemTime::now();
    let left = parsed.duration_since(now).unwrap().as_secs();
    assert!(left <= 1200, "{left}");
}

fn time(text: &str) -> std::time::SystemTime {
    use std::time::{Duration, SystemTime};
    let number = |range: std::ops::Range<usize>| text[range].parse::<u64>().unwrap();
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    // Days since 1970 by the civil calendar (Howard Hinnant, `days_from_civil`).
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = number(11..13) * 3600 + number(14..16) * 60 + number(17..19);
    SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400 + seconds)
}

#[test]
fn token_without_known_expiry_is_said_to_last_an_hour() {
    let google = Google::start();
    let silent = Fault::always(RequestKind::TokenInfo, FaultAction::status(400));
    google.standin.fault(silent);
    let outcome = push(&google).succeeds();
    assert!(
        outcome.stderr.contains("is valid for an hour at most"),
        "{}",
        outcome.stderr
    );
    assert!(!outcome.read("secret.yaml").contains("annotations"));
}

#[test]
fn token_is_in_every_login_and_nowhere_else() {
    let google = Google::start();
    push(&google).succeeds();
    let token = google.standin.access_token(ACCOUNT);
    let outcome = pull_secret_command(&google, GCR_IO)
        .set("access_token", &token)
        .set("pull_secret_file", "-")
        .set("pull_secret_format", "dockerconfigjson")
        .variable("RUST_LOG", "trace")
        .succeeds();
    let file: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(file["auths"]["gcr.io"]["username"], "oauth2accesstoken");
    assert_eq!(file["auths"]["gcr.io"]["password"], token);
    assert!(!outcome.stderr.contains(&token), "{}", outcome.stderr);
}
