//! `push` without a credential, if `missing_credentials` is `skip`: checks the image and prints its
//! destinations.

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
use crate::push::targets::{self, Destinations, TargetError};

/// Checks the image and prints its destinations.
///
/// # Errors
///
/// If the image is damaged, or a requested file cannot be written.
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
    let notice = format!("nothing was pushed: {NO_CREDENTIAL}; the image itself is valid");
    console::notice(request.session.console.log_format, &notice);
    let report = Report {
        notes: vec![notice],
        skipped: true,
        ..Report::default()
    };
    let unwritten = write_results(&report, request).into_iter();
    Failure::check(unwritten.map(PushCommandError::Output).collect())
}

/// Reads every blob of the image and compares it with its digest.
///
/// # Errors
///
/// If a blob cannot be read, or has another digest.
async fn check(source: &Source) -> Result<(), PushError> {
    let digests = match &source.image().content {
        Content::Manifests(tree) => tree.blobs().map(|blob| blob.digest.clone()).collect(),
        Content::Uncompressed(image) => {
            let layers = image.layers.iter();
            // The digest of a compressed layer is not stated.
            let plain = layers.filter(|layer| layer.format == LayerFormat::Tar);
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

/// The table of the destinations, with the number and the size of the blobs.
///
/// # Errors
///
/// If the image's names are no valid destinations.
fn plan(source: &Source, destinations: &Destinations) -> Result<Table, ReferenceError> {
    let sizes: Vec<u64> = match &source.image().content {
        Content::Manifests(tree) => tree.blobs().map(|blob| blob.size).collect(),
        Content::Uncompressed(image) => image.layers.iter().map(|layer| layer.size).collect(),
    };
    let size = bytes(sizes.iter().sum());
    let mut table = Table::new(["WOULD PUSH", "TAGS", "BLOBS", "SIZE"]);
    let mut add = |name: String, tags: String| {
        table.row([name, tags, sizes.len().to_string(), size.clone()]);
    };
    match targets::targets(destinations, &source.image().names) {
        Ok(targets) => {
            for target in targets {
                let name = format!("{}/{}", target.endpoint, target.repository);
                add(name, tags_cell(&target.tags));
            }
        }
        // The project usually comes from the key, which is missing.
        Err(ReferenceError::NoProject(_)) => {
            for host in destinations.hosts() {
                add(host.to_string(), destinations.tags.join(","));
            }
        }
        Err(error) => return Err(error),
    }
    Ok(table)
}
