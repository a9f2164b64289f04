//! The design of `src/`, held: which room may import which, which foreign crates each may name, and
//! that one public name means one thing.
//!
//! It reads the text of the files, which works as long as imports across rooms are written
//! `use crate::room::…`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every room with its rank: a room imports only rooms of a lower rank.
const ROOMS: [(&str, u8); 12] = [
    ("diagnostics", 0),
    ("oci", 1),
    ("ci", 2),
    ("http", 3),
    ("auth", 4),
    ("registry", 5),
    ("google", 5),
    ("kubernetes", 5),
    ("image", 6),
    ("push", 7),
    ("commands", 8),
    ("config", 9),
];

/// The files beside the rooms, and what of these each may import. `properties.rs` is compiled for
/// tests and fuzzing alone.
const TOP: [(&str, &[&str]); 4] = [
    ("lib.rs", &["error", "properties"]),
    ("main.rs", &["error"]),
    ("error.rs", &[]),
    ("properties.rs", &[]),
];

/// Every entry of `[dependencies]`, and the rooms or files that may name it. An empty list stands for a crate
/// that is there for its features alone.
const CRATES: [(&str, &[&str]); 48] = [
    ("backon", &["http"]),
    (
        "base64",
        &["diagnostics", "auth", "registry", "kubernetes", "commands"],
    ),
    (
        "bytes",
        &[
            "oci",
            "http",
            "auth",
            "registry",
            "kubernetes",
            "image",
            "push",
        ],
    ),
    ("bzip2", &["image"]),
    ("clap", &["config"]),
    ("clap_complete", &["config/cli.rs"]),
    ("envy", &["config/environment.rs"]),
    ("flate2", &["image"]),
    (
        "futures-util",
        &[
            "oci", "ci", "http", "auth", "registry", "image", "push", "commands",
        ],
    ),
    (
        "http",
        &["http", "auth", "registry", "kubernetes", "config"],
    ),
    ("http-auth", &["registry"]),
    ("http-body-util", &["kubernetes"]),
    ("httpdate", &["http"]),
    ("hyper", &["http", "registry"]),
    ("hyper-rustls", &["http", "kubernetes"]),
    ("hyper-util", &["http", "auth", "kubernetes", "config"]),
    ("indicatif", &["ci"]),
    ("k8s-openapi", &["kubernetes"]),
    ("kube", &["kubernetes"]),
    ("libdeflater", &["push"]),
    ("lzma-rust2", &["image"]),
    ("oci-distribution", &["oci/manifest.rs"]),
    (
        "parking_lot",
        &[
            "diagnostics",
            "ci",
            "http",
            "auth",
            "registry",
            "google",
            "kubernetes",
            "image",
            "push",
            "commands",
        ],
    ),
    ("regex-lite", &["commands"]),
    (
        "reqwest",
        &["http", "auth", "registry", "google", "image", "commands"],
    ),
    ("rustls", &["ci", "http", "auth", "kubernetes"]),
    ("rustls-native-certs", &["http"]),
    ("rustix", &["ci", "http", "image", "push", "main.rs"]),
    ("secrecy", &["kubernetes"]),
    ("semver", &["commands"]),
    (
        "serde",
        &[
            "oci",
            "ci",
            "http",
            "auth",
            "registry",
            "google",
            "kubernetes",
            "image",
            "push",
            "commands",
            "config",
        ],
    ),
    (
        "serde_json",
        &[
            "diagnostics",
            "oci",
            "ci",
            "http",
            "auth",
            "registry",
            "google",
            "kubernetes",
            "image",
            "push",
            "commands",
            "config",
        ],
    ),
    ("serde_yaml", &["kubernetes", "commands", "config"]),
    ("sha2", &["oci"]),
    ("socket2", &["http"]),
    ("strsim", &["diagnostics"]),
    ("tar", &["image"]),
    ("tempfile", &["ci", "image", "push", "commands"]),
    (
        "thiserror",
        &[
            "oci",
            "ci",
            "http",
            "auth",
            "registry",
            "google",
            "kubernetes",
            "image",
            "push",
            "commands",
            "config",
            "error.rs",
        ],
    ),
    ("time", &["oci", "ci", "auth", "commands"]),
    (
        "tokio",
        &[
            "ci",
            "http",
            "auth",
            "registry",
            "google",
            "kubernetes",
            "image",
            "push",
            "commands",
        ],
    ),
    ("tower", &["kubernetes"]),
    ("tower-service", &["http", "auth"]),
    (
        "tracing",
        &[
            "ci",
            "http",
            "auth",
            "registry",
            "google",
            "kubernetes",
            "image",
            "push",
            "commands",
            "config",
        ],
    ),
    ("tracing-subscriber", &["ci"]),
    (
        "url",
        &[
            "diagnostics",
            "oci",
            "auth",
            "registry",
            "kubernetes",
            "push",
            "commands",
            "config",
        ],
    ),
    ("yup-oauth2", &["auth/google/signer.rs"]),
    ("zstd", &["image", "push"]),
];

struct SourceFile {
    /// Its path below `src/`.
    path: String,
    /// Its text without comments and the contents of string literals.
    code: String,
}

