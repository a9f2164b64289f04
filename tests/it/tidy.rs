//! Facts that stand in several files and have to agree.

use std::fs;
use std::path::Path;

use serde_json::Value;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn action() -> Value {
    serde_yaml::from_str(&read("action.yml")).unwrap()
}

#[test]
fn action_has_its_entrypoint_and_no_arguments() {
    let runs = &action()["runs"];
    assert_eq!(runs["using"], "docker");
    assert_eq!(runs["image"], "Dockerfile");
    assert_eq!(runs["entrypoint"], "/usr/local/bin/gcr-push");
    assert_eq!(runs.get("args"), None);
}

#[test]
fn page_lists_every_output() {
    fn rows(section: &str) -> Vec<&str> {
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| row.split('`').next().unwrap()).collect()
    }
    let action = action();
    let mut outputs: Vec<_> = action["outputs"].as_object().unwrap().keys().collect();
    outputs.sort_unstable();
    let page = read("docs/outputs-and-exit-codes.md");
    let (_, section) = page.split_once("## Outputs").unwrap();
    let (section, _) = section.split_once("## Files").unwrap();
    let mut documented = rows(section);
    documented.sort_unstable();
    assert_eq!(documented, outputs);
}

#[test]
fn readme_has_at_most_160_lines() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 160, "{lines} lines: the rest belongs into docs/");
}

#[test]
fn rust_version_is_the_same_everywhere() {
    // The part of a file between two texts.
    let between = |file: &str, from: &str, to: &str| -> String {
        let text = read(file);
        let (_, rest) = text.split_once(from).expect(file);
        rest.split(to).next().unwrap().to_owned()
    };
    let version = between("rust-toolchain.toml", "channel = \"", "\"");
    assert_eq!(between("Dockerfile", "library/rust:", "-"), version);
    let ci = ".github/workflows/ci.yml";
    assert_eq!(between(ci, "rustup toolchain install ", " "), version);
    assert_eq!(between(ci, "rustup default ", "\n"), version);
    // The oldest that works, which is what users are told.
    let oldest = env!("CARGO_PKG_RUST_VERSION");
    assert_eq!(between("README.md", "Rust ", " or newer"), oldest);
    let page = ".github/CONTRIBUTING.md";
    assert_eq!(between(page, "compile with Rust ", " too"), oldest);
}

#[test]
fn changelog_has_this_version() {
    let heading = format!("## {}", env!("CARGO_PKG_VERSION"));
    assert!(
        read("CHANGELOG.md")
            .lines()
            .any(|line| line.starts_with(&heading))
    );
}
