//! Reading blobs and manifests.

use standin::{BlobDownload, RequestKind};

use crate::http_client::Client;
use crate::images::{Image, OCI_MANIFEST, location, push_blob, pusher, ready, sha256};

#[test]
fn blob_get_is_redirected_within_the_host() {
    let standin = ready();
    let client = pusher(&standin);
    push_blob(&client, "proj/a", b"content");
    let path = format!("/v2/proj/a/blobs/{}", sha256(b"content"));
    let head = client.head(&path);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("7"));
    assert_eq!(
        head.header("docker-content-digest"),
        Some(sha256(b"content").as_str())
    );
    let redirect = client.get(&path);
    assert_eq!(redirect.status, 302);
    assert_eq!(
        redirect.header("x-gcr-using-artifact-registry"),
        Some("true")
    );
    let target = redirect.header("location").unwrap();
    let start = "/artifacts-downloads/namespaces/proj/repositories/gcr.io/downloads/";
    assert!(target.starts_with(start), "{target}");
    for reader in [&client, &client.anonymous()] {
        let answer = reader.get(target);
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, &b"content"[..])
        );
    }
    let kinds: Vec<_> = standin
        .requests()
        .iter()
        .rev()
        .map(|request| request.kind)
        .collect();
    assert_eq!(kinds[0], RequestKind::BlobDownload);
    assert!(kinds.contains(&RequestKind::BlobGet) && kinds.contains(&RequestKind::BlobHead));
}

#[test]
fn redirect_to_another_host_rejects_credentials() {
    let standin = ready();
    let host = "storage.googleapis.com";
    standin.change(|behaviour| {
        behaviour.blob_download = BlobDownload::CrossHostRedirect(host.to_owned());
    });
    let client = pusher(&standin);
    push_blob(&client, "proj/a", b"content");
    let redirect = client.get(&format!("/v2/proj/a/blobs/{}", sha256(b"content")));
    let target = redirect.header("location").unwrap();
    assert!(
        target.starts_with("https://storage.googleapis.com/"),
        "{target}"
    );
    let storage = Client::at(&standin, host);
    assert_eq!(storage.get(&location(&redirect)).body, b"content");
    let carried = storage.bearer(&standin.access_token(crate::images::PUSHER));
    assert_eq!(carried.get(&location(&redirect)).status, 400);
    let last = standin.requests().pop().unwrap();
    assert_eq!(last.authorization.as_deref(), Some("Bearer"));
    assert_eq!((last.host.as_str(), last.status), (host, 400));
}

#[test]
fn blob_range_can_be_read_unless_disabled() {
    let standin = ready();
    standin.change(|behaviour| behaviour.blob_download = BlobDownload::Direct);
    let client = pusher(&standin);
    push_blob(&client, "proj/a", b"0123456789");
    let path = format!("/v2/proj/a/blobs/{}", sha256(b"0123456789"));
    let get = |range: &str| client.send("GET", &path, &[("range", range)], b"");
    let part = get("bytes=3-5");
    assert_eq!((part.status, part.text().as_str()), (206, "345"));
    assert_eq!(part.header("content-range"), Some("bytes 3-5/10"));
    assert_eq!(get("bytes=8-").text(), "89");
    let outside = get("bytes=10-");
    assert_eq!(
        (outside.status, outside.header("content-range")),
        (416, Some("bytes */10"))
    );
    standin.change(|behaviour| behaviour.ranges = false);
    let whole = get("bytes=3-5");
    assert_eq!((whole.status, whole.text().as_str()), (200, "0123456789"));
}

#[test]
fn manifests_have_their_stored_type_whatever_is_accepted() {
    let standin = ready();
    let client = pusher(&standin);
    let image = Image::new("a");
    image.push(&client, "proj/a", "v1");
    let path = "/v2/proj/a/manifests/v1";
    let indexes = [("accept", "application/vnd.oci.image.index.v1+json")];
    let answer = client.send("GET", path, &indexes, b"");
    assert_eq!(answer.header("content-type"), Some(OCI_MANIFEST));
    assert_eq!(answer.body, image.manifest);
    let head = client.head(path);
    let length = image.manifest.len().to_string();
    assert_eq!(head.header("content-length"), Some(length.as_str()));
    assert_eq!(
        head.header("docker-content-digest"),
        Some(image.digest().as_str())
    );
    assert!(head.body.is_empty());
    standin.change(|behaviour| {
        behaviour.strict_accept = true;
        behaviour.omit_content_digest = true;
    });
    assert_eq!(client.send("GET", path, &indexes, b"").status, 404);
    let both = format!("text/plain, {OCI_MANIFEST};q=0.5");
    let answer = client.send("GET", path, &[("accept", &both)], b"");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("docker-content-digest"), None);
}
