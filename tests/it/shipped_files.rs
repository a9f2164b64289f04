//! The files shipped beside the program: the action, GitLab's components, `deploy/`, the workflows.
//! `.ci/run` checks them against their schemas; these tests check what no schema knows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::Value;

use gcr_push::config::VARIABLES;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// Every file directly in a folder.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// What people read.
fn pages() -> Vec<PathBuf> {
    let here = ["README.md", "CHANGELOG.md"].map(|name| root().join(name));
    let folders = [".github", ".github/ISSUE_TEMPLATE", "docs"].map(files);
    let found = folders.into_iter().flatten().filter(|file| file.is_file());
    here.into_iter().chain(found).collect()
}

/// The names in a text that follow a prefix.
fn names(text: &str, prefix: &str) -> BTreeSet<String> {
    let found = text.match_indices(prefix).map(|(at, _)| {
        let rest = &text[at + prefix.len()..];
        let end = rest.find(|c: char| !(c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit()));
        rest[..end.unwrap_or(rest.len())].to_lowercase()
    });
    found.filter(|name| !name.is_empty()).collect()
}

#[test]
fn every_variable_set_in_shipped_files_is_known() {
    let known: BTreeSet<_> = VARIABLES.iter().map(|variable| variable.name).collect();
    let others = ["action.yml", ".github/workflows/ci.yml"].map(|name| root().join(name));
    let shipped = files("deploy").into_iter().chain(files("templates"));
    for file in pages().into_iter().chain(others).chain(shipped) {
        let text = fs::read_to_string(&file).unwrap();
        for name in names(&text, "GCR_PUSH_") {
            // The placeholders of the pages for any variable.
            let is_general = ["x", "x_y", "name"].contains(&name.as_str());
            assert!(
                is_general || known.contains(name.as_str()),
                "GCR_PUSH_{} in {}",
                name.to_uppercase(),
                file.display()
            );
        }
    }
}

#[test]
fn action_image_suits_every_runner() {
    let action: Value = serde_yaml::from_str(&read("action.yml")).unwrap();
    let image = action["runs"]["image"].as_str().unwrap();
    // A bare reference and an expression pass every schema and fail at run time (actions/runner,
    // ActionManifestManager.cs); a tag could move.
    let pinned = image.strip_prefix("docker://").is_some_and(|image| {
        image.split_once("@sha256:").is_some_and(|(_, hex)| {
            hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    });
    assert!(image == "Dockerfile" || pinned, "{image}");
    assert!(!image.contains("${{"));
    // Runners on Kubernetes start nothing without it.
    assert_eq!(action["runs"]["entrypoint"], "/usr/local/bin/gcr-push");
    // Names that the runner reserves, and names that a shell would drop.
    for name in action["inputs"].as_object().unwrap().keys() {
        assert!(!["args", "entrypoint"].contains(&name.as_str()));
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{name}"
        );
    }
    let outputs = action["outputs"].as_object().unwrap();
    for (name, output) in outputs {
        let keys: Vec<_> = output.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["description"], "{name}");
    }
    let colours = [
        "white",
        "black",
        "yellow",
        "blue",
        "green",
        "orange",
        "red",
        "purple",
        "gray-dark",
    ];
    assert!(colours.contains(&action["branding"]["color"].as_str().unwrap()));
}

#[test]
fn component_passes_every_input_and_no_secret() {
    for name in ["gcr-push", "gcr-push-keyless"] {
        let text = read(&format!("templates/{name}.yml"));
        let documents: Vec<Value> = serde_yaml::Deserializer::from_str(&text)
            .map(|document| Value::deserialize(document).unwrap())
            .collect();
        let [header, job] = documents.as_slice() else {
            panic!("a header and a job")
        };
        let inputs = header["spec"]["inputs"].as_object().unwrap();
        let job = job.to_string();
        for (input, description) in inputs {
            assert!(job.contains(&format!("$[[ inputs.{input} ]]")), "{input}");
            assert!(description["description"].is_string(), "{input}");
            // Slashes around it would be part of it: gitlab#458935.
            let regex = description["regex"].as_str().unwrap_or_default();
            assert!(!regex.starts_with('/'));
            let variable = VARIABLES.iter().find(|variable| variable.name == input);
            assert!(
                variable.is_none_or(|variable| !variable.is_secret()),
                "{input}"
            );
        }
        for used in job.split("$[[ inputs.").skip(1) {
            let used = used.split(' ').next().unwrap();
            assert!(inputs.contains_key(used), "{used}");
        }
    }
}

