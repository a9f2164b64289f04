//! Every mistake of a push, and its refusal.

use serde_json::{Value, json};
use standin::{RepositoryOptions, RequestKind, Standin};

use crate::http_client::Client;
use crate::images::{
    DOCKER_MANIFEST, GCR, Image, OCI_INDEX, OCI_MANIFEST, PUSHER, descriptor, index, location,
    open_upload, push_blob, pusher, put_manifest, put_upload, ready, sha256,
};

#[test]
fn names_are_checked_before_credentials() {
    let standin = ready();
    for (host, path, message) in [
        (
            "us-docker.pkg.dev",
            "/v2/p/tags/list",
            "invalid number of path components: 1",
        ),
        (
            "us-docker.pkg.dev",
            "/v2/p/r/manifests/t",
            "invalid number of path components: 2",
        ),
        (
            "gcr.io",
            "/v2/p/manifests/t",
            "invalid number of path components: 1",
        ),
        (
            "gcr.io",
            "/v2/p/App/tags/list",
            "invalid repository name: p/App",
        ),
        (
            "gcr.io",
            "/v2/p/a..b/tags/list",
            "invalid repository name: p/a..b",
        ),
        (
            "gcr.io",
            "/v2/p//a/tags/list",
            "invalid repository name: p//a",
        ),
    ] {
        let answer = Client::at(&standin, host).get(path);
        assert_eq!(
            answer.refusal(),
            (400, "NAME_INVALID".to_owned()),
            "{host}{path}"
        );
        assert_eq!(answer.message(), message);
    }
    let client = Client::at(&standin, "us-docker.pkg.dev");
    let push = client.send("POST", "/v2/p/r/blobs/uploads/", &[], b"");
    assert_eq!(push.refusal(), (400, "NAME_INVALID".to_owned()));
}

#[test]
fn tags_and_digests_are_checked() {
    let standin = ready();
    let client = pusher(&standin);
    for (method, path, code) in [
        ("GET", "/v2/proj/a/manifests/-t", "TAG_INVALID"),
        ("GET", "/v2/proj/a/manifests/sha256:abc", "DIGEST_INVALID"),
        ("GET", "/v2/proj/a/manifests/md5:abc", "DIGEST_INVALID"),
        ("GET", "/v2/proj/a/blobs/latest", "DIGEST_INVALID"),
        ("GET", "/v2/proj/a/referrers/latest", "DIGEST_INVALID"),
        (
            "POST",
            "/v2/proj/a/blobs/uploads/?mount=x&from=proj/b",
            "DIGEST_INVALID",
        ),
    ] {
        let answer = client.send(method, path, &[], b"");
        assert_eq!(answer.refusal(), (400, code.to_owned()), "{path}");
    }
}

#[test]
fn missing_objects_have_their_own_error_codes() {
    let standin = ready();
    let client = pusher(&standin);
    let digest = sha256(b"nothing like it");
    for (method, path, code) in [
        ("GET", format!("/v2/proj/a/blobs/{digest}"), "BLOB_UNKNOWN"),
        (
            "GET",
            format!("/v2/proj/a/manifests/{digest}"),
            "MANIFEST_UNKNOWN",
        ),
        (
            "GET",
            "/v2/proj/a/manifests/t".to_owned(),
            "MANIFEST_UNKNOWN",
        ),
        (
            "DELETE",
            "/v2/proj/a/manifests/t".to_owned(),
            "MANIFEST_UNKNOWN",
        ),
        (
            "DELETE",
            format!("/v2/proj/a/blobs/{digest}"),
            "BLOB_UNKNOWN",
        ),
        ("GET", "/v2/proj/a/tags/list".to_owned(), "NAME_UNKNOWN"),
        (
            "PATCH",
            "/artifacts-uploads/namespaces/proj/repositories/gcr.io/uploads/none".to_owned(),
            "BLOB_UPLOAD_UNKNOWN",
        ),
    ] {
        let answer = client.send(method, &path, &[], b"");
        assert_eq!(answer.refusal(), (404, code.to_owned()), "{method} {path}");
    }
    for path in ["/", "/v1/", "/v2/x", "/artifacts-downloads/namespaces/p/x"] {
        assert_eq!(client.get(path).status, 404, "{path}");
    }
    let missing = "/artifacts-downloads/namespaces/p/repositories/r/downloads/none";
    assert_eq!(client.get(missing).status, 404);
}

#[test]
fn unknown_methods_are_refused() {
    let standin = ready();
    let client = pusher(&standin);
    let digest = sha256(b"");
    for (method, path) in [
        ("POST", "/v2/".to_owned()),
        ("PATCH", "/v2/proj/a/manifests/t".to_owned()),
        ("PUT", format!("/v2/proj/a/blobs/{digest}")),
        ("GET", "/v2/proj/a/blobs/uploads/".to_owned()),
        ("POST", "/v2/proj/a/tags/list".to_owned()),
        ("POST", format!("/v2/proj/a/referrers/{digest}")),
        ("POST", format!("/v2/proj/a/blobs/uploads/{digest}")),
        ("GET", "/v2/_catalog".to_owned()),
    ] {
        let answer = client.send(method, &path, &[], b"");
        assert_eq!(
            answer.refusal(),
            (405, "UNSUPPORTED".to_owned()),
            "{method} {path}"
        );
    }
}

