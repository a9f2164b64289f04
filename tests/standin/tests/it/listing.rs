//! Google's listing, and the referrers API.

use serde_json::json;
use standin::{Referrers, Standin};

use crate::http_client::Client;
use crate::images::{Image, OCI_MANIFEST, descriptor, pusher, put_manifest, ready, sha256};

fn pushed(standin: &Standin) {
    let client = pusher(standin);
    Image::new("one").push(&client, "proj/app", "v1");
    Image::new("one").push(&client, "proj/app", "latest");
    Image::new("two").push(&client, "proj/app", "v2");
    Image::new("three").push(&client, "proj/tools/deep/one", "v1");
}

#[test]
fn image_is_listed_with_numbers_as_strings() {
    let standin = ready();
    pushed(&standin);
    let answer = pusher(&standin).get("/v2/proj/app/tags/list").json();
    assert_eq!(answer["name"], "proj/app");
    assert_eq!(answer["child"], json!([]));
    assert_eq!(answer["tags"], json!(["latest", "v1", "v2"]));
    let image = Image::new("one");
    let entry = &answer["manifest"][image.digest()];
    let size = image.config.len() + image.layer.len();
    assert_eq!(entry["imageSizeBytes"], size.to_string());
    assert_eq!(entry["layerId"], "");
    assert_eq!(entry["mediaType"], OCI_MANIFEST);
    assert_eq!(entry["tag"], json!(["latest", "v1"]));
    assert_eq!(entry["timeCreatedMs"], "1710000000000");
    assert!(entry["timeUploadedMs"].is_string());
    assert_eq!(answer["manifest"].as_object().unwrap().len(), 2);
    standin.change(|behaviour| behaviour.time_uploaded = false);
    let answer = pusher(&standin).get("/v2/proj/app/tags/list").json();
    assert!(
        answer["manifest"][image.digest()]
            .get("timeUploadedMs")
            .is_none()
    );
}

#[test]
fn folders_are_listed_one_level_deep() {
    let standin = ready();
    pushed(&standin);
    let token = standin.access_token(crate::images::PUSHER);
    for (host, name, children) in [
        ("gcr.io", "proj", json!(["app", "tools"])),
        ("gcr.io", "proj/tools", json!(["deep"])),
        ("gcr.io", "proj/tools/deep", json!(["one"])),
        ("us-docker.pkg.dev", "proj/gcr.io", json!(["app", "tools"])),
    ] {
        let client = Client::at(&standin, host).bearer(&token);
        let answer = client.get(&format!("/v2/{name}/tags/list")).json();
        assert_eq!(answer["child"], children, "{name}");
        assert_eq!(answer["manifest"], json!({}));
        assert_eq!(answer["tags"], json!([]));
    }
}

#[test]
fn missing_image_is_refused_or_empty() {
    let standin = ready();
    let client = pusher(&standin);
    let path = "/v2/proj/none/tags/list";
    assert_eq!(client.get(path).refusal(), (404, "NAME_UNKNOWN".to_owned()));
    standin.change(|behaviour| behaviour.lists_missing_images = true);
    let answer = client.get(path);
    assert_eq!((answer.status, &answer.json()["tags"]), (200, &json!([])));
    let empty = client.get("/v2/proj/tags/list");
    assert_eq!(
        empty.json()["child"],
        json!([]),
        "a repository may be empty"
    );
}

#[test]
fn listing_may_lag_and_be_capped() {
    let standin = ready();
    standin.change(|behaviour| behaviour.listing_lag = 2);
    let client = pusher(&standin);
    let tags = || client.get("/v2/proj/app/tags/list").json()["tags"].clone();
    Image::new("one").push(&client, "proj/app", "v1");
    assert_eq!(
        [tags(), tags(), tags()],
        [json!([]), json!([]), json!(["v1"])]
    );
    Image::new("two").push(&client, "proj/app", "v2");
    let both = json!(["v1", "v2"]);
    assert_eq!(
        [tags(), tags(), tags()],
        [json!(["v1"]), json!(["v1"]), both.clone()]
    );
    standin.change(|behaviour| {
        behaviour.listing_lag = 0;
        behaviour.listing_cap = Some(1);
    });
    let capped = client.get("/v2/proj/app/tags/list").json();
    assert_eq!(capped["tags"], json!(["v1"]));
    assert_eq!(capped["manifest"].as_object().unwrap().len(), 1);
}

#[test]
fn listing_without_extension_is_plain() {
    let standin = ready();
    pushed(&standin);
    standin.change(|behaviour| behaviour.google_listing = false);
    let answer = pusher(&standin).get("/v2/proj/app/tags/list").json();
    assert_eq!(
        answer,
        json!({"name": "proj/app", "tags": ["latest", "v1", "v2"]})
    );
}

#[test]
fn referrers_are_listed_refused_or_an_html_page() {
    let standin = ready();
    let client = pusher(&standin);
    let image = Image::new("a");
    image.push(&client, "proj/a", "v1");
    for kind in ["application/a", "application/b"] {
        let referrer = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": kind,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &image.config),
            "layers": [],
            "subject": descriptor(OCI_MANIFEST, &image.manifest),
            "annotations": {"of": kind},
        });
        let bytes = referrer.to_string().into_bytes();
        put_manifest(&client, "proj/a", &sha256(&bytes), OCI_MANIFEST, &bytes);
    }
    let path = format!("/v2/proj/a/referrers/{}", image.digest());
    let filtered = format!("{path}?artifactType=application/b");
    let answer = client.get(&path);
    let index = "application/vnd.oci.image.index.v1+json";
    assert_eq!(answer.header("content-type"), Some(index));
    assert_eq!(answer.json()["manifests"].as_array().unwrap().len(), 2);
    let answer = client.get(&filtered);
    assert_eq!(answer.header("oci-filters-applied"), Some("artifactType"));
    let found = &answer.json()["manifests"];
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["artifactType"], "application/b");
    assert_eq!(found[0]["annotations"], json!({"of": "application/b"}));
    standin.change(|behaviour| behaviour.referrers = Referrers::Unfiltered);
    let answer = client.get(&filtered);
    assert_eq!(answer.json()["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(answer.header("oci-filters-applied"), None);
    standin.change(|behaviour| behaviour.referrers = Referrers::Missing);
    assert_eq!(client.get(&path).status, 404);
    standin.change(|behaviour| behaviour.referrers = Referrers::LoginPage);
    let answer = client.get(&path);
    let kind = answer.header("content-type");
    assert_eq!(
        (answer.status, kind),
        (200, Some("text/html; charset=utf-8"))
    );
}