#[test]
fn shipped_files_name_the_image_of_this_version() {
    let major = env!("CARGO_PKG_VERSION").split('.').next().unwrap();
    let image = format!("ghcr.io/gcr-push/gcr-push:{major}");
    for file in files("deploy").into_iter().chain(files("templates")) {
        let text = fs::read_to_string(&file).unwrap();
        for (at, _) in text.match_indices("ghcr.io/gcr-push/gcr-push") {
            let named: String = text[at..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || "./:-".contains(*c))
                .collect();
            assert_eq!(named, image, "{}", file.display());
        }
    }
}

#[test]
fn every_workflow_action_and_image_is_pinned() {
    for file in files(".github/workflows") {
        for line in fs::read_to_string(&file).unwrap().lines() {
            let Some((_, used)) = line.split_once("uses: ") else {
                continue;
            };
            let used = used.split(' ').next().unwrap();
            let commit = used.rsplit('@').next().unwrap();
            assert!(
                used.starts_with("./")
                    || (commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit())),
                "{line}"
            );
        }
    }
    for line in read("Dockerfile")
        .lines()
        .filter(|line| line.starts_with("FROM "))
    {
        assert!(line.contains("@sha256:"), "{line}");
    }
}

/// Reads every text file of a folder and its subfolders.
fn texts_below(folder: &Path, texts: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts_below(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn troubleshooting_headings_are_printed_texts() {
    // The snapshots of the tests, and the messages in the program's source.
    let mut sources = Vec::new();
    texts_below(&root().join("tests/it"), &mut sources);
    texts_below(&root().join("src"), &mut sources);
    let lines: Vec<_> = sources.iter().flat_map(|text| text.lines()).collect();
    let page = read("docs/troubleshooting.md");
    let mut count = 0;
    for heading in page.lines().filter_map(|line| line.strip_prefix("### `")) {
        let printed = heading.strip_suffix('`').unwrap();
        let pieces: Vec<_> = printed.split('…').map(str::trim).collect();
        let is_printed = lines.iter().any(|line| {
            let mut rest = *line;
            pieces.iter().all(|piece| match rest.split_once(piece) {
                Some((_, after)) => {
                    rest = after;
                    true
                }
                None => false,
            })
        });
        assert!(is_printed, "nothing prints {printed:?}");
        count += 1;
    }
    assert!(count > 20);
}

#[test]
fn every_example_uses_known_inputs() {
    let action: Value = serde_yaml::from_str(&read("action.yml")).unwrap();
    let inputs = action["inputs"].as_object().unwrap();
    let mut examples = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let page = page.display();
        for step in text.split("uses: gcr-push/gcr-push@").skip(1) {
            let inputs_of_step = step
                .lines()
                .skip(1)
                .take_while(|line| line.starts_with(' ') && !line.trim_start().starts_with('-'));
            for line in inputs_of_step {
                let Some((name, _)) = line.trim().split_once(':') else {
                    continue;
                };
                let is_step = ["with", "id", "if", "env"].contains(&name);
                let is_input = inputs.contains_key(name);
                // List items contain colons too: `gcr.io/acme/api:1`.
                let is_reference = name.contains('/');
                assert!(is_step || is_input || is_reference, "{line} in {page}");
            }
            examples += 1;
        }
    }
    assert!(examples > 4);
}

#[test]
fn every_link_in_the_pages_resolves() {
    // A template is read at the address of an issue, where nothing is beside it: it has whole URLs,
    // which are checked as if they were links to the files.
    let ours = "https://github.com/gcr-push/gcr-push/blob/main/";
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let up = match page.parent().unwrap().strip_prefix(root()) {
            Ok(folder) => "../".repeat(folder.components().count()),
            Err(_) => String::new(),
        };
        let text = text.replace(ours, &up);
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            assert!(target.exists(), "{link} in {}", page.display());
            if anchor.is_empty() {
                continue;
            }
            // How GitHub derives an anchor from a heading.
            let anchors = fs::read_to_string(&target).unwrap();
            let is_there = anchors
                .lines()
                .filter(|line| line.starts_with('#'))
                .any(|line| {
                    let heading = line.trim_start_matches('#').trim().to_lowercase();
                    let kept = heading
                        .chars()
                        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
                    kept.collect::<String>().replace(' ', "-") == anchor
                });
            assert!(is_there, "{link} in {}", page.display());
        }
    }
}

#[test]
fn pages_say_that_no_release_exists_yet() {
    let is_released = !read("CHANGELOG.md").contains("## 0.1.0 - unreleased");
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let words = ["gcr-push/gcr-push@v", "ghcr.io/gcr-push/gcr-push:"];
        let names_one = words.iter().any(|word| text.contains(word));
        let says_so = text.to_lowercase().contains("no release exists yet");
        let is_right = if is_released {
            !says_so
        } else {
            says_so || !names_one
        };
        assert!(is_right, "{}", page.display());
    }
}
