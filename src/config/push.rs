//! The options of a push.

use super::defaults;
use super::environment::Environment;
use crate::diagnostics::sanitize::quoted;
use crate::image::location::{ArchiveKind, ImageOrigin, ImageSource};
use crate::oci::platform::{PlatformError, Platforms};
use crate::push::PushOptions;
use crate::push::compress::{Compression, Method};
use crate::push::selection::Attestations;
use crate::push::tag_policy::ExistingTag;
use crate::push::upload_slots::Concurrency;
use crate::push::verify::Verify;

/// Reads the options of `push`, some of which other commands use too.
pub(super) fn options(environment: &Environment<'_>, image: Option<&ImageOrigin>) -> PushOptions {
    let inputs = &environment.inputs;
    let existing_tag = [ExistingTag::Overwrite, ExistingTag::Keep, ExistingTag::Fail];
    let verify = [Verify::Listing, Verify::Blobs, Verify::Off];
    let concurrency = inputs
        .concurrency
        .count()
        .and_then(|n| usize::try_from(n).ok());
    PushOptions {
        platforms: platforms(environment),
        attestations: inputs
            .attestations
            .word([Attestations::Keep, Attestations::Strip]),
        referrers: referrers(environment, image),
        dry_run: inputs.dry_run.switch(),
        existing_tag: inputs.existing_tag.word_or_first(existing_tag),
        compression: compression(environment),
        layer_reuse: inputs.layer_reuse.word_or_first([true, false]),
        verify: inputs.verify.word_or_first(verify),
        concurrency: concurrency.map_or(defaults::CONCURRENCY, |number| Concurrency {
            large: number,
            all: number,
        }),
    }
}

fn compression(environment: &Environment<'_>) -> Compression {
    let (chosen, level) = (
        &environment.inputs.compression,
        &environment.inputs.compression_level,
    );
    let level_up_to = |largest: u8, default: u8| {
        let number = level.read(|text| super::values::number(text, 1..=largest));
        number.unwrap_or(default)
    };
    match chosen.word_or_first(["gzip", "zstd", "none"]) {
        "none" => {
            if level.is_set() {
                level.invalid("it has no effect with `compression: none`");
            }
            Compression::None
        }
        "zstd" => Compression::With(Method::Zstd(level_up_to(19, defaults::ZSTD_LEVEL))),
        _ => Compression::With(Method::Gzip(level_up_to(12, defaults::GZIP_LEVEL))),
    }
}

/// The syntax of a platform, for messages.
pub(super) const PLATFORM_FORMS: &str = "`OS/ARCHITECTURE` or `OS/ARCHITECTURE/VARIANT`, as in `linux/arm64`, or with a version as in `windows/amd64:10.0.17763`";

fn platforms(environment: &Environment<'_>) -> Platforms {
    let input = &environment.inputs.platforms;
    if !input.is_set() || input.text() == Some("all") {
        return Platforms::All;
    }
    let parsed = input.items().into_iter().map(|item| {
        item.parse().map_err(|PlatformError| {
            format!(
                "{} is not a platform: expected {PLATFORM_FORMS}",
                quoted(item)
            )
        })
    });
    Platforms::Only(parsed.filter_map(|item| input.accept(item)).collect())
}

fn referrers(environment: &Environment<'_>, image: Option<&ImageOrigin>) -> bool {
    let input = &environment.inputs.referrers;
    let is_on = input.switch();
    // The kind of a bare path or of standard input is known only when it is opened.
    let is_of_docker = matches!(
        image,
        Some(ImageOrigin::Local(
            ImageSource::DockerArchive(..)
                | ImageSource::DockerDaemon(_)
                | ImageSource::StandardInput(ArchiveKind::Docker, _)
        ))
    );
    if is_on && is_of_docker {
        input.invalid(
            "Docker does not save what refers to an image: set `image` to `docker://NAME`, \
             `oci:DIR` or `oci-archive:FILE`",
        );
    }
    is_on
}
