//! Facts that stand in several files and have to agree.

use std::fs;
use std::path::Path;

use serde_json::Value;

use gcr_push::config::VARIABLES;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn variables() -> Vec<&'static str> {
    VARIABLES.iter().map(|variable| variable.name).collect()
}

fn action() -> Value {
    serde_yaml::from_str(&read("action.yml")).unwrap()
}

#[test]
fn action_inputs_are_exactly_the_known_variables() {
    let action = action();
    let inputs: Vec<_> = action["inputs"].as_object().unwrap().keys().collect();
    let mut expected = variables();
    expected.sort_unstable();
    assert_eq!(inputs, expected);
    for (name, input) in action["inputs"].as_object().unwrap() {
        assert!(input["description"].is_string(), "{name}");
        // Only the workflow knows the job's own token.
        let default = (name == "github_token").then(|| Value::from("${{ github.token }}"));
        assert_eq!(input.get("default"), default.as_ref(), "{name}");
    }
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
fn readme_lists_every_variable_and_output_in_order() {
    let readme = read("README.md");
    let rows = |from: &str, to: &str| -> Vec<String> {
        let (_, section) = readme.split_once(from).unwrap();
        let (section, _) = section.split_once(to).unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| row.split('`').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(rows("## Variables", "## Outputs"), variables());
    let action = action();
    let mut outputs: Vec<_> = action["outputs"].as_object().unwrap().keys().collect();
    outputs.sort_unstable();
    let mut documented = rows("## Outputs", "## Exit codes");
    documented.sort_unstable();
    assert_eq!(documented.iter().collect::<Vec<_>>(), outputs);
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

#[test]
fn foreign_protocol_crates_are_used_in_one_file_each() {
    fn files(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else {
                found.push((
                    path.display().to_string(),
                    fs::read_to_string(&path).unwrap(),
                ));
            }
        }
    }
    let mut sources = Vec::new();
    files(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut sources,
    );
    for (name, owner) in [
        ("yup_oauth2::", "src/auth/google/signer.rs"),
        ("envy::", "src/config/variables.rs"),
        ("oci_distribution::", "src/oci/manifest.rs"),
        ("kube::", "src/kubernetes/"),
    ] {
        for (path, text) in &sources {
            let uses = text.lines().filter(|line| line.contains(name)).count();
            // A field may hold the client that another file made.
            let is_a_field = path.ends_with("src/registry/mod.rs") && uses == 1;
            assert!(
                uses == 0 || path.contains(owner) || is_a_field,
                "{name} in {path}"
            );
        }
    }
}
