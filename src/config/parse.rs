//! A request out of the environment: each group of variables is read by its own file, and all
//! faults are told together.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::commands::mirror::MirrorRequest;
use crate::oci::platform::PlatformError;
use crate::push::compress::Method;

use super::fault::{ConfigError, Faults};
use super::paths::{FileSystem, Paths};
use super::pull_secret::{PushContext, pull_secret};
use super::setup::setup;
use super::values::{any_of, list, number, word};
use super::variables::{self, Environment};
use super::{
    Command, Request, adc, advice, console, credentials, defaults, github_event, image, logins,
    mirror, network, targets,
};
use crate::auth::SignIn;
use crate::auth::google::metadata::MetadataServer;
use crate::ci::Ci;
use crate::ci::console::Console;
use crate::commands::list::request::ListFormat;
use crate::commands::session::MissingCredentials;
use crate::diagnostics::nearest::nearest;
use crate::diagnostics::sanitize::quoted;
use crate::image::location::{ArchiveKind, ImageOrigin, ImageSource};
use crate::oci::platform::Platforms;
use crate::oci::reference::Endpoint;
use crate::push::compress::Compression;
use crate::push::destinations::Destinations;
use crate::push::selection::Attestations;
use crate::push::tag_policy::ExistingTag;
use crate::push::upload_slots::Concurrency;
use crate::push::verify::Verify;

/// Reads the whole request: `argument` is the command word of the command line, and wins over the
/// variable `command`.
///
/// # Errors
///
/// With every fault that can be told without the network and without opening the image.
pub fn request(
    argument: Option<Command>,
    environment: impl Iterator<Item = (OsString, OsString)>,
    files: &dyn FileSystem,
) -> Result<Request, ConfigError> {
    let mut faults = Faults::default();
    let given = variables::read(environment, &mut faults);
    let paths = Paths::new(&given, files);
    let ci = console::ci(&given);
    credentials::register_secrets(&given, &paths);
    let command = command(argument, &given, &mut faults);

    let image = match command {
        Command::Push => image::image(&given, &paths, &mut faults),
        // What is not given is not looked at.
        Command::Doctor if given.inputs.image.is_some() => {
            image::image(&given, &paths, &mut faults)
        }
        Command::Mirror
        | Command::List
        | Command::PullSecret
        | Command::Setup
        | Command::Doctor => None,
    };
    let advice = advice::missing_credential(&given, &paths);
    let missing_credentials = match missing_credentials(&given, &mut faults) {
        // There, a secret that is missing is a mistake.
        MissingCredentials::Skip if github_event::with_secrets(&given, &paths).is_some() => {
            MissingCredentials::Fail
        }
        asked => asked,
    };
    let mut google = credentials::google(&given, missing_credentials, &paths, &mut faults);
    let mut unread = Vec::new();
    if !credentials::is_given(&given) {
        match adc::google(&given, &paths) {
            Ok(found) => google = found,
            Err(faults) => unread = faults,
        }
    }
    let mirror = match command {
        Command::Mirror => mirror::mirror(&given, &paths, &mut faults),
        _ => None,
    };
    let destinations = match command {
        // Its file says where.
        Command::Mirror => Destinations::default(),
        _ => targets::destinations(&given, command, google.as_ref(), &mut faults),
    };
    let source = match &image {
        Some(ImageOrigin::Registry(reference)) => Some(reference.endpoint.clone()),
        Some(ImageOrigin::Local(_)) | None => None,
    };
    let hosts: Vec<Endpoint> = destinations
        .hosts()
        .into_iter()
        .chain(source.clone())
        .chain(mirror.iter().flat_map(MirrorRequest::hosts))
        .collect();
    if command != Command::PullSecret && hosts.iter().any(Endpoint::is_google) {
        unread.into_iter().for_each(|fault| fault.tell(&mut faults));
    }
    let needs_logins = google.is_none() || hosts.iter().any(|host| !host.is_google());
    let pushed_to = match &mirror {
        Some(mirror) => mirror.destinations(),
        None => destinations.hosts(),
    };
    let source_host = source.as_ref();
    let logins = logins::logins(
        &given,
        source_host,
        &pushed_to,
        needs_logins,
        &paths,
        &mut faults,
    );
    let bearings = PushContext {
        command,
        google: google.as_ref().map(|(_, credential)| credential),
        hosts: &pushed_to,
        ci,
    };
    // Where nothing will be pushed, nothing is written either.
    let mut own = Faults::default();
    let may_skip = missing_credentials == MissingCredentials::Skip
        && google.is_none()
        && logins.docker.is_empty();
    let faults_of_secret = if may_skip { &mut own } else { &mut faults };
    let pull_secret = match command {
        Command::Setup => None,
        _ => pull_secret(&given, &bearings, &paths, faults_of_secret),
    };
    let referrers = referrers(&given, image.as_ref(), &mut faults);
    let listings = match command {
        Command::List => targets::listings(&destinations),
        Command::Push
        | Command::Mirror
        | Command::PullSecret
        | Command::Setup
        | Command::Doctor => Vec::new(),
    };
    let request = Request {
        command,
        image,
        mirror,
        listings,
        list_recursive: faults.switch("list_recursive", given.inputs.list_recursive.as_deref()),
        list_platforms: faults.switch("list_platforms", given.inputs.list_platforms.as_deref()),
        list_format: list_format(&given, &mut faults),
        pull_secret,
        missing_credentials,
        setup: setup(&given, command, &destinations, &paths, &mut faults),
        network: network::network(&given, &paths, &mut faults),
        timeout: network::timeout(&given, &mut faults),
        platforms: platforms(&given, &mut faults),
        compression: compression(&given, &mut faults),
        layer_reuse: layer_reuse(&given, &mut faults),
        attestations: attestations(&given, &mut faults),
        referrers,
        dry_run: faults.switch("dry_run", given.inputs.dry_run.as_deref()),
        existing_tag: existing_tag(&given, &mut faults),
        verify: verify(&given, &mut faults),
        concurrency: concurrency(&given, &mut faults),
        report_file: output(
            "report_file",
            &given.inputs.report_file,
            &paths,
            &mut faults,
        ),
        digest_file: output(
            "digest_file",
            &given.inputs.digest_file,
            &paths,
            &mut faults,
        ),
        dotenv_file: output(
            "dotenv_file",
            &given.inputs.dotenv_file,
            &paths,
            &mut faults,
        ),
        github_output: (ci == Some(Ci::GitHub))
            .then(|| given.ambient("GITHUB_OUTPUT").map(PathBuf::from))
            .flatten(),
        builder_output: given
            .ambient("BUILDER_OUTPUT")
            .map(|directory| Path::new(directory).join("output")),
        temporary_directory_on_host: paths.temporary_directory_on_host(),
        temporary_directory: super::paths::temporary_directory(&given),
        console: Console {
            log_format: console::log_format(&given, &mut faults),
            ..console::of(&given, &paths)
        },
        destinations,
        sign_in: SignIn {
            google,
            logins,
            metadata: metadata_server(&given, &mut faults),
            advice,
            withheld: given.withheld.clone(),
            quota_project: given
                .ambient("GOOGLE_CLOUD_QUOTA_PROJECT")
                .and_then(crate::auth::google::quota::project),
        },
        ci,
    };
    faults.check()?;
    Ok(request)
}

