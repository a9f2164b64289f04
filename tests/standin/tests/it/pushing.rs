//! Uploads and manifests that succeed, in every form of Google and others.

use serde_json::json;
use standin::{Mount, RequestKind, Standin, Storage, UploadLocation};

use crate::http_client::Client;
use crate::images::{
    DOCKER_MANIFEST, Image, OCI_INDEX, OCI_MANIFEST, descriptor, index, location, open_upload,
    push_blob, pusher, put_manifest, put_upload, ready, sha256,
};

#[test]
fn blob_is_uploaded_by_post_and_put_with_optional_patch() {
    let standin = ready();
    let client = pusher(&standin);
    let answer = push_blob(&client, "proj/app", b"one");
    assert_eq!(answer.status, 201);
    let digest = sha256(b"one");
    let place = format!("/v2/proj/app/blobs/{digest}");
    assert_eq!(answer.header("location"), Some(place.as_str()));
    assert_eq!(
        answer.header("docker-content-digest"),
        Some(digest.as_str())
    );
    let opened = open_upload(&client, "proj/app");
    assert!(opened.starts_with("/artifacts-uploads/namespaces/proj/repositories/gcr.io/uploads/"));
    let patched = client.send("PATCH", &opened, &[], b"two");
    assert_eq!(patched.status, 202);
    let next = location(&patched);
    assert_ne!(next, opened, "a PATCH moves the upload");
    assert_eq!(
        put_upload(&client, &opened, b"", &sha256(b"two")).status,
        404
    );
    assert_eq!(put_upload(&client, &next, b"", &sha256(b"two")).status, 201);
    for bytes in [&b"one"[..], b"two"] {
        let stored = standin.blob("gcr.io", "proj/app", &sha256(bytes));
        assert_eq!(stored.as_deref(), Some(bytes));
        assert_eq!(standin.blob("gcr.io", "proj/other", &sha256(bytes)), None);
    }
    let kinds: Vec<_> = standin
        .requests()
        .iter()
        .map(|request| request.kind)
        .collect();
    assert_eq!(
        kinds[..4],
        [
            RequestKind::Connect,
            RequestKind::UploadStart,
            RequestKind::Connect,
            RequestKind::UploadPut
        ]
    );
    assert!(kinds.contains(&RequestKind::UploadPatch));
}

#[test]
fn upload_url_needs_no_credential() {
    let standin = ready();
    let client = pusher(&standin);
    let opened = open_upload(&client, "proj/app");
    let answer = put_upload(&client.anonymous(), &opened, b"x", &sha256(b"x"));
    assert_eq!(answer.status, 201);
}

#[test]
fn upload_location_takes_every_form() {
    let standin = ready();
    let client = pusher(&standin);
    for (form, query, length, start) in [
        (
            UploadLocation::OutsideV2,
            false,
            21_000,
            "/artifacts-uploads/namespaces/proj/",
        ),
        (UploadLocation::OutsideV2, true, 64, "/artifacts-uploads/"),
        (
            UploadLocation::UnderV2,
            false,
            64,
            "/v2/proj/app/blobs/uploads/",
        ),
        (
            UploadLocation::Absolute,
            true,
            64,
            "https://gcr.io/artifacts-uploads/",
        ),
        (
            UploadLocation::OtherHost("storage.googleapis.com".to_owned()),
            false,
            64,
            "https://storage.googleapis.com/artifacts-uploads/",
        ),
    ] {
        standin.change(|behaviour| {
            behaviour.upload_location = form.clone();
            behaviour.upload_location_has_query = query;
            behaviour.upload_token_length = length;
        });
        let answer = client.send("POST", "/v2/proj/app/blobs/uploads/", &[], b"");
        let upload_url = answer.header("location").unwrap().to_owned();
        assert!(upload_url.starts_with(start), "{form:?}: {upload_url:.80}");
        assert!(upload_url.len() > length);
        assert_eq!(upload_url.contains('?'), query);
        let bytes = format!("{form:?}");
        let digest = sha256(bytes.as_bytes());
        let path = location(&answer);
        let other = matches!(form, UploadLocation::OtherHost(_));
        let target = if other {
            Client::at(&standin, "storage.googleapis.com")
        } else {
            client.clone()
        };
        if other {
            // The credential belongs to gcr.io; this host refuses it, and the log shows it.
            let carried = target.clone().bearer("x");
            let refused = put_upload(&carried, &path, bytes.as_bytes(), &digest);
            assert_eq!(refused.status, 400);
            let last = standin.requests().pop().unwrap();
            assert_eq!(last.authorization.as_deref(), Some("Bearer"));
        }
        let put = put_upload(&target, &path, bytes.as_bytes(), &digest);
        assert_eq!(put.status, 201, "{form:?}: {}", put.text());
    }
}

