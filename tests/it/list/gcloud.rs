//! The same as gcloud shows, where gcloud can show it.

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
    let Some(theirs) = gcloud(&google, &arguments) else {
        return;
    };
    assert_eq!(list(&google).succeeds().stdout, theirs);
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
    let Some(theirs) = gcloud(&google, &arguments) else {
        return;
    };
    let theirs: Vec<Value> = serde_json::from_str(&theirs).unwrap();
    let mut theirs: Vec<_> = theirs
        .iter()
        .map(|row| (row["digest"].to_string(), row["tags"].clone()))
        .collect();
    let ours = json(list(&google).set("name", "app"));
    let mut ours: Vec<_> = ours
        .iter()
        .map(|row| (row["digest"].to_string(), row["tags"].clone()))
        .collect();
    theirs.sort_by(|a, b| a.0.cmp(&b.0));
    ours.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(ours, theirs);
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
    let Some(theirs) = gcloud(&google, &arguments) else {
        return;
    };
    let theirs: Vec<Value> = serde_json::from_str(&theirs).unwrap();
    let mut theirs: Vec<_> = theirs
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
    let ours = json(containers(&google).set("list_recursive", "true"));
    let mut ours: Vec<_> = ours
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
    theirs.sort_by_key(|row| row.1.to_string());
    ours.sort_by_key(|row| row.1.to_string());
    assert_eq!(ours, theirs);
}
