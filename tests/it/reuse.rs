//! The cost of a second push of a `docker save` archive: layers of earlier images in the repository
//! are neither compressed nor sent.

use standin::{Behaviour, Fault, FaultAction, Mount, Request, RequestKind, Standin};

use crate::support::google::Google;
use crate::support::images::{TestImage, classic_archive};
use crate::support::run::{Outcome, Run};

/// Pushes an image under a tag. Returns the requests at the registry.
fn push(standin: &Standin, run: Run, test_image: &TestImage, tag: &str) -> (Vec<Request>, Outcome) {
    standin.clear_requests();
    let outcome = run
        .file("image.tar", classic_archive(&[(test_image, &["app:0"])]))
        .set("image", "image.tar")
        .set("tags", tag)
        .set("verify", "off")
        .set("digest_file", "digest")
        .succeeds();
    (standin.requests(), outcome)
}

fn count(requests: &[Request], kinds: &[RequestKind]) -> usize {
    let counted = requests.iter().filter(|r| kinds.contains(&r.kind));
    counted.count()
}

const BLOBS: [RequestKind; 5] = [
    RequestKind::BlobHead,
    RequestKind::BlobGet,
    RequestKind::BlobDownload,
    RequestKind::UploadStart,
    RequestKind::UploadPut,
];

#[test]
fn unchanged_archive_costs_four_requests() {
    let google = Google::start();
    let test_image = TestImage::new("app", 3);
    let (_, first) = push(&google.standin, google.run(), &test_image, "1");
    let (requests, second) = push(&google.standin, google.run(), &test_image, "1");
    assert_eq!(count(&requests, &BLOBS), 0, "{requests:#?}");
    let others: Vec<_> = requests
        .iter()
        // The permission check runs in parallel, and nothing waits for it.
        .filter(|request| !matches!(request.kind, RequestKind::Connect | RequestKind::Api))
        .map(|request| request.kind)
        .collect();
    assert_eq!(
        others,
        [
            RequestKind::Ping,
            RequestKind::OAuthToken,
            RequestKind::Token,
            RequestKind::ManifestGet,
        ]
    );
    assert_eq!(first.read("digest"), second.read("digest"));
}

#[test]
fn new_tag_of_unchanged_archive_costs_no_blob_request() {
    let google = Google::start();
    let test_image = TestImage::new("app", 3);
    push(&google.standin, google.run(), &test_image, "1");
    let (requests, _) = push(&google.standin, google.run(), &test_image, "2");
    assert_eq!(count(&requests, &BLOBS), 0, "{requests:#?}");
    assert_eq!(count(&requests, &[RequestKind::ManifestPut]), 1);
    assert_eq!(google.standin.tags("gcr.io", "acme/app").len(), 2);

    // In a registry without upload times the tags that are likely the newest are read.
    let plain = || Run::new().set("registry", google.standin.plain_address());
    push(&google.standin, plain(), &test_image, "1.9");
    let (requests, _) = push(&google.standin, plain(), &test_image, "1.10");
    assert_eq!(count(&requests, &BLOBS), 0, "{requests:#?}");
}

#[test]
fn only_the_changed_layer_is_sent() {
    let google = Google::start();
    let test_image = TestImage::new("app", 5);
    push(&google.standin, google.run(), &test_image, "1");
    let mut layers = test_image.layers.clone();
    layers[2] = TestImage::new("other", 1).layers[0].clone();
    let changed = TestImage::of("amd64", layers);
    let (requests, outcome) = push(&google.standin, google.run(), &changed, "2");
    // The layer and the config.
    assert_eq!(count(&requests, &[RequestKind::UploadPut]), 2);
    assert!(
        outcome.stderr.contains("4 of 5 layers already exist"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn disabled_reuse_recompresses_to_the_same_digest() {
    let google = Google::start();
    let test_image = TestImage::new("app", 3);
    let (_, first) = push(&google.standin, google.run(), &test_image, "1");
    let run = google.run().set("layer_reuse", "off");
    let (requests, second) = push(&google.standin, run, &test_image, "2");
    assert_eq!(first.read("digest"), second.read("digest"));
    assert_eq!(count(&requests, &[RequestKind::BlobGet]), 0);
    assert!(
        second.stderr.contains("compressed layer"),
        "{}",
        second.stderr
    );
}

#[test]
fn two_destinations_get_one_digest_though_one_is_empty() {
    let google = Google::start();
    let test_image = TestImage::new("app", 3);
    push(&google.standin, google.run(), &test_image, "1");
    let run = google.run().set("registry", "gcr.io, eu.gcr.io");
    push(&google.standin, run, &test_image, "1");
    assert_eq!(
        google.standin.tags("gcr.io", "acme/app"),
        google.standin.tags("eu.gcr.io", "acme/app")
    );
}

/// Pushes to a repository that has the image and to one that gets it from there without a mount,
/// while this fault hits the download.
fn read_back(fault: Fault) -> Outcome {
    let behaviour = Behaviour {
        mount: Mount::Never,
        ..Behaviour::default()
    };
    let destination = Standin::builder().behaviour(behaviour).start();
    let address = destination.plain_address();
    let test_image = TestImage::new("app", 2);
    let one = format!("{address}/app:1");
    push(&destination, Run::new(), &test_image, &one);
    destination.fault(fault);
    let both = format!("{address}/app:2\n{address}/copy:2");
    let run = Run::new().set("retry_timeout", "1s");
    let (_, outcome) = push(&destination, run, &test_image, &both);
    let tags = |repository: &str| destination.tags("plain", repository);
    assert_eq!(tags("app")["2"], tags("copy")["2"]);
    outcome
}

#[test]
fn layer_read_from_another_destination_is_resumed() {
    let cut = FaultAction::CutResponseAt(10);
    let outcome = read_back(Fault::once(RequestKind::BlobGet, cut));
    assert!(
        outcome.stderr.contains("continuing from there"),
        "{}",
        outcome.stderr
    );
    assert!(
        !outcome.stderr.contains("compressed layer"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn unreadable_layer_is_recompressed_with_a_note() {
    for (action, cause) in [
        (FaultAction::status(503), "503 UNAVAILABLE"),
        (FaultAction::CutResponseAt(0), "could not read the image"),
    ] {
        let outcome = read_back(Fault::always(RequestKind::BlobGet, action));
        let line = outcome.stderr.lines();
        let line = line
            .filter(|line| line.contains("could not read the blob "))
            .find(|line| line.contains("compressing every layer again"));
        let line = line.unwrap_or_else(|| panic!("{}", outcome.stderr));
        assert!(line.contains(cause), "{line}");
    }
}