fn command(argument: Option<Command>, given: &Environment, faults: &mut Faults) -> Command {
    let named = given.inputs.command.as_deref().and_then(|word| {
        word.parse::<Command>()
            .map_err(|_| {
                let (name, known) = (quoted(word), Command::ALL.map(Command::word));
                let text = match nearest(word, known) {
                    Some(near) => format!("{name} is no command; did you mean `{near}`?"),
                    None => format!("{name} is no command, expected {}", any_of(&known)),
                };
                faults.unusable("command", text);
            })
            .ok()
    });
    argument.or(named).unwrap_or(Command::Push)
}

/// `GCE_METADATA_HOST` moves the metadata server, as it does for Google's own libraries.
fn metadata_server(given: &Environment, faults: &mut Faults) -> MetadataServer {
    const VARIABLE: &str = "GCE_METADATA_HOST";
    let moved = given.ambient(VARIABLE).and_then(|host| {
        faults.take(
            VARIABLE,
            MetadataServer::at(host).map_err(|_| "it is no host"),
        )
    });
    moved.unwrap_or_default()
}

fn missing_credentials(given: &Environment, faults: &mut Faults) -> MissingCredentials {
    const VARIABLE: &str = "missing_credentials";
    let words = [
        ("fail", MissingCredentials::Fail),
        ("skip", MissingCredentials::Skip),
    ];
    let text = given.inputs.missing_credentials.as_deref();
    text.and_then(|text| faults.take(VARIABLE, word(text, &words)))
        .unwrap_or_default()
}

