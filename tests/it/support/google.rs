//! The stand-in for Google, and a run that reaches it through a proxy.

use std::path::Path;
use std::time::{Duration, Instant};

use standin::{Behaviour, Project, RepositoryOptions, RequestKind, Standin};

use super::run::Run;

/// The account that pushes.
pub const ACCOUNT: &str = "ci@acme.iam.gserviceaccount.com";

/// Google with the project `acme`: the first push creates `gcr.io`, the repository `containers`
/// exists in `us` and `europe`, and [`ACCOUNT`] may push to both.
pub struct Google {
    pub standin: Standin,
    pub key: String,
}

impl Google {
    pub fn start() -> Self {
        Self::with(Behaviour::default())
    }

    pub fn with(behaviour: Behaviour) -> Self {
        Self::of(Standin::builder().behaviour(behaviour).start())
    }

    /// Wraps a fresh stand-in.
    pub fn of(standin: Standin) -> Self {
        standin.grant(
            ACCOUNT,
            "roles/artifactregistry.createOnPushWriter",
            "projects/acme",
        );
        for location in ["us", "europe"] {
            let name = format!("projects/acme/locations/{location}/repositories/containers");
            standin.create_repository(&name, RepositoryOptions::default());
        }
        let key = standin.service_account(ACCOUNT, "acme");
        Self { standin, key }
    }

    /// Describes the project to Google's APIs: its number, and the APIs that a push needs.
    pub fn describe_project(&self, number: &str) {
        let project = Project::new(number)
            .service("artifactregistry")
            .service("iamcredentials");
        self.standin.project("acme", project);
    }

    /// A run that reaches it, signed in with the key.
    pub fn run(&self) -> Run {
        self.with_environment(Run::new())
            .set("credentials_json", &self.key)
    }

    /// Gives a run the proxy and CA that lead to the stand-in, as a company's network does.
    pub fn with_environment(&self, run: Run) -> Run {
        run.variable("HTTPS_PROXY", self.standin.proxy_url())
            .set("ca_certificates", self.standin.ca_pem())
    }

    /// The variables that lead Go programs to the stand-in, with the CA in a file of `folder`.
    pub fn environment(&self, folder: &Path) -> Vec<(String, String)> {
        let ca = folder.join("ca.pem");
        std::fs::write(&ca, self.standin.ca_pem()).unwrap();
        vec![
            ("HTTPS_PROXY".to_owned(), self.standin.proxy_url()),
            ("SSL_CERT_FILE".to_owned(), ca.display().to_string()),
        ]
    }

    /// Waits until this number of requests of a kind has come.
    pub fn wait_for(&self, kind: RequestKind, count: usize) {
        let came = || {
            let requests = self.standin.requests();
            requests.iter().filter(|r| r.kind == kind).count()
        };
        let given_up = Instant::now() + Duration::from_secs(120);
        while came() < count {
            assert!(Instant::now() < given_up, "{:#?}", self.standin.requests());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// True if no manifest was put and no tag moved.
    pub fn is_untouched(&self) -> bool {
        let requests = self.standin.requests();
        let put = |request: &&standin::Request| request.kind == RequestKind::ManifestPut;
        !requests.iter().any(|request| put(&request))
    }
}
