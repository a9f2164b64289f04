//! The plain registry, which is not Google's.

use serde_json::json;
use standin::{BlobDownload, PlainAuth, Standin};

use crate::http_client::Client;
use crate::images::{Image, OCI_MANIFEST, location, open_upload, push_blob, put_upload, sha256};

#[test]
fn registry_is_the_same_with_and_without_tls() {
    let standin = Standin::start();
    let image = Image::new("a");
    image.push(&Client::plain(&standin), "a", "v1");
    let answer = Client::tls(&standin).get("/v2/a/manifests/v1");
    assert_eq!(answer.body, image.manifest);
    let stored = standin.manifest(&standin.plain_address(), "a", "v1");
    assert_eq!(stored, Some((OCI_MANIFEST.to_owned(), image.manifest)));
    let blob = Client::tls(&standin).get(&format!("/v2/a/blobs/{}", sha256(&image.layer)));
    assert_eq!((blob.status, blob.body), (200, image.layer));
    assert!(standin.requests().iter().all(|request| !request.via_proxy));
}

#[test]
fn blobs_are_accepted_in_consecutive_chunks() {
    let standin = Standin::start();
    let client = Client::plain(&standin);
    let opened = client.send("POST", "/v2/a/blobs/uploads/", &[], b"");
    let upload_url = opened.header("location").unwrap();
    let own = format!("http://{}/v2/a/blobs/uploads/", standin.plain_address());
    assert!(upload_url.starts_with(&own), "{upload_url}");
    let patch = |path: &str, range: &str, bytes: &[u8]| {
        client.send("PATCH", path, &[("content-range", range)], bytes)
    };
    let first = patch(&location(&opened), "0-2", b"abc");
    assert_eq!((first.status, first.header("range")), (202, Some("0-2")));
    let outside = patch(&location(&first), "7-9", b"xyz");
    assert_eq!(
        (outside.status, outside.header("range")),
        (416, Some("0-2"))
    );
    let second = patch(&location(&first), "3-5", b"def");
    assert_eq!((second.status, second.header("range")), (202, Some("0-5")));
    let state = client.get(&location(&second));
    assert_eq!((state.status, state.header("range")), (204, Some("0-5")));
    let put = put_upload(&client, &location(&state), b"ghi", &sha256(b"abcdefghi"));
    assert_eq!(put.status, 201, "{}", put.text());
}

#[test]
fn localhost_client_is_sent_to_localhost() {
    let standin = Standin::start();
    let port = standin.tls_address().replace("127.0.0.1", "");
    let name = format!("localhost{port}");
    let headers = [("host", name.as_str())];
    let opened = Client::tls(&standin).send("POST", "/v2/a/blobs/uploads/", &headers, b"");
    let upload_url = opened.header("location").unwrap();
    assert!(
        upload_url.starts_with(&format!("https://{name}/v2/a/")),
        "{upload_url}"
    );
    assert_eq!(standin.requests()[0].host, name);
}

#[test]
fn upload_belongs_to_its_repository() {
    let standin = Standin::start();
    let client = Client::plain(&standin);
    let moved = open_upload(&client, "a").replace("/v2/a/", "/v2/b/");
    assert_eq!(put_upload(&client, &moved, b"x", &sha256(b"x")).status, 404);
}

#[test]
fn tags_and_repositories_come_in_pages() {
    let standin = Standin::start();
    let client = Client::plain(&standin);
    for tag in ["a", "b", "c", "d", "e"] {
        standin.put_manifest("plain", "app", tag, OCI_MANIFEST, b"{}");
        standin.put_manifest("plain", tag, "t", OCI_MANIFEST, b"{}");
    }
    let all = client.get("/v2/app/tags/list");
    assert_eq!(
        all.json(),
        json!({"name": "app", "tags": ["a", "b", "c", "d", "e"]})
    );
    assert_eq!(all.header("link"), None);
    let page = client.get("/v2/app/tags/list?n=2");
    assert_eq!(page.json()["tags"], json!(["a", "b"]));
    let next = "</v2/app/tags/list?last=b&n=2>; rel=\"next\"";
    assert_eq!(page.header("link"), Some(next));
    let last = client.get("/v2/app/tags/list?last=d&n=2");
    assert_eq!(
        (&last.json()["tags"], last.header("link")),
        (&json!(["e"]), None)
    );
    standin.change(|behaviour| behaviour.page_limit = Some(4));
    let page = client.get("/v2/_catalog?n=100");
    assert_eq!(page.json(), json!({"repositories": ["a", "app", "b", "c"]}));
    assert_eq!(
        page.header("link"),
        Some("</v2/_catalog?last=c&n=4>; rel=\"next\"")
    );
    assert_eq!(client.get("/v2/app/tags/list?n=x").status, 400);
    let missing = client.get("/v2/none/tags/list");
    assert_eq!(missing.refusal(), (404, "NAME_UNKNOWN".to_owned()));
}

