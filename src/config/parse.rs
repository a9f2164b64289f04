//! Builds the request from the environment. Each group of variables has its own module, and all
//! faults are reported together.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::ci::output::ResultFiles;
use crate::commands::doctor::DoctorRequest;
use crate::commands::list::{ListFormat, ListOptions, ListRequest};
use crate::commands::mirror::{MirrorFile, MirrorRequest};
use crate::commands::pull_secret::request::PullSecretRequest;
use crate::commands::push::PushRequest;
use crate::oci::platform::PlatformError;
use crate::push::compress::Method;

use super::environment::{self, Environment};
use super::fault::{ConfigError, Faults};
use super::paths::{FileSystem, Paths};
use super::pull_secret::{PushContext, pull_secret};
use super::setup::setup;
use super::values::{any_of, list, number, word};
use super::{
    Command, CommandLine, CommandName, Request, adc, advice, console, credentials, defaults,
    github_event, image, logins, mirror, network, targets,
};
use crate::auth::SignIn;
use crate::auth::google::metadata::MetadataServer;
use crate::ci::Ci;
use crate::ci::console::Console;
use crate::commands::session::{MissingCredentials, Session};
use crate::diagnostics::nearest::nearest;
use crate::diagnostics::sanitize::quoted;
use crate::image::location::{ArchiveKind, ImageOrigin, ImageSource};
use crate::oci::platform::Platforms;
use crate::oci::reference::Endpoint;
use crate::push::PushOptions;
use crate::push::compress::Compression;
use crate::push::destinations::Destinations;
use crate::push::selection::Attestations;
use crate::push::tag_policy::ExistingTag;
use crate::push::upload_slots::Concurrency;
use crate::push::verify::Verify;