#[test]
fn mount_answers_201_if_possible_else_202() {
    let standin = ready();
    standin.create_repository(
        "projects/proj/locations/us/repositories/us.gcr.io",
        standin::RepositoryOptions::default(),
    );
    let client = pusher(&standin);
    push_blob(&client, "proj/from", b"shared");
    let (shared, missing) = (sha256(b"shared"), sha256(b"missing"));
    let mount = |name: &str, digest: &str, from: &str| {
        let path = format!("/v2/{name}/blobs/uploads/?mount={digest}{from}");
        client.send("POST", &path, &[], b"")
    };
    for (digest, from, status) in [
        (&shared, "&from=proj/from", 201),
        (&missing, "&from=proj/from", 202),
        (&shared, "&from=proj/elsewhere", 202),
        (&shared, "&from=stranger/from", 202),
        (&shared, "", 202),
    ] {
        let answer = mount("proj/to", digest, from);
        assert_eq!(answer.status, status, "{from}");
        let place = answer.header("location").unwrap();
        assert_eq!(
            place.starts_with("/v2/proj/to/blobs/sha256:"),
            status == 201
        );
    }
    assert!(standin.blob("gcr.io", "proj/to", &shared).is_some());
    assert_eq!(standin.requests().pop().unwrap().kind, RequestKind::Mount);
    standin.change(|behaviour| behaviour.mount = Mount::Never);
    let answer = mount("proj/never", &shared, "&from=proj/from");
    assert_eq!(answer.status, 202);
    let put = put_upload(&client, &location(&answer), b"shared", &shared);
    assert_eq!(put.status, 201, "a refused mount is an ordinary upload");
}

#[test]
fn mounts_between_repositories_can_be_disabled() {
    let standin = ready();
    let resource = "projects/proj/locations/us/repositories/other";
    standin.create_repository(resource, standin::RepositoryOptions::default());
    let client = Client::at(&standin, "us-docker.pkg.dev")
        .bearer(&standin.access_token(crate::images::PUSHER));
    push_blob(&client, "proj/gcr.io/from", b"shared");
    let digest = sha256(b"shared");
    let path = format!("/v2/proj/other/to/blobs/uploads/?mount={digest}&from=proj/gcr.io/from");
    standin.change(|behaviour| behaviour.mount = Mount::SameRepository);
    assert_eq!(client.send("POST", &path, &[], b"").status, 202);
    standin.change(|behaviour| behaviour.mount = Mount::SameHost);
    assert_eq!(client.send("POST", &path, &[], b"").status, 201);
}

#[test]
fn monolithic_post_is_accepted_only_if_enabled() {
    let standin = ready();
    let client = pusher(&standin);
    let path = format!("/v2/proj/app/blobs/uploads/?digest={}", sha256(b"x"));
    assert_eq!(client.send("POST", &path, &[], b"x").status, 202);
    standin.change(|behaviour| behaviour.single_post = true);
    assert_eq!(client.send("POST", &path, &[], b"x").status, 201);
    let wrong = format!("/v2/proj/app/blobs/uploads/?digest={}", sha256(b"y"));
    assert_eq!(client.send("POST", &wrong, &[], b"x").status, 400);
}

#[test]
fn upload_can_be_queried_and_cancelled() {
    let standin = ready();
    let client = pusher(&standin);
    let opened = open_upload(&client, "proj/app");
    let status = client.get(&opened);
    assert_eq!(status.status, 204);
    let next = location(&status);
    assert_eq!(client.send("DELETE", &next, &[], b"").status, 204);
    let gone = put_upload(&client, &next, b"x", &sha256(b"x"));
    assert_eq!(gone.refusal(), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()));
}

