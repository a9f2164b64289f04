//! A request out of the environment: each group of variables is read by its own file, and all
//! faults are told together.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::compress::Method;
use crate::manifest::PlatformError;

use super::fault::{ConfigError, Faults, quoted};
use super::inputs::{self, Given};
use super::nearest::nearest;
use super::paths::{Files, Paths};
use super::pull_secret::{Bearings, pull_secret};
use super::values::{any_of, list, number, word};
use super::{
    Ci, Command, Compression, Concurrency, Console, Destinations, ImageOrigin, Platforms, Request,
    Verify, console, credentials, defaults, image, network, targets,
};

/// Reads the whole request: `argument` is the command word of the command line, and wins over the
/// variable `command`.
///
/// # Errors
///
/// With every fault that can be told without the network and without opening the image.
pub fn request(
    argument: Option<Command>,
    environment: impl Iterator<Item = (OsString, OsString)>,
    files: &dyn Files,
) -> Result<Request, ConfigError> {
    let mut faults = Faults::default();
    let given = inputs::read(environment, &mut faults);
    let paths = Paths::new(&given, files);
    let ci = console::ci(&given);
    credentials::take_into_custody(&given, &paths);
    let command = command(argument, &given, &mut faults);

    let image = match command {
        Command::Push => image::image(&given, &paths, &mut faults),
        Command::List | Command::PullSecret => None,
    };
    let google = credentials::google(&given, &paths, &mut faults);
    let destinations = targets::destinations(&given, command, google.as_ref(), &mut faults);
    if command == Command::Push {
        need_credential(&given, &destinations, ci, &mut faults);
    }
    let source = match &image {
        Some(ImageOrigin::Registry(reference)) => Some(&reference.endpoint),
        Some(ImageOrigin::Local(_)) | None => None,
    };
    let hosts = destinations.hosts();
    let elsewhere = hosts.iter().chain(source).any(|host| !host.is_google());
    let docker_config = credentials::docker_config(&given, elsewhere, &paths, &mut faults);
    let bearings = Bearings {
        command,
        google: google.as_ref(),
        destinations: &destinations,
        ci,
    };
    let pull_secret = pull_secret(&given, &bearings, &paths, &mut faults);
    let listings = match command {
        Command::List => targets::listings(&destinations),
        Command::Push | Command::PullSecret => Vec::new(),
    };
    let request = Request {
        command,
        image,
        listings,
        pull_secret,
        docker_config,
        network: network::network(&given, &paths, &mut faults),
        platforms: platforms(&given, &mut faults),
        compression: compression(&given, &mut faults),
        layer_reuse: layer_reuse(&given, &mut faults),
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
        temporary_directory: given.ambient("TMPDIR").unwrap_or("/tmp").into(),
        console: Console {
            log_format: console::log_format(&given, &mut faults),
            ..console::of(&given, &paths)
        },
        destinations,
        google,
        ci,
    };
    faults.check()?;
    Ok(request)
}

fn command(argument: Option<Command>, given: &Given, faults: &mut Faults) -> Command {
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

/// Google's registries take no push from just anybody.
fn need_credential(
    given: &Given,
    destinations: &Destinations,
    ci: Option<Ci>,
    faults: &mut Faults,
) {
    const VARIABLE: &str = "credentials_json";
    if given.inputs.credentials_json.is_some() || given.inputs.access_token.is_some() {
        return;
    }
    let hosts = destinations.hosts();
    let Some(host) = hosts.iter().find(|host| host.is_google()) else {
        return;
    };
    faults.missing(
        VARIABLE,
        format!(
            "`{host}` needs a credential to push: give a service-account key, or an `access_token`"
        ),
    );
    if ci.is_some() && given.empty.contains(&VARIABLE) {
        faults.hint("a secret is empty when the workflow runs for a fork's pull request, or when the secret's name is misspelt");
    }
}

fn compression(given: &Given, faults: &mut Faults) -> Compression {
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

fn platforms(given: &Given, faults: &mut Faults) -> Platforms {
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
            format!(
                "{} is no platform: expected `OS/ARCHITECTURE` or `OS/ARCHITECTURE/VARIANT`, as in `linux/arm64`",
                quoted(item)
            )
        })
    });
    let parsed: Vec<_> = parsed
        .filter_map(|item| faults.take(VARIABLE, item))
        .collect();
    Platforms::Only(parsed)
}

fn verify(given: &Given, faults: &mut Faults) -> Verify {
    let words = [("listing", Verify::Listing), ("off", Verify::Off)];
    let text = given.inputs.verify.as_deref();
    text.and_then(|text| faults.take("verify", word(text, &words)))
        .unwrap_or(Verify::Listing)
}

fn layer_reuse(given: &Given, faults: &mut Faults) -> bool {
    let words = [("auto", true), ("off", false)];
    let text = given.inputs.layer_reuse.as_deref();
    text.and_then(|text| faults.take("layer_reuse", word(text, &words)))
        .unwrap_or(true)
}

fn concurrency(given: &Given, faults: &mut Faults) -> Concurrency {
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
