//! The output of `list`: a table in the style of gcloud, or JSON.

use std::fmt;
use std::time::SystemTime;

use serde::Serialize;

use crate::ci::table::{Table, bytes, timestamp};
use crate::commands::list::{Contents, Listed, ListedImage};
use crate::commands::pull_secret::utc;
use crate::diagnostics::sanitize::sanitize;
use crate::oci::reference::Endpoint;

/// One table for each target.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListTable<'a>(pub &'a [Listed]);

/// One JSON array of all targets, with one object per line.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListJson<'a>(pub &'a [Listed]);

impl fmt::Display for ListTable<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Listed { endpoint, found } in self.0 {
            let table = match found {
                Contents::Names(names) => names_table(endpoint, names),
                Contents::Image(images) => images_table(endpoint, images).without("IMAGE"),
                Contents::Images(images) => images_table(endpoint, images),
            };
            write!(formatter, "{table}")?;
        }
        Ok(())
    }
}

fn names_table(endpoint: &Endpoint, names: &[String]) -> Table {
    let mut table = Table::new(["NAME"]);
    for name in names {
        table.row([format!("{endpoint}/{}", sanitize(name))]);
    }
    table
}

fn images_table(endpoint: &Endpoint, images: &[ListedImage]) -> Table {
    let headings = [
        "IMAGE",
        "DIGEST",
        "TAGS",
        "CREATED",
        "UPLOADED",
        "SIZE",
        "PLATFORMS",
    ];
    let mut table = Table::new(headings);
    for image in images {
        let manifest = &image.manifest;
        let time = |time: Option<SystemTime>| cell(time.map(timestamp));
        let platforms = image.platforms.iter().map(|one| sanitize(&one.to_string()));
        table.row([
            format!("{endpoint}/{}", sanitize(&image.repository)),
            manifest.digest.short().to_owned(),
            cell(Some(sanitize(&manifest.tags.join(",")))),
            time(manifest.created),
            time(manifest.uploaded),
            cell(manifest.size.map(bytes)),
            cell(Some(platforms.collect::<Vec<_>>().join(","))),
        ]);
    }
    table
}

/// The text of a cell. An empty cell is `-`, so that columns can be counted.
fn cell(text: Option<String>) -> String {
    match text {
        Some(text) if !text.is_empty() => text,
        _ => "-".to_owned(),
    }
}

impl fmt::Display for ListJson<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "[\n  ";
        for Listed { endpoint, found } in self.0 {
            match found {
                Contents::Names(names) => {
                    for name in names {
                        let image = format!("{endpoint}/{name}");
                        write_line(formatter, &mut before, &Name { image })?;
                    }
                }
                Contents::Image(images) | Contents::Images(images) => {
                    for image in images {
                        write_line(formatter, &mut before, &Item::of(endpoint, image))?;
                    }
                }
            }
        }
        // If no item was written, the opening bracket was not written either.
        formatter.write_str(if before.starts_with('[') {
            "[]\n"
        } else {
            "\n]\n"
        })
    }
}

fn write_line(
    formatter: &mut fmt::Formatter<'_>,
    before: &mut &str,
    item: &impl Serialize,
) -> fmt::Result {
    let item = serde_json::to_string(item).map_err(|_| fmt::Error)?;
    write!(formatter, "{before}{item}")?;
    *before = ",\n  ";
    Ok(())
}

#[derive(Serialize)]
struct Name {
    image: String,
}

#[derive(Serialize)]
struct Item<'a> {
    image: String,
    digest: &'a str,
    tags: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    media_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uploaded: Option<String>,
    platforms: Vec<String>,
}

impl<'a> Item<'a> {
    fn of(endpoint: &Endpoint, image: &'a ListedImage) -> Self {
        let manifest = &image.manifest;
        Self {
            image: format!("{endpoint}/{}", image.repository),
            digest: manifest.digest.as_str(),
            tags: &manifest.tags,
            media_type: &manifest.media_type,
            size_bytes: manifest.size,
            created: manifest.created.map(utc),
            uploaded: manifest.uploaded.map(utc),
            platforms: image.platforms.iter().map(ToString::to_string).collect(),
        }
    }
}
