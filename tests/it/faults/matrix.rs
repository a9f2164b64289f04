//! Every kind of request, every fault, every frequency: the push succeeds or says why, and no tag
//! ever points at an incomplete image.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use standin::{Fault, FaultAction, RequestKind, Standin, Times};

use super::{archive, complete_digest};
use crate::support::google::Google;
use crate::support::images::{TestImage, classic_archive};
use crate::support::run::Outcome;

/// What is pushed where, so that every kind of request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    /// An OCI archive to a repository that holds nothing.
    Fresh,
    /// A `docker save` archive to a repository with an earlier image to reuse.
    Update,
    /// From one registry, which has the fault, to another.
    Mirror,
}

/// How often the fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frequency {
    Once,
    Twice,
    ForEver,
}

#[derive(Clone, Debug)]
struct Case {
    number: usize,
    scenario: Scenario,
    on: RequestKind,
    what: &'static str,
    action: FaultAction,
    often: Frequency,
}

impl Case {
    fn name(&self) -> String {
        let Self {
            scenario,
            on,
            what,
            often,
            ..
        } = self;
        format!("{scenario:?}: {on:?}: {what}: {often:?}")
    }
}

const REQUESTS: [(Scenario, RequestKind); 18] = [
    (Scenario::Fresh, RequestKind::Ping),
    (Scenario::Fresh, RequestKind::Token),
    (Scenario::Fresh, RequestKind::ManifestHead),
    (Scenario::Fresh, RequestKind::UploadStart),
    (Scenario::Fresh, RequestKind::UploadPut),
    (Scenario::Fresh, RequestKind::ManifestPut),
    (Scenario::Fresh, RequestKind::TagsList),
    (Scenario::Update, RequestKind::ManifestGet),
    (Scenario::Update, RequestKind::BlobGet),
    (Scenario::Update, RequestKind::BlobDownload),
    (Scenario::Update, RequestKind::BlobHead),
    (Scenario::Update, RequestKind::UploadPut),
    (Scenario::Update, RequestKind::ManifestPut),
    (Scenario::Mirror, RequestKind::Ping),
    (Scenario::Mirror, RequestKind::Token),
    (Scenario::Mirror, RequestKind::ManifestGet),
    (Scenario::Mirror, RequestKind::BlobGet),
    (Scenario::Mirror, RequestKind::BlobDownload),
];

fn faults() -> Vec<(&'static str, FaultAction)> {
    let busy = |retry_after| FaultAction::Status {
        code: 429,
        retry_after,
        body: None,
        headers: Vec::new(),
    };
    vec![
        ("408", FaultAction::status(408)),
        ("429", busy(None)),
        ("429 with Retry-After", busy(Some(1))),
        ("500", FaultAction::status(500)),
        ("502", FaultAction::status(502)),
        ("503", FaultAction::status(503)),
        ("504", FaultAction::status(504)),
        ("reset before the answer", FaultAction::ResetBeforeAnswer),
        ("reset within the request", FaultAction::CutRequestAt(10)),
        ("reset in place of the answer", FaultAction::ResetAfterWork),
        ("truncated answer", FaultAction::CutResponseAt(10)),
        ("stall", FaultAction::Stall),
        ("stall within the answer", FaultAction::StallResponseAt(0)),
        ("changed byte", FaultAction::CorruptByte(20)),
        ("tokens run out", FaultAction::ExpireTokens),
    ]
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (scenario, on) in REQUESTS {
        for (what, action) in faults() {
            for often in [Frequency::Once, Frequency::Twice, Frequency::ForEver] {
                // A request that expires all tokens each time, beside one that needs a token: it is
                // chance whether the other one ever succeeds.
                let runs_beside_another = matches!(
                    (scenario, on),
                    (Scenario::Mirror, RequestKind::BlobDownload) | (_, RequestKind::TagsList)
                );
                let is_chance =
                    runs_beside_another && (what, often) == ("tokens run out", Frequency::ForEver);
                if is_chance {
                    continue;
                }
                cases.push(Case {
                    number: cases.len(),
                    scenario,
                    on,
                    what,
                    action: action.clone(),
                    often,
                });
            }
        }
    }
    cases
}

