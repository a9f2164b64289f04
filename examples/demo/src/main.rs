//! The main job without an account: starts the stand-in for Google in this process, pushes an image
//! to `gcr.io` through it, lists what arrived, and writes the pull secret.
//!
//! `cargo run -p demo [ARCHIVE]`: an archive that `docker save` wrote, or any other that
//! gcr-push reads; without one, a small image is made on the spot.

#![expect(clippy::print_stdout, reason = "a demo shows what a user would see")]

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use gcr_push::ci::log;
use gcr_push::config::{self, CommandLine, CommandName};
use gcr_push::oci::digest::Digest;
use standin::Standin;

const PROJECT: &str = "demo-project";
const PUSHER: &str = "ci@demo-project.iam.gserviceaccount.com";
const READER: &str = "cluster@demo-project.iam.gserviceaccount.com";

fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "This demo pushes an image to gcr.io, checks it, lists what is there, and writes the pull\n\
         secret for a cluster. It needs no account: a stand-in in this process replaces Google,\n\
         and gcr-push reaches it as a proxy.\n"
    );
    let folder = tempfile::tempdir()?;
    let archive = match std::env::args_os().nth(1) {
        Some(path) => PathBuf::from(path),
        None => {
            let path = folder.path().join("image.tar");
            fs::write(&path, docker_archive()?)?;
            println!("The image is a small one, as `docker save hello:1.0` writes it.");
            path
        }
    };
    let google = Standin::start();
    let role = "roles/artifactregistry.createOnPushWriter";
    let project = format!("projects/{PROJECT}");
    google.grant(PUSHER, role, &project);
    google.grant(READER, "roles/artifactregistry.reader", &project);
    let key = folder.path().join("pusher.json");
    fs::write(&key, google.service_account(PUSHER, PROJECT))?;
    let reader_key = folder.path().join("reader.json");
    fs::write(&reader_key, google.service_account(READER, PROJECT))?;
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, google.ca_pem())?;
    let network = [
        ("HTTPS_PROXY", google.proxy_url()),
        ("GCR_PUSH_CA_CERTIFICATES", text(&ca)),
        ("GCR_PUSH_CREDENTIALS_JSON", text(&key)),
    ];
    for (name, value) in &network {
        println!("$ export {name}={value}");
    }
    let run = |word: CommandName, variables: &[(&str, String)]| gcr_push(word, variables, &network);
    let name = ("GCR_PUSH_NAME", "hello".to_owned());
    let tags = ("GCR_PUSH_TAGS", "1.0, latest".to_owned());
    let image = ("GCR_PUSH_IMAGE", text(&archive));
    run(CommandName::Push, &[image, name.clone(), tags])?;
    run(CommandName::List, &[])?;
    run(CommandName::List, std::slice::from_ref(&name))?;
    let secret_file = folder.path().join("pull-secret.yaml");
    let secret = [
        name,
        ("GCR_PUSH_TAGS", "1.0".to_owned()),
        ("GCR_PUSH_PULL_SECRET", "gcr-pull".to_owned()),
        ("GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON", text(&reader_key)),
        ("GCR_PUSH_PULL_SECRET_FILE", text(&secret_file)),
    ];
    run(CommandName::PullSecret, &secret)?;
    println!("\n$ cat {}", secret_file.display());
    for line in fs::read_to_string(&secret_file)?.lines() {
        let shown: String = line.chars().take(72).collect();
        let rest = if shown.len() < line.len() { "…" } else { "" };
        println!("{shown}{rest}");
    }
    println!(
        "\nNext:\n  \
         cargo run -p demo -- IMAGE.tar   the same with your own image\n  \
         cargo run -- --help              the commands and flags of gcr-push\n  \
         docs/quickstart.md               the same with your own project, step by step"
    );
    Ok(())
}

/// Runs the program as `main` does, after showing the line that a user would type.
fn gcr_push(
    word: CommandName,
    variables: &[(&str, String)],
    exported: &[(&str, String)],
) -> Result<(), Box<dyn Error>> {
    let set: String = variables
        .iter()
        .map(|(name, value)| format!("{name}='{value}' "))
        .collect();
    println!("\n$ {set}gcr-push {}", word.word());
    let environment = exported
        .iter()
        .chain(variables)
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let line = CommandLine::of(word);
    log::start(&config::console(&line, environment.clone(), &config::Disk));
    let request = config::request(&line, environment, &config::Disk)?;
    gcr_push::run(request, std::io::stdout()).map_err(|failure| {
        // The failure reads as it does in the program.
        failure.texts().join("\n\n").into()
    })
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// An image of one layer, as `docker save` writes it.
fn docker_archive() -> Result<Vec<u8>, Box<dyn Error>> {
    let layer = tar_file(&[("hello.txt", b"Hello from gcr.io.\n".as_slice())])?;
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        Digest::of(&layer)
    );
    let config_name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let manifest = format!(
        r#"[{{"Config":"{config_name}","RepoTags":["hello:1.0"],"Layers":["layer/layer.tar"]}}]"#
    );
    Ok(tar_file(&[
        ("layer/layer.tar", &layer),
        (&config_name, config.as_bytes()),
        ("manifest.json", manifest.as_bytes()),
    ])?)
}

fn tar_file(members: &[(&str, &[u8])]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *bytes)?;
    }
    archive.into_inner()
}
