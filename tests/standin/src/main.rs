//! Runs a stand-in by hand, for trying gcloud, skopeo and other clients against it: it
//! prints the shell variables that lead them there and serves until it is killed.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use standin::{Standin, Storage};

const EMAIL: &str = "ci@demo-project.iam.gserviceaccount.com";

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.unwrap_or_else(|| std::env::temp_dir().join("standin"));
    fs::create_dir_all(&directory)?;
    let standin = Standin::builder()
        .storage(Storage::Directory(directory.join("blobs")))
        .start();
    standin.grant(
        EMAIL,
        "roles/artifactregistry.createOnPushRepoAdmin",
        "projects/demo-project",
    );
    let (ca, key) = (directory.join("ca.pem"), directory.join("key.json"));
    fs::write(&ca, standin.ca_pem())?;
    fs::write(&key, standin.service_account(EMAIL, "demo-project"))?;
    println!("# plain registry: http://{}", standin.plain_address());
    println!("# over TLS: https://{}", standin.tls_address());
    println!("export HTTPS_PROXY={}", standin.proxy_url());
    println!("export SSL_CERT_FILE={}", ca.display());
    println!("export CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE={}", ca.display());
    println!("export GOOGLE_APPLICATION_CREDENTIALS={}", key.display());
    println!(
        "export CLOUDSDK_AUTH_ACCESS_TOKEN={}",
        standin.access_token(EMAIL)
    );
    println!("export PROJECT=demo-project");
    loop {
        std::thread::park();
    }
}