fn compression(given: &Environment, faults: &mut Faults) -> Compression {
    const LEVEL: &str = "compression_level";
    let inputs = &given.inputs;
    let words = [("gzip", "gzip"), ("zstd", "zstd"), ("none", "none")];
    let chosen = inputs
        .compression
        .as_deref()
        .and_then(|text| faults.take("compression", word(text, &words)));
    let mut level = |largest: u8, default: u8| {
        let text = inputs.compression_level.as_deref();
        text.and_then(|text| faults.take(LEVEL, number(text, 1..=largest.into())))
            .and_then(|level| u8::try_from(level).ok())
            .unwrap_or(default)
    };
    match chosen {
        Some("none") => {
            if inputs.compression_level.is_some() {
                faults.unusable(LEVEL, "it does nothing with `compression: none`");
            }
            Compression::None
        }
        Some("zstd") => Compression::With(Method::Zstd(level(19, defaults::ZSTD_LEVEL))),
        _ => Compression::With(Method::Gzip(level(12, defaults::GZIP_LEVEL))),
    }
}

/// How a platform is written.
pub(super) const PLATFORM_FORMS: &str = "`OS/ARCHITECTURE` or `OS/ARCHITECTURE/VARIANT`, as in `linux/arm64`, or with a version as in `windows/amd64:10.0.17763`";

fn platforms(given: &Environment, faults: &mut Faults) -> Platforms {
    const VARIABLE: &str = "platforms";
    let Some(text) = given
        .inputs
        .platforms
        .as_deref()
        .filter(|text| *text != "all")
    else {
        return Platforms::All;
    };
    let parsed = list(text).into_iter().map(|item| {
        item.parse().map_err(|PlatformError| {
            format!("{} is no platform: expected {PLATFORM_FORMS}", quoted(item))
        })
    });
    let parsed: Vec<_> = parsed
        .filter_map(|item| faults.take(VARIABLE, item))
        .collect();
    Platforms::Only(parsed)
}

fn verify(given: &Environment, faults: &mut Faults) -> Verify {
    let words = [
        ("listing", Verify::Listing),
        ("blobs", Verify::Blobs),
        ("off", Verify::Off),
    ];
    let text = given.inputs.verify.as_deref();
    text.and_then(|text| faults.take("verify", word(text, &words)))
        .unwrap_or(Verify::Listing)
}

fn list_format(given: &Environment, faults: &mut Faults) -> ListFormat {
    let words = [("table", ListFormat::Table), ("json", ListFormat::Json)];
    let text = given.inputs.list_format.as_deref();
    text.and_then(|text| faults.take("list_format", word(text, &words)))
        .unwrap_or_default()
}

fn attestations(given: &Environment, faults: &mut Faults) -> Option<Attestations> {
    let words = [("keep", Attestations::Keep), ("strip", Attestations::Strip)];
    let text = given.inputs.attestations.as_deref()?;
    faults.take("attestations", word(text, &words))
}

fn referrers(given: &Environment, image: Option<&ImageOrigin>, faults: &mut Faults) -> bool {
    const VARIABLE: &str = "referrers";
    let is_on = faults.switch(VARIABLE, given.inputs.referrers.as_deref());
    // What a path or standard input is shows when it is opened.
    let is_of_docker = matches!(
        image,
        Some(ImageOrigin::Local(
            ImageSource::DockerArchive(..)
                | ImageSource::DockerDaemon(_)
                | ImageSource::StandardInput(ArchiveKind::Docker, _)
        ))
    );
    if is_on && is_of_docker {
        faults.unusable(
            VARIABLE,
            "nothing that Docker saves holds what refers to an image: `image` has to be \
             `docker://NAME`, `oci:DIR` or `oci-archive:FILE`",
        );
    }
    is_on
}

fn existing_tag(given: &Environment, faults: &mut Faults) -> ExistingTag {
    let words = [
        ("overwrite", ExistingTag::Overwrite),
        ("keep", ExistingTag::Keep),
        ("fail", ExistingTag::Fail),
    ];
    let text = given.inputs.existing_tag.as_deref();
    text.and_then(|text| faults.take("existing_tag", word(text, &words)))
        .unwrap_or_default()
}

fn layer_reuse(given: &Environment, faults: &mut Faults) -> bool {
    let words = [("auto", true), ("off", false)];
    let text = given.inputs.layer_reuse.as_deref();
    text.and_then(|text| faults.take("layer_reuse", word(text, &words)))
        .unwrap_or(true)
}

fn concurrency(given: &Environment, faults: &mut Faults) -> Concurrency {
    let text = given.inputs.concurrency.as_deref();
    text.and_then(|text| faults.take("concurrency", number(text, 1..=64)))
        .map(|number| Concurrency {
            large: number,
            all: number,
        })
        .unwrap_or(defaults::CONCURRENCY)
}

fn output(
    variable: &'static str,
    value: &Option<String>,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<PathBuf> {
    let text = value.as_deref()?;
    faults.take_path(variable, text, paths.output(text))
}