#[test]
fn google_refuses_chunked_uploads() {
    let standin = ready();
    let client = pusher(&standin);
    let range = [("content-range", "0-2")];
    let opened = open_upload(&client, "proj/a");
    let answer = client.send("PATCH", &opened, &range, b"abc");
    assert_eq!(answer.refusal(), (400, "UNSUPPORTED".to_owned()));
    let first = client.send("PATCH", &opened, &[], b"abc");
    assert_eq!(first.status, 202, "the refusal left the upload as it was");
    let next = location(&first);
    assert_eq!(client.send("PATCH", &next, &[], b"def").status, 400);
    standin.change(|behaviour| behaviour.statuses.second_patch = 405);
    assert_eq!(client.send("PATCH", &next, &[], b"def").status, 405);
    let last = put_upload(&client, &next, b"def", &sha256(b"abcdef"));
    assert_eq!(last.status, 405, "a PUT after a PATCH has to be empty");
    assert_eq!(standin.blob("gcr.io", "proj/a", &sha256(b"abcdef")), None);
}

#[test]
fn google_front_end_requires_content_length() {
    let standin = ready();
    let client = pusher(&standin);
    let opened = open_upload(&client, "proj/a");
    let put = format!("{opened}?digest={}", sha256(b""));
    let chunked: &[(&str, &str)] = &[("transfer-encoding", "chunked")];
    for (method, path) in [
        ("POST", "/v2/proj/a/blobs/uploads/"),
        ("PATCH", opened.as_str()),
        ("PUT", put.as_str()),
        ("PUT", "/v2/proj/a/manifests/t"),
    ] {
        let answer = client.try_send(method, path, &[], b"").unwrap();
        assert_eq!(answer.status, 411, "{method} {path}");
        standin.change(|behaviour| behaviour.chunked_coding = false);
        let answer = client
            .try_send(method, path, chunked, b"0\r\n\r\n")
            .unwrap();
        assert_eq!(answer.status, 411, "{method} {path}");
        standin.change(|behaviour| behaviour.chunked_coding = true);
    }
    standin.change(|behaviour| behaviour.length_required = false);
    let path = "/v2/proj/a/blobs/uploads/";
    assert_eq!(client.try_send("POST", path, &[], b"").unwrap().status, 202);
}

#[test]
fn content_unlike_its_digest_is_refused() {
    let standin = ready();
    let client = pusher(&standin);
    let opened = open_upload(&client, "proj/a");
    let answer = put_upload(&client, &opened, b"one", &sha256(b"two"));
    assert_eq!(answer.refusal(), (400, "DIGEST_INVALID".to_owned()));
    let again = put_upload(&client, &opened, b"two", &sha256(b"two"));
    assert_eq!(again.status, 404, "the upload ended with the refusal");
    let opened = open_upload(&client, "proj/a");
    let answer = put_upload(&client, &opened, b"one", "latest");
    assert_eq!(answer.refusal(), (400, "DIGEST_INVALID".to_owned()));
    let answer = put_manifest(&client, "proj/a", &sha256(b"x"), OCI_MANIFEST, b"{}");
    assert_eq!(answer.refusal(), (400, "DIGEST_INVALID".to_owned()));
}

#[test]
fn invalid_manifests_are_refused() {
    let standin = ready();
    let client = pusher(&standin);
    let image = Image::new("a");
    image.push_blobs(&client, "proj/a");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut manifest: Value = serde_json::from_slice(&image.manifest).unwrap();
        change(&mut manifest);
        manifest.to_string().into_bytes()
    };
    let original = image.manifest.clone();
    for (what, media_type, bytes) in [
        ("no JSON", OCI_MANIFEST, b"{".to_vec()),
        ("no type", "", original.clone()),
        ("another type", "application/json", original.clone()),
        (
            "a type other than its own",
            DOCKER_MANIFEST,
            original.clone(),
        ),
        ("an index by its header only", OCI_INDEX, original),
        (
            "version 1",
            OCI_MANIFEST,
            with(&|m| m["schemaVersion"] = json!(1)),
        ),
        (
            "no config",
            OCI_MANIFEST,
            with(&|m| m["config"] = Value::Null),
        ),
        (
            "no layers",
            OCI_MANIFEST,
            with(&|m| m["layers"] = Value::Null),
        ),
        (
            "a digest that is none",
            OCI_MANIFEST,
            with(&|m| m["config"]["digest"] = json!("x")),
        ),
        (
            "a wrong size",
            OCI_MANIFEST,
            with(&|m| m["layers"][0]["size"] = json!(1)),
        ),
        (
            "no size",
            OCI_MANIFEST,
            with(&|m| m["config"]["size"] = Value::Null),
        ),
    ] {
        let answer = put_manifest(&client, "proj/a", "t", media_type, &bytes);
        assert_eq!(
            answer.refusal(),
            (400, "MANIFEST_INVALID".to_owned()),
            "{what}"
        );
    }
    assert!(standin.tags("gcr.io", "proj/a").is_empty());
}