/// The images of the matrix, made once.
struct Images {
    oci: (Vec<u8>, String),
    earlier: PreviousImage,
    docker: Vec<u8>,
}

/// An image as an earlier push left it.
struct PreviousImage {
    media_type: String,
    manifest: Vec<u8>,
    blobs: Vec<Vec<u8>>,
}

impl PreviousImage {
    fn push(archive: Vec<u8>) -> Self {
        let google = Google::start();
        google
            .run()
            .file("image.tar", archive)
            .set("image", "image.tar")
            .set("tags", "gcr.io/acme/app:0")
            .succeeds();
        let manifest = google.standin.manifest("gcr.io", "acme/app", "0");
        let (media_type, manifest) = manifest.unwrap();
        let named: Value = serde_json::from_slice(&manifest).unwrap();
        let layers = named["layers"].as_array().unwrap();
        let blobs = layers.iter().chain([&named["config"]]).map(|blob| {
            let digest = blob["digest"].as_str().unwrap();
            google.standin.blob("gcr.io", "acme/app", digest).unwrap()
        });
        Self {
            media_type,
            manifest: manifest.clone(),
            blobs: blobs.collect(),
        }
    }

    /// Puts it under the tag `0` without a request.
    fn put(&self, standin: &Standin, repository: &str) {
        for blob in &self.blobs {
            standin.put_blob("gcr.io", repository, blob);
        }
        standin.put_manifest("gcr.io", repository, "0", &self.media_type, &self.manifest);
    }
}

impl Images {
    fn new() -> Self {
        let test_image = TestImage::new("app", 2);
        let mut layers = test_image.layers.clone();
        layers.push(TestImage::new("next", 1).layers[0].clone());
        Self {
            oci: archive(&test_image),
            earlier: PreviousImage::push(classic_archive(&[(&test_image, &["app:0"])])),
            docker: classic_archive(&[(&TestImage::of("amd64", layers), &["app:1"])]),
        }
    }
}

/// Runs one case. Returns what is wrong with its outcome.
fn run(case: &Case, google: &Google, images: &Images) -> Result<(), String> {
    let standin = &google.standin;
    let name = format!("app-{}", case.number);
    let repository = format!("acme/{name}");
    let push = |archive: &[u8], name: &str, tag: &str| {
        google
            .run()
            .file("image.tar", archive)
            .set("image", "image.tar")
            .set("name", name)
            .set("tags", tag)
    };
    standin.clear_faults();
    let (run, host) = match case.scenario {
        Scenario::Fresh => (push(&images.oci.0, &name, "1"), "gcr.io"),
        Scenario::Update => {
            images.earlier.put(standin, &repository);
            (push(&images.docker, &name, "1"), "gcr.io")
        }
        Scenario::Mirror => {
            if standin.tags("gcr.io", "acme/source").is_empty() {
                push(&images.oci.0, "source", "1").succeeds();
            }
            let run = google
                .run()
                .set("image", "docker://gcr.io/acme/source:1")
                .set("tags", format!("eu.gcr.io/acme/{name}:1"));
            (run, "eu.gcr.io")
        }
    };
    let times = match case.often {
        Frequency::Once => Times::N(1),
        Frequency::Twice => Times::N(2),
        Frequency::ForEver => Times::Forever,
    };
    standin.clear_requests();
    standin.fault(Fault {
        times,
        ..Fault::once(case.on, case.action.clone()).at("gcr.io")
    });
    // Long enough for two retries, and short for a lasting fault.
    let allowed = match case.often {
        Frequency::Once | Frequency::Twice => "30s",
        Frequency::ForEver => "2s",
    };
    let stands_still = case.what.starts_with("stall");
    let outcome = run
        .set("retry_timeout", allowed)
        .set("stall_timeout", if stands_still { "1s" } else { "30s" })
        .set("finish_timeout", if stands_still { "1s" } else { "30s" })
        .set("timeout", "2m")
        .run();
    standin.clear_faults();
    if !standin.requests().iter().any(|request| request.faulted) {
        return Err("it never happened".to_owned());
    }
    let tagged = complete_digest(standin, host, &repository, "1");
    check_outcome(case, &outcome, tagged, images)
}