/// Reads the whole request. What the command line gives takes precedence.
///
/// # Errors
///
/// With every fault that can be found without the network and without opening the image.
pub fn request(
    line: &CommandLine,
    environment: impl Iterator<Item = (OsString, OsString)>,
    files: &dyn FileSystem,
) -> Result<Request, ConfigError> {
    let mut faults = Faults::default();
    let environment = environment::read(line, environment, &mut faults);
    let paths = Paths::new(&environment, files);
    let ci = console::ci(&environment);
    credentials::register_secrets(&environment, &paths);
    let name = command(line.command, &environment, &mut faults);
    let command = name;

    let image = match command {
        CommandName::Push => image::image(&environment, &paths, &mut faults),
        // `doctor` checks an image only if one is set.
        CommandName::Doctor if environment.inputs.image.is_some() => {
            image::image(&environment, &paths, &mut faults)
        }
        CommandName::Mirror
        | CommandName::List
        | CommandName::PullSecret
        | CommandName::Setup
        | CommandName::Doctor => None,
    };
    let advice = advice::missing_credential(&environment, &paths);
    let missing_credentials = match missing_credentials(&environment, &mut faults) {
        // Such events get secrets, so a missing one is a mistake.
        MissingCredentials::Skip if github_event::with_secrets(&environment, &paths).is_some() => {
            MissingCredentials::Fail
        }
        asked => asked,
    };
    let mut google = credentials::google(&environment, missing_credentials, &paths, &mut faults);
    let mut unread = Vec::new();
    if !credentials::is_given(&environment) {
        match adc::google(&environment, &paths) {
            Ok(credential) => google = credential,
            Err(faults) => unread = faults,
        }
    }
    let mirror = match command {
        CommandName::Mirror => mirror::mirror(&environment, &paths, &mut faults),
        _ => None,
    };
    let destinations = match command {
        // The mirror file names the destinations.
        CommandName::Mirror => Destinations::default(),
        _ => targets::destinations(&environment, command, google.as_ref(), &mut faults),
    };
    let source = match &image {
        Some(ImageOrigin::Registry(reference)) => Some(reference.endpoint.clone()),
        Some(ImageOrigin::Local(_)) | None => None,
    };
    let hosts: Vec<Endpoint> = destinations
        .hosts()
        .into_iter()
        .chain(source.clone())
        .chain(mirror.iter().flat_map(MirrorFile::all_hosts))
        .collect();
    if command != CommandName::PullSecret && hosts.iter().any(Endpoint::is_google) {
        unread
            .into_iter()
            .for_each(|fault| fault.report(&mut faults));
    }
    let needs_logins = google.is_none() || hosts.iter().any(|host| !host.is_google());
    let pushed_to = match &mirror {
        Some(mirror) => mirror.hosts(),
        None => destinations.hosts(),
    };
    let source_host = source.as_ref();
    let logins = logins::logins(
        &environment,
        source_host,
        &pushed_to,
        needs_logins,
        &paths,
        &mut faults,
    );
    let context = PushContext {
        command,
        google: google.as_ref().map(|(_, credential)| credential),
        hosts: &pushed_to,
        ci,
    };
    // A run that pushes nothing writes no pull secret either, so its faults do not matter.
    let mut ignored = Faults::default();
    let may_skip = missing_credentials == MissingCredentials::Skip
        && google.is_none()
        && logins.docker.is_empty();
    let faults_of_secret = if may_skip { &mut ignored } else { &mut faults };
    let pull_secret = match command {
        CommandName::Setup => None,
        _ => pull_secret(&environment, &context, &paths, faults_of_secret),
    };
    let session = Session {
        sign_in: SignIn {
            google,
            logins,
            metadata: metadata_server(&environment, &mut faults),
            advice,
            withheld: environment.withheld.clone(),
            quota_project: environment
                .ambient("GOOGLE_CLOUD_QUOTA_PROJECT")
                .and_then(crate::auth::google::quota::project),
        },
        network: network::network(&environment, &paths, &mut faults),
        console: Console {
            log_format: console::log_format(&environment, &mut faults),
            ..console::of(&environment, &paths)
        },
        temporary_directory: super::paths::temporary_directory(&environment),
    };
    let timeout = network::timeout(&environment, &mut faults);
    let options = PushOptions {
        platforms: platforms(&environment, &mut faults),
        attestations: attestations(&environment, &mut faults),
        referrers: referrers(&environment, image.as_ref(), &mut faults),
        dry_run: faults.switch("dry_run", environment.inputs.dry_run.as_deref()),
        existing_tag: existing_tag(&environment, &mut faults),
        compression: compression(&environment, &mut faults),
        layer_reuse: layer_reuse(&environment, &mut faults),
        verify: verify(&environment, &mut faults),
        concurrency: concurrency(&environment, &mut faults),
    };
    let list_options = ListOptions {
        recursive: faults.switch(
            "list_recursive",
            environment.inputs.list_recursive.as_deref(),
        ),
        platforms: faults.switch(
            "list_platforms",
            environment.inputs.list_platforms.as_deref(),
        ),
    };
    let list_format = list_format(&environment, &mut faults);
    let files = result_files(&environment, ci, &paths, &mut faults);
    // `None` only if there is a fault.
    let command = match command {
        CommandName::Push => image.map(|image| {
            Command::Push(Box::new(PushRequest {
                session,
                image,
                destinations,
                options,
                missing_credentials,
                pull_secret,
                files,
            }))
        }),
        CommandName::Mirror => mirror.map(|file| {
            Command::Mirror(Box::new(MirrorRequest {
                session,
                file,
                options,
                missing_credentials,
                pull_secret,
                files,
            }))
        }),
        CommandName::List => Some(Command::List(Box::new(ListRequest {
            session,
            listings: targets::listings(&destinations),
            options: list_options,
            format: list_format,
            files,
        }))),
        CommandName::PullSecret => pull_secret.map(|pull_secret| {
            Command::PullSecret(Box::new(PullSecretRequest {
                session,
                destinations,
                options: pull_secret,
                dry_run: options.dry_run,
                files,
            }))
        }),
        CommandName::Setup => {
            let request = setup(
                &environment,
                &destinations,
                session,
                files,
                &paths,
                &mut faults,
            );
            Some(Command::Setup(Box::new(request)))
        }
        CommandName::Doctor => Some(Command::Doctor(Box::new(DoctorRequest {
            session,
            image,
            destinations,
            platforms: options.platforms,
            files,
        }))),
    };
    let command = faults.check(command, name, line.has_values())?;
    Ok(Request { command, timeout })
}

