//! The outputs of a step.
//!
//! <https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions#setting-an-output-parameter>

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

/// Appends outputs to the runner's file.
///
/// Each value is between lines of a random delimiter, so that no value can end early and set
/// another output.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write(file: &Path, outputs: &[(&str, String)]) -> io::Result<()> {
    let mut text = String::new();
    for (name, value) in outputs {
        let delimiter = delimiter()?;
        text.push_str(&format!("{name}<<{delimiter}\n{value}\n{delimiter}\n"));
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)?
        .write_all(text.as_bytes())
}

/// Translates a path for the other steps of the job: relative to the workspace, or below the host's
/// temporary directory. The runner does not translate paths in outputs, and `/github` exists only
/// in the container of an action.
pub fn path(path: &Path, temporary_directory_on_host: Option<&Path>) -> String {
    let path = match path.strip_prefix("/github/workspace") {
        Ok(relative) => relative.to_owned(),
        Err(_) => match (
            path.strip_prefix("/github/runner_temp"),
            temporary_directory_on_host,
        ) {
            (Ok(relative), Some(host)) => host.join(relative),
            _ => path.to_owned(),
        },
    };
    path.display().to_string()
}

/// Generates a delimiter that no value contains: 128 random bits.
fn delimiter() -> io::Result<String> {
    let mut random = [0_u8; 16];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut random)
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("gcr_push_{hex}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_path_is_given_as_the_host_path() {
        let host = Some(Path::new("/home/runner/work/_temp"));
        for (own, expected) in [
            ("/github/workspace/out/report.json", "out/report.json"),
            (
                "/github/runner_temp/r.json",
                "/home/runner/work/_temp/r.json",
            ),
            ("report.json", "report.json"),
            ("/github/workspaces/x", "/github/workspaces/x"),
        ] {
            assert_eq!(path(Path::new(own), host), expected);
        }
    }
}
