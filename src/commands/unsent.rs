//! What is done with an image that nothing can be pushed with: it is checked, and where it would go
//! is told.

use std::io::Write;

use crate::ci::console;
use crate::ci::table::{Table, bytes};
use crate::commands::mirror::MirrorRequest;
use crate::commands::push::report;
use crate::commands::push::table::Report;
use crate::commands::push::table::shown_tags;
use crate::config::Request;
use crate::error::{Error, Failure};
use crate::image::location::ImageOrigin;
use crate::image::{Content, LayerFormat, Source};
use crate::oci::reference::ReferenceError;
use crate::push::PushError;
use crate::push::destinations;
use crate::push::destinations::Destinations;

/// Checks the image, tells where it would go, and leaves it at that.
///
/// # Errors
///
/// When the image is unsound, or what was asked for cannot be written.
pub async fn validate_without_credentials(
    source: &Source,
    request: &Request,
    stdout: &mut dyn Write,
) -> Result<(), Failure> {
    if matches!(request.image, Some(ImageOrigin::Local(_))) {
        check(source).await.map_err(Error::Push)?;
    }
    let plan = plan(source, &request.destinations).map_err(Error::Target)?;
    report::print(stdout, plan)?;
    tell(
        &format!("nothing was pushed: {WHY}; the image itself is sound"),
        request,
    )
}

/// Tells which images would be mirrored and where to, and leaves it at that.
///
/// # Errors
///
/// When what was asked for cannot be written.
pub fn list_without_credentials(
    asked: &MirrorRequest,
    request: &Request,
    stdout: &mut dyn Write,
) -> Result<(), Failure> {
    let mut table = Table::new(["WOULD MIRROR", "BELOW"]);
    for entry in &asked.entries {
        for home in &asked.homes {
            table.row([entry.origin.to_string(), home.to_string()]);
        }
    }
    report::print(stdout, table)?;
    tell(&format!("nothing was mirrored: {WHY}"), request)
}

const WHY: &str = "there is no credential here, as in a pull request of a fork, and \
                   `missing_credentials` is `skip`";

fn tell(notice: &str, request: &Request) -> Result<(), Failure> {
    console::notice(request.console.log_format, notice);
    let report = Report {
        notes: vec![notice.to_owned()],
        skipped: true,
        ..Report::default()
    };
    Failure::of(report::write_files(&report, request)).map_or(Ok(()), Err)
}

/// Reads every blob of the image and checks it against the digest that it is named by.
///
/// # Errors
///
/// When a blob cannot be read, or is another than it is said to be.
async fn check(source: &Source) -> Result<(), PushError> {
    let digests = match &source.image().content {
        Content::Manifests(tree) => tree.blobs().map(|blob| blob.digest.clone()).collect(),
        Content::Unpacked(image) => {
            let layers = image.layers.iter();
            // What is compressed has a digest that nobody has told.
            let plain = layers.filter(|layer| layer.form == LayerFormat::Tar);
            plain.map(|layer| layer.diff_id.clone()).collect::<Vec<_>>()
        }
    };
    for stated in digests {
        let actual = source.hash(&stated).await.map_err(PushError::Source)?;
        if actual != stated {
            return Err(PushError::damaged(source, stated, actual));
        }
    }
    Ok(())
}

/// Where the image would go, and how large it is as it lies there.
///
/// # Errors
///
/// When the image's own names make no destination.
fn plan(source: &Source, destinations: &Destinations) -> Result<Table, ReferenceError> {
    let sizes: Vec<u64> = match &source.image().content {
        Content::Manifests(tree) => tree.blobs().map(|blob| blob.size).collect(),
        Content::Unpacked(image) => image.layers.iter().map(|layer| layer.size).collect(),
    };
    let size = bytes(sizes.iter().sum());
    let mut table = Table::new(["WOULD PUSH", "TAGS", "BLOBS", "SIZE"]);
    let mut add = |name: String, tags: String| {
        table.row([name, tags, sizes.len().to_string(), size.clone()]);
    };
    match destinations::targets(destinations, &source.image().names) {
        Ok(targets) => {
            for target in targets {
                let name = format!("{}/{}", target.endpoint, target.repository);
                add(name, shown_tags(&target.tags));
            }
        }
        // Most often the key would have told.
        Err(ReferenceError::NoProject(_)) => {
            for host in destinations.hosts() {
                add(host.to_string(), destinations.tags.join(","));
            }
        }
        Err(error) => return Err(error),
    }
    Ok(table)
}
