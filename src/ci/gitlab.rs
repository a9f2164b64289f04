//! Output in GitLab's formats: log sections and dotenv reports.

use std::time::{SystemTime, UNIX_EPOCH};

/// The largest dotenv report that GitLab accepts by default, in bytes.
/// <https://docs.gitlab.com/ci/yaml/artifacts_reports/#artifactsreportsdotenv>
const LARGEST: usize = 5 * 1024;

/// The line that begins a collapsed section. `name` consists of letters, digits and `_`.
/// <https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections>
pub fn section_start(name: &str, title: &str) -> String {
    format!(
        "\x1b[0Ksection_start:{}:{name}[collapsed=true]\r\x1b[0K{title}",
        now()
    )
}

/// The line that ends a section.
pub fn section_end(name: &str) -> String {
    format!("\x1b[0Ksection_end:{}:{name}\r\x1b[0K", now())
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// Renders the results as a dotenv report: `NAME=value` lines without quotes, blank lines or
/// comments, which GitLab does not support. Several references are separated by commas. They are
/// left out if the report would be larger than GitLab accepts.
///
/// No name begins with `GCR_PUSH_`, because the variables of a report are set in later jobs, where
/// gcr-push would read them as settings.
pub fn dotenv(results: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let mut lines: Vec<_> = results
        .into_iter()
        .map(|(name, value)| {
            let name = match name {
                "pushed_bytes" | "skipped_bytes" => name.to_uppercase(),
                "failed" => "PUSH_FAILED".to_owned(),
                _ => format!("PUSHED_{}", name.to_uppercase()),
            };
            format!("{name}={}\n", value.replace('\n', ","))
        })
        .collect();
    if lines.iter().map(String::len).sum::<usize>() > LARGEST {
        lines.retain(|line| {
            !line.starts_with("PUSHED_REFERENCES=") && !line.starts_with("PUSH_FAILED=")
        });
        tracing::warn!(
            "the dotenv file has no PUSHED_REFERENCES and no PUSH_FAILED: with them, it would be \
             larger than GitLab accepts"
        );
    }
    lines.concat()
}