impl SourceFile {
    /// The room that it stands in. `None` for a file beside the rooms.
    fn room(&self) -> Option<&str> {
        self.path.split_once('/').map(|(room, _)| room)
    }

    /// True for a file that is compiled for tests alone.
    fn is_test(&self) -> bool {
        self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
            || self.path == "properties.rs"
    }

    /// The names that follow `prefix` in a path, such as `registry` of `crate::registry::…`.
    fn names_after<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let starts_word = |at: usize| {
            !self.code[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':'))
        };
        self.code
            .match_indices(prefix)
            .filter(move |(at, _)| starts_word(*at))
            .map(|(at, _)| {
                let rest = &self.code[at + prefix.len()..];
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
                &rest[..end.unwrap_or(rest.len())]
            })
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn source_files() -> Vec<SourceFile> {
    let src = root().join("src");
    let mut paths = Vec::new();
    rust_files(&src, &mut paths);
    paths.sort();
    let read = |path: PathBuf| SourceFile {
        path: path
            .strip_prefix(&src)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned(),
        code: code(&fs::read_to_string(&path).unwrap()),
    };
    paths.into_iter().map(read).collect()
}

/// The code of a file without its unit tests; comments and string literals are blanked out.
fn code(text: &str) -> String {
    let text = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    let pattern = r##"(?s)//[^\n]*|r#".*?"#|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)'"##;
    regex_lite::Regex::new(pattern)
        .unwrap()
        .replace_all(text, "\"\"")
        .into_owned()
}

fn rank(room: &str) -> Option<u8> {
    ROOMS
        .iter()
        .find(|(name, _)| *name == room)
        .map(|(_, rank)| *rank)
}

/// What a file imports of other rooms against the ranks.
fn upward_imports(file: &SourceFile) -> Vec<String> {
    let allowed = |name: &str| match (file.room(), rank(name)) {
        (Some(room), Some(of_name)) => name == room || Some(of_name) < rank(room),
        (None, Some(_)) => true,
        (None, None) => {
            let (_, may) = TOP.iter().find(|(top, _)| *top == file.path).unwrap();
            may.contains(&name) || name.chars().next().is_none_or(char::is_uppercase)
        }
        (Some(_), None) => false,
    };
    file.names_after("crate::")
        .filter(|name| !allowed(name))
        .map(|name| format!("{} imports crate::{name}", file.path))
        .collect()
}

#[test]
fn rooms_import_only_rooms_of_lower_rank() {
    let found: Vec<_> = source_files().iter().flat_map(upward_imports).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_folder_is_a_room_and_every_file_beside_them_is_known() {
    for file in source_files() {
        match file.room() {
            Some(room) => assert!(rank(room).is_some(), "src/{} is in no room", file.path),
            None => assert!(
                TOP.iter().any(|(name, _)| *name == file.path),
                "src/{} stands beside the rooms",
                file.path
            ),
        }
    }
}

#[test]
fn commands_import_no_other_command_but_pull_secret() {
    const COMMANDS: [&str; 6] = ["push", "mirror", "list", "pull_secret", "setup", "doctor"];
    for file in source_files() {
        let Some(rest) = file.path.strip_prefix("commands/") else {
            continue;
        };
        let own = rest.split_once('/').map_or("", |(command, _)| command);
        for name in file.names_after("crate::commands::") {
            let is_command = COMMANDS.contains(&name);
            assert!(
                !is_command || name == own || name == "pull_secret",
                "{} imports the command {name}",
                file.path
            );
        }
    }
}

#[test]
fn crates_are_named_only_in_their_rooms() {
    let manifest: BTreeSet<String> = dependencies();
    let listed: BTreeSet<String> = CRATES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(manifest, listed, "CRATES lists what Cargo.toml depends on");
    let files = source_files();
    for (name, places) in CRATES {
        let path = format!("{}::", name.replace('-', "_"));
        for file in files.iter().filter(|file| !file.is_test()) {
            let names_it = file.names_after(&path).next().is_some();
            let is_allowed = places.iter().any(|place| {
                file.path
                    .strip_prefix(place)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
            assert!(!names_it || is_allowed, "src/{} names {name}", file.path);
        }
    }
}

/// The names in `[dependencies]` of the manifest.
fn dependencies() -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, section) = manifest.split_once("[dependencies]\n").unwrap();
    let section = section.split("\n[").next().unwrap();
    let lines = section
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let name = |line: &str| line.split([' ', '.', '=']).next().unwrap().to_owned();
    lines.map(name).collect()
}

#[test]
fn a_public_type_name_means_one_thing() {
    let item = regex_lite::Regex::new(
        r"(?m)^[ ]*pub(?:\([^)]*\))? (?:struct|enum|trait|type|union) (\w+)",
    )
    .unwrap();
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in source_files().iter().filter(|file| !file.is_test()) {
        for found in item.captures_iter(&file.code) {
            let names = places.entry(found[1].to_owned()).or_default();
            names.push(file.path.clone());
        }
    }
    places.retain(|_, files| files.len() > 1);
    assert!(places.is_empty(), "{places:#?}");
}

#[test]
fn lib_maps_every_room() {
    let map = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for (room, rank) in ROOMS {
        let row = format!("//! | {rank} | [`{room}`] |");
        assert!(map.contains(&row), "src/lib.rs has no row `{row}`");
    }
}
