//! `gcr-push setup` against the stand-in: what it plans, creates, finds again and removes.

mod apply;
mod conflicts;
mod federation;
mod gcloud;
mod interrupted;
mod keys;
mod legacy_buckets;
mod refusals;
mod remove;
mod report;

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};
use standin::{Behaviour, Project, Standin, Switches};

use crate::support::run::{Outcome, Run};

const ADMIN: &str = "admin@example.com";
const PUSHER: &str = "gcr-pusher@acme.iam.gserviceaccount.com";
const PULLER: &str = "gcr-puller@acme.iam.gserviceaccount.com";
const GCR: &str = "projects/acme/locations/us/repositories/gcr.io";

/// Google with the project `acme` as a user has just created it: billing, no API enabled, nothing
/// in it; [`ADMIN`] owns it.
struct Cloud {
    standin: Standin,
    token: String,
}

impl Cloud {
    fn new() -> Self {
        Self::with(Switches::default())
    }

    fn with(switches: Switches) -> Self {
        let behaviour = Behaviour {
            cloud: switches,
            ..Behaviour::default()
        };
        let standin = Standin::builder().behaviour(behaviour).start();
        standin.project("acme", Project::new("42"));
        standin.grant(ADMIN, "roles/owner", "projects/acme");
        let token = standin.access_token(ADMIN);
        Self { standin, token }
    }

    /// `gcr-push setup` in the project, signed in as its owner.
    fn setup(&self) -> Run {
        Run::command("setup")
            .variable("HTTPS_PROXY", self.standin.proxy_url())
            .set("ca_certificates", self.standin.ca_pem())
            .set("access_token", &self.token)
            .set("project_id", "acme")
    }

    fn apply(&self) -> Run {
        self.setup().set("setup_apply", "true")
    }

    fn remove(&self) -> Run {
        self.setup().set("setup_remove", "true")
    }

    /// The requests that change something, `POST HOST/PATH` each.
    fn changes(&self) -> Vec<String> {
        let requests = self.standin.requests();
        let changing = requests.iter().filter(|request| request.changes());
        changing
            .map(|request| format!("{} {}{}", request.method, request.host, request.path))
            .collect()
    }

    /// A request of another program of the owner.
    fn request(&self, method: &str, url: &str, body: &Value) -> Value {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, self.standin.ca_pem()).unwrap();
        let output = Command::new("curl")
            .args(["--silent", "--fail-with-body", "--request", method])
            .args(["--proxy", &self.standin.proxy_url(), "--cacert"])
            .arg(&ca)
            .args(["--header", &format!("Authorization: Bearer {}", self.token)])
            .args(["--header", "Content-Type: application/json"])
            .args(match body {
                Value::Null => Vec::new(),
                body => vec!["--data".to_owned(), body.to_string()],
            })
            .arg(format!("https://{url}"))
            .output()
            .expect("`curl` is needed: tests/run installs it");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Another program deletes something.
    fn delete(&self, url: &str) {
        self.request("DELETE", url, &Value::Null);
    }

    /// Another program creates an account.
    fn account(&self, id: &str) {
        let url = "iam.googleapis.com/v1/projects/acme/serviceAccounts";
        self.request("POST", url, &json!({"accountId": id}));
    }

    /// The bindings of a resource, `ROLE MEMBER` each, sorted.
    fn granted(&self, resource: &str) -> Vec<String> {
        granted(&self.standin.bindings(resource))
    }
}

fn granted(bindings: &Value) -> Vec<String> {
    let mut granted = Vec::new();
    for binding in bindings.as_array().unwrap() {
        for member in binding["members"].as_array().unwrap() {
            let condition = match &binding["condition"] {
                Value::Null => String::new(),
                condition => format!(" if {}", condition["title"]),
            };
            granted.push(format!(
                "{} {}{condition}",
                binding["role"].as_str().unwrap(),
                member.as_str().unwrap()
            ));
        }
    }
    granted.sort();
    granted
}

/// The state of each row of the plan, by its subject.
fn states(outcome: &Outcome) -> BTreeMap<String, String> {
    let rows = outcome.stdout.lines().skip(1);
    rows.take_while(|line| !line.is_empty())
        .map(|line| {
            let cells: Vec<&str> = line.split("  ").filter(|cell| !cell.is_empty()).collect();
            (cells[1].trim().to_owned(), cells[0].trim().to_owned())
        })
        .collect()
}