#[test]
fn blobs_of_a_manifest_must_be_in_the_repository() {
    let standin = ready();
    let client = pusher(&standin);
    let image = Image::new("a");
    image.push(&client, "proj/elsewhere", "t");
    let answer = put_manifest(&client, "proj/a", "t", OCI_MANIFEST, &image.manifest);
    assert_eq!(answer.refusal(), (400, "BLOB_UNKNOWN".to_owned()));
    let (config, layer) = (sha256(&image.config), sha256(&image.layer));
    let expected = format!("Manifest references unknown blob(s): {config}, {layer}");
    assert_eq!(answer.message(), expected);
    push_blob(&client, "proj/a", &image.config);
    let answer = put_manifest(&client, "proj/a", "t", OCI_MANIFEST, &image.manifest);
    let expected = format!("Manifest references unknown blob(s): {layer}");
    assert_eq!(answer.message(), expected);
    let list = index(&[&image.manifest]);
    let answer = put_manifest(&client, "proj/a", "t", OCI_INDEX, &list);
    assert_eq!(answer.refusal(), (400, "MANIFEST_BLOB_UNKNOWN".to_owned()));
    standin.change(|behaviour| behaviour.statuses.unknown_reference = 404);
    let answer = put_manifest(&client, "proj/a", "t", OCI_INDEX, &list);
    assert_eq!(answer.status, 404);
}

#[test]
fn empty_config_blob_is_refused_on_google_hosts() {
    let standin = ready();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.empty.v1+json", b""),
        "layers": [],
    });
    let manifest = manifest.to_string();
    for (client, status) in [(pusher(&standin), 400), (Client::plain(&standin), 201)] {
        push_blob(&client, "proj/a", b"");
        let answer = put_manifest(&client, "proj/a", "t", OCI_MANIFEST, manifest.as_bytes());
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}

#[test]
fn large_manifests_are_refused() {
    let standin = ready();
    let client = pusher(&standin);
    let bytes = vec![b' '; 4 * 1024 * 1024 + 1];
    let answer = put_manifest(&client, "proj/a", "t", OCI_MANIFEST, &bytes);
    assert_eq!(answer.refusal(), (413, "SIZE_INVALID".to_owned()));
    assert_eq!(
        standin.requests().pop().unwrap().received_bytes,
        bytes.len() as u64
    );
}

#[test]
fn immutable_tags_can_be_created_but_not_moved() {
    let standin = Standin::start();
    let options = RepositoryOptions {
        immutable_tags: true,
    };
    standin.create_repository(GCR, options);
    standin.grant(PUSHER, "roles/artifactregistry.repoAdmin", GCR);
    let client = pusher(&standin);
    let (one, two) = (Image::new("one"), Image::new("two"));
    one.push(&client, "proj/a", "v1");
    one.push(&client, "proj/a", "v1");
    two.push(&client, "proj/a", "v2");
    let put = || put_manifest(&client, "proj/a", "v1", OCI_MANIFEST, &two.manifest);
    let message = "cannot update tag v1. The repository has enabled tag immutability";
    let answer = put();
    assert_eq!(answer.refusal(), (400, "MANIFEST_INVALID".to_owned()));
    assert_eq!(answer.message(), message);
    let answer = client.send("DELETE", "/v2/proj/a/manifests/v1", &[], b"");
    assert_eq!(answer.message(), message);
    standin.change(|behaviour| {
        behaviour.immutable_refuses_repeat = true;
        behaviour.statuses.immutable = 409;
    });
    let answer = put_manifest(&client, "proj/a", "v1", OCI_MANIFEST, &one.manifest);
    assert_eq!((answer.status, answer.message().as_str()), (409, message));
    assert_eq!(standin.tags("gcr.io", "proj/a")["v1"], one.digest());
}

#[test]
fn refused_request_is_read_to_its_end_and_counted() {
    let standin = ready();
    let client = Client::at(&standin, "gcr.io").bearer("nonsense");
    let body = vec![0; 1_000_000];
    let answer = put_manifest(&client, "proj/a", "t", OCI_MANIFEST, &body);
    assert_eq!(answer.status, 401);
    let last = standin.requests().pop().unwrap();
    assert_eq!(last.kind, RequestKind::ManifestPut);
    assert_eq!(last.received_bytes, 1_000_000);
}