/// Compares the outcome of a case with the expected one.
fn check_outcome(
    case: &Case,
    outcome: &Outcome,
    tagged: Option<String>,
    images: &Images,
) -> Result<(), String> {
    let expected = expected_code(case);
    let stderr = || outcome.stderr.clone();
    if outcome.code != expected {
        return Err(format!(
            "exit code {}, not {expected}\n{}",
            outcome.code,
            stderr()
        ));
    }
    if outcome.stderr.contains("panicked") || outcome.stderr.contains("stopped after") {
        return Err(stderr());
    }
    match (expected, tagged) {
        (0, None) => Err(format!("it is not tagged\n{}", stderr())),
        (0, Some(digest)) if case.scenario != Scenario::Update && digest != images.oci.1 => {
            Err(format!("{digest} is tagged\n{}", stderr()))
        }
        _ => Ok(()),
    }
}

/// The exit code: a transient fault costs nothing; a lasting one fails the push, unless it is about
/// something that a push can do without.
fn expected_code(case: &Case) -> i32 {
    use RequestKind as On;
    use Scenario::Mirror;

    if (case.what, case.on) == ("changed byte", On::ManifestPut) {
        // A refused manifest is not put again. One that was built here is put once in the other
        // form.
        return match (case.scenario, case.often) {
            (Scenario::Update, Frequency::Once) => 0,
            _ => 1,
        };
    }
    if case.often != Frequency::ForEver {
        return 0;
    }
    let is_learning = matches!(case.on, On::BlobGet | On::BlobDownload | On::TagsList);
    if is_learning && case.scenario != Mirror {
        return 0;
    }
    let has_body = match case.on {
        On::Token | On::ManifestGet | On::BlobDownload => true,
        // The body of a 401 is not read, and the other answers have no body.
        _ => false,
    };
    match case.what {
        "reset in place of the answer" if case.on == On::UploadPut => 0,
        "reset before the answer" | "reset in place of the answer" | "stall" => 4,
        "reset within the request" if matches!(case.on, On::UploadPut | On::ManifestPut) => 4,
        "stall within the answer" if has_body => 4,
        // Each attempt reads more bytes.
        "truncated answer" if case.on == On::BlobDownload => 0,
        "truncated answer" if has_body => 4,
        "reset within the request" | "stall within the answer" | "truncated answer" => 0,
        // The image is valid, and the next run may have a better connection.
        "changed byte" if case.on == On::UploadPut => 4,
        // The manifest under the tag is overwritten, whatever it is.
        "changed byte" if case.on == On::ManifestGet && case.scenario != Mirror => 0,
        "changed byte" if has_body => 1,
        "changed byte" => 0,
        // The URLs of uploads and downloads carry their own tokens.
        "tokens run out" if matches!(case.on, On::Ping | On::UploadPut) => 0,
        "tokens run out" if matches!(case.on, On::ManifestHead | On::BlobHead) => 0,
        "tokens run out" => 3,
        // GET is used instead and gives the same answer.
        _ if matches!(case.on, On::ManifestHead | On::BlobHead) => 0,
        _ => 4,
    }
}

#[test]
fn push_under_any_fault_succeeds_or_explains() {
    let cases = cases();
    assert!(cases.len() >= 300, "{}", cases.len());
    let images = Images::new();
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    // Most of them wait most of the time.
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let google = Google::start();
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(fault) = run(case, &google, &images) {
                        wrong
                            .lock()
                            .unwrap()
                            .push(format!("{}: {fault}", case.name()));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
