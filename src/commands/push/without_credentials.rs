//! `push` without a credential, where `missing_credentials` is `skip`: the image is checked, and where
//! it would go is printed.

use std::io::Write;

use super::report::tags_cell;
use super::{PushCommandError, PushRequest, Report, write_results};
use crate::ci::console;
use crate::ci::output::print;
use crate::ci::table::{Table, bytes};
use crate::commands::session::NO_CREDENTIAL;
use crate::diagnostics::Failure;
use crate::image::location::ImageOrigin;
use crate::image::{Content, LayerFormat, Source};
use crate::oci::reference::ReferenceError;
use crate::push::PushError;
use crate::push::destinations::{self, Destinations, TargetError};

/// Checks the image and prints where it would go.
///
/// # Errors
///
/// When the image is damaged, or what was asked for cannot be written.
pub(super) async fn validate(
    source: &Source,
    request: &PushRequest,
    stdout: &mut dyn Write,
) -> Result<(), Failure<PushCommandError>> {
    if matches!(request.image, ImageOrigin::Local(_)) {
        check(source).await.map_err(PushCommandError::Push)?;
    }
    let plan = plan(source, &request.destinations)
        .map_err(|cause| PushCommandError::Target(TargetError(cause)))?;
    print(stdout, plan).map_err(PushCommandError::Output)?;
    let notice = format!("nothing was pushed: {NO_CREDENTIAL}; the image itself is sound");
    console::notice(request.session.console.log_format, &notice);
    let report = Report {
        notes: vec![notice],
        skipped: true,
        ..Report::default()
    };
    let unwritten = write_results(&report, request).into_iter();
    Failure::check(unwritten.map(PushCommandError::Output).collect())
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
                add(name, tags_cell(&target.tags));
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