#[test]
fn manifests_are_stored_byte_for_byte_by_tag_and_digest() {
    let standin = ready();
    let client = pusher(&standin);
    let image = Image::new("app");
    image.push_blobs(&client, "proj/app");
    // Unusual white space has to survive.
    let spaced = [b" \n".as_slice(), &image.manifest, b"\n\n"].concat();
    let answer = put_manifest(&client, "proj/app", "v1", OCI_MANIFEST, &spaced);
    assert_eq!(answer.status, 201);
    let digest = sha256(&spaced);
    assert_eq!(
        answer.header("docker-content-digest"),
        Some(digest.as_str())
    );
    let expected = Some((OCI_MANIFEST.to_owned(), spaced));
    assert_eq!(standin.manifest("gcr.io", "proj/app", "v1"), expected);
    assert_eq!(standin.manifest("gcr.io", "proj/app", &digest), expected);
    let moved = put_manifest(&client, "proj/app", "v1", OCI_MANIFEST, &image.manifest);
    assert_eq!(moved.status, 201);
    let tags = standin.tags("gcr.io", "proj/app");
    assert_eq!(tags["v1"], image.digest());
    assert_eq!(
        standin.manifest("gcr.io", "proj/app", &digest),
        expected,
        "untagged, not gone"
    );
    let list = index(&[&image.manifest]);
    let answer = put_manifest(&client, "proj/app", &sha256(&list), OCI_INDEX, &list);
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[test]
fn docker_manifests_and_foreign_layers_are_accepted() {
    let standin = ready();
    let client = pusher(&standin);
    push_blob(&client, "proj/app", b"{}");
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": descriptor("application/vnd.docker.container.image.v1+json", b"{}"),
        "layers": [descriptor(
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            b"kept by Microsoft",
        )],
    });
    let manifest = manifest.to_string();
    let answer = put_manifest(
        &client,
        "proj/app",
        "w",
        DOCKER_MANIFEST,
        manifest.as_bytes(),
    );
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[test]
fn manifest_with_subject_is_acknowledged() {
    let standin = ready();
    let client = pusher(&standin);
    push_blob(&client, "proj/app", b"{}");
    let subject = descriptor(OCI_MANIFEST, b"need not be there");
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [],
        "subject": subject,
    });
    let bytes = manifest.to_string();
    let answer = put_manifest(&client, "proj/app", "s", OCI_MANIFEST, bytes.as_bytes());
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("oci-subject"), subject["digest"].as_str());
}

#[test]
fn blobs_can_be_kept_in_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let standin = Standin::builder()
        .storage(Storage::Directory(directory.path().join("blobs")))
        .start();
    crate::images::prepare(&standin);
    let client = pusher(&standin);
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    assert_eq!(push_blob(&client, "proj/app", &large).status, 201);
    assert!(standin.blob("gcr.io", "proj/app", &sha256(&large)) == Some(large.clone()));
    let files: Vec<_> = std::fs::read_dir(directory.path().join("blobs"))
        .unwrap()
        .collect();
    assert_eq!(files.len(), 1, "no upload is left behind");
    let redirect = client.get(&format!("/v2/proj/app/blobs/{}", sha256(&large)));
    let read = client.get(&location(&redirect));
    assert!(read.complete && read.body == large);
    let log = standin.requests();
    let put = log
        .iter()
        .find(|request| request.kind == RequestKind::UploadPut)
        .unwrap();
    assert_eq!(put.received_bytes, 12_000_000);
    let get = log
        .iter()
        .find(|request| request.kind == RequestKind::BlobDownload)
        .unwrap();
    assert_eq!((get.status, get.sent_bytes), (200, 12_000_000));
}

#[test]
fn chunked_transfer_coding_is_accepted_and_logged() {
    let standin = ready();
    let client = pusher(&standin);
    let opened = open_upload(&client, "proj/app");
    let target = format!("{opened}?digest={}", sha256(b"chunks"));
    let chunked = [("transfer-encoding", "chunked")];
    let body = b"3\r\nchu\r\n3\r\nnks\r\n0\r\n\r\n";
    let answer = client.try_send("PUT", &target, &chunked, body).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    let put = standin.requests().pop().unwrap();
    assert_eq!(put.headers["transfer-encoding"], "chunked");
    assert_eq!(put.received_bytes, 6);
}