/// The files for the results.
fn result_files(
    environment: &Environment,
    ci: Option<Ci>,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> ResultFiles {
    let inputs = &environment.inputs;
    let github_output = environment.ambient("GITHUB_OUTPUT").map(PathBuf::from);
    let builder_output = environment.ambient("BUILDER_OUTPUT");
    ResultFiles {
        report: output("report_file", &inputs.report_file, paths, faults),
        digest: output("digest_file", &inputs.digest_file, paths, faults),
        dotenv: output("dotenv_file", &inputs.dotenv_file, paths, faults),
        github_output: github_output.filter(|_| ci == Some(Ci::GitHub)),
        builder_output: builder_output.map(|directory| Path::new(directory).join("output")),
        temporary_directory_on_host: paths.temporary_directory_on_host(),
    }
}

fn command(
    argument: Option<CommandName>,
    environment: &Environment,
    faults: &mut Faults,
) -> CommandName {
    let named = environment.inputs.command.as_deref().and_then(|word| {
        word.parse::<CommandName>()
            .map_err(|_| {
                let (name, known) = (quoted(word), CommandName::ALL.map(CommandName::word));
                let text = match nearest(word, known) {
                    Some(near) => format!("{name} is no command; did you mean `{near}`?"),
                    None => format!("{name} is no command, expected {}", any_of(&known)),
                };
                faults.unusable("command", text);
            })
            .ok()
    });
    argument.or(named).unwrap_or(CommandName::Push)
}

/// The metadata server. `GCE_METADATA_HOST` replaces its host, as in Google's own libraries.
fn metadata_server(environment: &Environment, faults: &mut Faults) -> MetadataServer {
    const VARIABLE: &str = "GCE_METADATA_HOST";
    let moved = environment.ambient(VARIABLE).and_then(|host| {
        faults.accept(
            VARIABLE,
            MetadataServer::at(host).map_err(|_| "it is no host"),
        )
    });
    moved.unwrap_or_default()
}

fn missing_credentials(environment: &Environment, faults: &mut Faults) -> MissingCredentials {
    const VARIABLE: &str = "missing_credentials";
    let words = [
        ("fail", MissingCredentials::Fail),
        ("skip", MissingCredentials::Skip),
    ];
    let text = environment.inputs.missing_credentials.as_deref();
    text.and_then(|text| faults.accept(VARIABLE, word(text, &words)))
        .unwrap_or_default()
}

fn compression(environment: &Environment, faults: &mut Faults) -> Compression {
    const LEVEL: &str = "compression_level";
    let inputs = &environment.inputs;
    let words = [("gzip", "gzip"), ("zstd", "zstd"), ("none", "none")];
    let chosen = inputs
        .compression
        .as_deref()
        .and_then(|text| faults.accept("compression", word(text, &words)));
    let mut level = |largest: u8, default: u8| {
        let text = inputs.compression_level.as_deref();
        text.and_then(|text| faults.accept(LEVEL, number(text, 1..=largest.into())))
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

/// The syntax of a platform, for messages.
pub(super) const PLATFORM_FORMS: &str = "`OS/ARCHITECTURE` or `OS/ARCHITECTURE/VARIANT`, as in `linux/arm64`, or with a version as in `windows/amd64:10.0.17763`";

fn platforms(environment: &Environment, faults: &mut Faults) -> Platforms {
    const VARIABLE: &str = "platforms";
    let Some(text) = environment
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
        .filter_map(|item| faults.accept(VARIABLE, item))
        .collect();
    Platforms::Only(parsed)
}

fn verify(environment: &Environment, faults: &mut Faults) -> Verify {
    let words = [
        ("listing", Verify::Listing),
        ("blobs", Verify::Blobs),
        ("off", Verify::Off),
    ];
    let text = environment.inputs.verify.as_deref();
    text.and_then(|text| faults.accept("verify", word(text, &words)))
        .unwrap_or(Verify::Listing)
}

fn list_format(environment: &Environment, faults: &mut Faults) -> ListFormat {
    let words = [("table", ListFormat::Table), ("json", ListFormat::Json)];
    let text = environment.inputs.list_format.as_deref();
    text.and_then(|text| faults.accept("list_format", word(text, &words)))
        .unwrap_or_default()
}

fn attestations(environment: &Environment, faults: &mut Faults) -> Option<Attestations> {
    let words = [("keep", Attestations::Keep), ("strip", Attestations::Strip)];
    let text = environment.inputs.attestations.as_deref()?;
    faults.accept("attestations", word(text, &words))
}

fn referrers(environment: &Environment, image: Option<&ImageOrigin>, faults: &mut Faults) -> bool {
    const VARIABLE: &str = "referrers";
    let is_on = faults.switch(VARIABLE, environment.inputs.referrers.as_deref());
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
        faults.unusable(
            VARIABLE,
            "nothing that Docker saves holds what refers to an image: `image` has to be \
             `docker://NAME`, `oci:DIR` or `oci-archive:FILE`",
        );
    }
    is_on
}

fn existing_tag(environment: &Environment, faults: &mut Faults) -> ExistingTag {
    let words = [
        ("overwrite", ExistingTag::Overwrite),
        ("keep", ExistingTag::Keep),
        ("fail", ExistingTag::Fail),
    ];
    let text = environment.inputs.existing_tag.as_deref();
    text.and_then(|text| faults.accept("existing_tag", word(text, &words)))
        .unwrap_or_default()
}

fn layer_reuse(environment: &Environment, faults: &mut Faults) -> bool {
    let words = [("auto", true), ("off", false)];
    let text = environment.inputs.layer_reuse.as_deref();
    text.and_then(|text| faults.accept("layer_reuse", word(text, &words)))
        .unwrap_or(true)
}

fn concurrency(environment: &Environment, faults: &mut Faults) -> Concurrency {
    let text = environment.inputs.concurrency.as_deref();
    text.and_then(|text| faults.accept("concurrency", number(text, 1..=64)))
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
    faults.accept_path(variable, text, paths.output(text))
}