#[test]
fn basic_auth_is_required_on_every_request() {
    let standin = Standin::start();
    standin.change(|behaviour| behaviour.plain_auth = PlainAuth::Basic);
    standin.basic_user("robot", "correct horse");
    let client = Client::tls(&standin);
    let answer = client.get("/v2/");
    let challenge = answer.header("www-authenticate");
    assert_eq!(
        (answer.status, challenge),
        (401, Some("Basic realm=\"standin\""))
    );
    let wrong = client.clone().basic("robot", "wrong");
    assert_eq!(wrong.get("/v2/a/tags/list").status, 401);
    let right = client.basic("robot", "correct horse");
    assert_eq!(right.get("/v2/").status, 200);
    assert_eq!(push_blob(&right, "a", b"x").status, 201);
    assert!(standin.secrets().contains(&"correct horse".to_owned()));
}

#[test]
fn bearer_tokens_are_limited_to_their_scopes() {
    let standin = Standin::start();
    standin.change(|behaviour| behaviour.plain_auth = PlainAuth::Bearer);
    standin.basic_user("robot", "secret");
    let client = Client::plain(&standin);
    let answer = client.send("POST", "/v2/a/blobs/uploads/", &[], b"");
    let address = standin.plain_address();
    let expected = format!(
        "Bearer realm=\"http://{address}/token\",service=\"{address}\",\
         scope=\"repository:a:pull,push\""
    );
    assert_eq!(answer.header("www-authenticate"), Some(expected.as_str()));
    let token = |client: &Client<'_>, scopes: &str| {
        let answer = client.get(&format!("/token?service={address}{scopes}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let json = answer.json();
        assert_eq!(json["token"], json["access_token"]);
        json["token"].as_str().unwrap().to_owned()
    };
    let robot = client.clone().basic("robot", "secret");
    let both = "&scope=repository:a:pull,push&scope=repository:b:pull";
    let pusher = client.clone().bearer(&token(&robot, both));
    assert_eq!(push_blob(&pusher, "a", b"x").status, 201);
    assert_eq!(
        pusher.send("POST", "/v2/b/blobs/uploads/", &[], b"").status,
        401
    );
    assert_eq!(pusher.get("/v2/b/manifests/t").status, 404);
    assert_eq!(pusher.get("/v2/c/manifests/t").status, 401);
    let reader = client
        .clone()
        .bearer(&token(&client, "&scope=repository:a:pull"));
    let blob = format!("/v2/a/blobs/{}", sha256(b"x"));
    assert_eq!(reader.get(&blob).status, 200);
    assert_eq!(reader.send("DELETE", &blob, &[], b"").status, 401);
    assert_eq!(client.get("/token?scope=repository:a:push").status, 401);
    assert_eq!(
        client.clone().basic("robot", "wrong").get("/token").status,
        401
    );
    standin.change(|behaviour| behaviour.plain_anonymous_pull = false);
    assert_eq!(client.get("/token?scope=repository:a:pull").status, 401);
}

#[test]
fn token_endpoint_can_be_on_another_host() {
    let standin = Standin::builder()
        .name("registry.example.com")
        .name("auth.example.com")
        .start();
    standin.change(|behaviour| {
        behaviour.plain_auth = PlainAuth::Bearer;
        behaviour.realm = Some("https://auth.example.com/token".to_owned());
    });
    standin.basic_user("robot", "secret");
    let registry = Client::at(&standin, "registry.example.com");
    let challenge = registry.get("/v2/");
    let expected =
        "Bearer realm=\"https://auth.example.com/token\",service=\"registry.example.com\"";
    assert_eq!(challenge.header("www-authenticate"), Some(expected));
    let endpoint = Client::at(&standin, "auth.example.com").basic("robot", "secret");
    let scope = "scope=repository:a:pull,push";
    for (service, status) in [("registry.example.com", 202), ("other.example.com", 401)] {
        let answer = endpoint
            .get(&format!("/token?service={service}&{scope}"))
            .json();
        let client = registry.clone().bearer(answer["token"].as_str().unwrap());
        let opened = client.send("POST", "/v2/a/blobs/uploads/", &[], b"");
        assert_eq!(opened.status, status, "{service}");
    }
}

#[test]
fn plain_registry_can_redirect_blobs() {
    let standin = Standin::start();
    let client = Client::plain(&standin);
    push_blob(&client, "a", b"x");
    let path = format!("/v2/a/blobs/{}", sha256(b"x"));
    let host = "storage.googleapis.com".to_owned();
    standin.change(|behaviour| {
        behaviour.plain_blob_download = BlobDownload::CrossHostRedirect(host.clone());
    });
    let redirect = client.get(&path);
    assert_eq!(redirect.status, 302);
    assert_eq!(redirect.header("x-gcr-using-artifact-registry"), None);
    let storage = Client::at(&standin, &host);
    assert_eq!(storage.get(&location(&redirect)).body, b"x");
}

#[test]
fn registry_answers_under_the_given_names() {
    let standin = Standin::builder().name("registry.example.com").start();
    let client = Client::at(&standin, "registry.example.com");
    Image::new("a").push(&client, "team/a", "v1");
    assert_eq!(standin.tags("registry.example.com", "team/a").len(), 1);
    let list = client.get("/v2/team/a/tags/list").json();
    assert_eq!(list, json!({"name": "team/a", "tags": ["v1"]}));
    let request = standin.requests().pop().unwrap();
    assert_eq!(
        (request.host.as_str(), request.via_proxy),
        ("registry.example.com", true)
    );
}
