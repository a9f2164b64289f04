//! GitHub's files: the step's outputs.
//!
//! <https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions#setting-an-output-parameter>

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

use super::Report;

/// Appends the outputs of a push to `$GITHUB_OUTPUT`.
///
/// Each value stands between lines of a random delimiter, so that no value can end early and set
/// another output.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write_outputs(
    file: &Path,
    report: &Report,
    pull_secret_file: Option<&Path>,
    report_file: Option<&Path>,
) -> io::Result<()> {
    let mut text = String::new();
    for (name, value) in outputs(report, pull_secret_file, report_file) {
        let delimiter = delimiter()?;
        text.push_str(&format!("{name}<<{delimiter}\n{value}\n{delimiter}\n"));
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)?
        .write_all(text.as_bytes())
}

fn outputs(
    report: &Report,
    pull_secret_file: Option<&Path>,
    report_file: Option<&Path>,
) -> Vec<(&'static str, String)> {
    let pushed: Vec<_> = report
        .arrivals
        .iter()
        .map(|arrival| &arrival.pushed)
        .collect();
    let mut outputs = Vec::new();
    if let Some(first) = pushed.first() {
        outputs.push(("digest", first.digest.to_string()));
        outputs.push(("image", first.name.clone()));
        outputs.push(("reference", format!("{}@{}", first.name, first.digest)));
    }
    let references: Vec<_> = pushed
        .iter()
        .flat_map(|pushed| {
            let tags = pushed.tags.iter();
            tags.map(|tag| format!("{}:{}", pushed.name, tag.tag))
        })
        .collect();
    outputs.push(("references", references.join("\n")));
    let sum = |bytes: Vec<u64>| bytes.iter().sum::<u64>().to_string();
    outputs.push((
        "pushed_bytes",
        sum(pushed.iter().map(|pushed| pushed.sent_bytes).collect()),
    ));
    outputs.push((
        "skipped_bytes",
        sum(pushed.iter().map(|pushed| pushed.present_bytes).collect()),
    ));
    // The runner does not translate what an action writes: `/github/workspace` exists nowhere else.
    let relative = |path: &Path| {
        let path = path.strip_prefix("/github/workspace").unwrap_or(path);
        path.display().to_string()
    };
    outputs.extend(pull_secret_file.map(|path| ("pull_secret_file", relative(path))));
    outputs.extend(report_file.map(|path| ("report_file", relative(path))));
    outputs
}

/// A line that no value holds: 128 bits from the system.
fn delimiter() -> io::Result<String> {
    let mut random = [0_u8; 16];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut random)
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("gcr_push_{hex}"))
}
