//! `list` shows what gcloud shows, where gcloud is installed.

use serde_json::Value;

use super::{containers, json, list, put, put_index};
use crate::support::gcloud::gcloud;
use crate::support::google::Google;

#[test]
fn gcloud_shows_the_same_images_of_a_project() {
    let google = Google::start();
    for name in ["app", "team/api", "team/web"] {
        put(&google, "gcr.io", &format!("acme/{name}"), "1");
    }
    let arguments = ["container", "images", "list", "--repository=gcr.io/acme"];
    let Some(expected) = gcloud(&google, &arguments) else {
        return;
    };
    assert_eq!(list(&google).succeeds().stdout, expected);
}

#[test]
fn gcloud_shows_the_same_manifests_and_tags() {
    let google = Google::start();
    put(&google, "gcr.io", "acme/app", "1");
    put_index(&google, "gcr.io", "acme/app", "2");
    let arguments = [
        "container",
        "images",
        "list-tags",
        "gcr.io/acme/app",
        "--format=json",
    ];
    let Some(expected) = gcloud(&google, &arguments) else {
        return;
    };
    let expected: Vec<Value> = serde_json::from_str(&expected).unwrap();
    let mut expected: Vec<_> = expected
        .iter()
        .map(|row| (row["digest"].to_string(), row["tags"].clone()))
        .collect();
    let actual = json(list(&google).set("name", "app"));
    let mut actual: Vec<_> = actual
        .iter()
        .map(|row| (row["digest"].to_string(), row["tags"].clone()))
        .collect();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    actual.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(actual, expected);
}

#[test]
fn gcloud_shows_the_same_images_of_a_repository() {
    let google = Google::start();
    put(&google, "us-docker.pkg.dev", "acme/containers/app", "1");
    put_index(
        &google,
        "us-docker.pkg.dev",
        "acme/containers/team/api",
        "2",
    );
    let place = "us-docker.pkg.dev/acme/containers";
    let arguments = [
        "artifacts",
        "docker",
        "images",
        "list",
        place,
        "--include-tags",
        "--format=json",
    ];
    let Some(expected) = gcloud(&google, &arguments) else {
        return;
    };
    let expected: Vec<Value> = serde_json::from_str(&expected).unwrap();
    let mut expected: Vec<_> = expected
        .iter()
        .map(|row| {
            let size = row["metadata"]["imageSizeBytes"]
                .as_str()
                .unwrap()
                .parse::<u64>()
                .unwrap();
            (
                row["package"].clone(),
                row["version"].clone(),
                row["tags"].clone(),
                size,
            )
        })
        .collect();
    let actual = json(containers(&google).set("list_recursive", "true"));
    let mut actual: Vec<_> = actual
        .iter()
        .map(|row| {
            let size = row["size_bytes"].as_u64().unwrap();
            (
                row["image"].clone(),
                row["digest"].clone(),
                row["tags"].clone(),
                size,
            )
        })
        .collect();
    expected.sort_by_key(|row| row.1.to_string());
    actual.sort_by_key(|row| row.1.to_string());
    assert_eq!(actual, expected);
}
