//! Builds the request from the environment. Each group of variables has its own module, and all
//! errors are reported together.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::environment::{self, Environment};
use super::errors::ConfigError;
use super::paths::FileSystem;
use super::pull_secret::{PushContext, pull_secret};
use super::{
    Command, CommandLine, CommandName, Request, adc, advice, console, credentials, github_event,
    image, list, logins, mirror, network, push, setup, targets, values,
};
use crate::auth::SignIn;
use crate::auth::google::metadata::MetadataServer;
use crate::ci::Ci;
use crate::ci::output::ResultFiles;
use crate::commands::doctor::DoctorRequest;
use crate::commands::list::ListRequest;
use crate::commands::mirror::{MirrorFile, MirrorRequest};
use crate::commands::pull_secret::request::PullSecretRequest;
use crate::commands::push::PushRequest;
use crate::commands::session::{MissingCredentials, Session};
use crate::diagnostics::nearest::nearest;
use crate::diagnostics::sanitize::quoted;
use crate::image::location::ImageOrigin;
use crate::oci::reference::Endpoint;
use crate::push::targets::Destinations;

/// Reads the whole request. What the command line gives takes precedence.
///
/// # Errors
///
/// With every error that can be found without the network and without opening the image.
pub fn request(
    line: &CommandLine,
    environment: impl Iterator<Item = (OsString, OsString)>,
    files: &dyn FileSystem,
) -> Result<Request, ConfigError> {
    let environment = environment::read(line, environment, files);
    let ci = console::ci(&environment);
    credentials::register_secrets(&environment);
    let name = line.command.unwrap_or_else(|| command(&environment));
    let request = request_of(name, ci, &environment);
    environment.errors.check(request, name, line.has_values())
}

/// `None` only if there is an error.
fn request_of(name: CommandName, ci: Option<Ci>, environment: &Environment<'_>) -> Option<Request> {
    let inputs = &environment.inputs;
    let image = match name {
        CommandName::Push => image::image(environment),
        // `doctor` checks an image only if one is set.
        CommandName::Doctor if inputs.image.is_set() => image::image(environment),
        _ => None,
    };
    let advice = advice::missing_credential(environment);
    let missing = [MissingCredentials::Fail, MissingCredentials::Skip];
    let missing_credentials = match inputs.missing_credentials.word_or_first(missing) {
        // Such events get secrets, so a missing one is a mistake.
        MissingCredentials::Skip if github_event::with_secrets(environment).is_some() => {
            MissingCredentials::Fail
        }
        asked => asked,
    };
    let mut google = credentials::google(environment, missing_credentials);
    let mut unread = Vec::new();
    if !credentials::is_given(environment) {
        match adc::google(environment) {
            Ok(credential) => google = credential,
            Err(errors) => unread = errors,
        }
    }
    let mirror = match name {
        CommandName::Mirror => mirror::mirror(environment),
        _ => None,
    };
    let destinations = match name {
        // The mirror file names the destinations.
        CommandName::Mirror => Destinations::default(),
        _ => targets::destinations(environment, name, google.as_ref()),
    };
    let source = match &image {
        Some(ImageOrigin::Registry(reference)) => Some(&reference.endpoint),
        Some(ImageOrigin::Local(_)) | None => None,
    };
    let hosts: Vec<Endpoint> = destinations
        .hosts()
        .into_iter()
        .chain(source.cloned())
        .chain(mirror.iter().flat_map(MirrorFile::all_hosts))
        .collect();
    if name != CommandName::PullSecret && hosts.iter().any(Endpoint::is_google) {
        for error in unread {
            error.report(&environment.errors);
        }
    }
    let needs_logins = google.is_none()
        || hosts.iter().any(|host| !host.is_google())
        || mirror.as_ref().is_some_and(MirrorFile::has_unknown_sources);
    let pushed_to = match &mirror {
        Some(mirror) => mirror.hosts(),
        None => destinations.hosts(),
    };
    let logins = logins::logins(environment, source, &pushed_to, needs_logins);
    let context = PushContext {
        command: name,
        google: google.as_ref().map(|(_, credential)| credential),
        hosts: &pushed_to,
        ci,
    };
    // A run that pushes nothing writes no pull secret either, so its errors do not matter.
    let may_skip = missing_credentials == MissingCredentials::Skip
        && google.is_none()
        && logins.docker.is_empty();
    let read_secret = || match name {
        CommandName::Setup => None,
        _ => pull_secret(environment, &context),
    };
    let pull_secret = environment.errors.forgetting(may_skip, read_secret);
    let session = Session {
        sign_in: SignIn {
            google,
            logins,
            metadata: metadata_server(environment),
            advice,
            withheld: environment.withheld.clone(),
            quota_project: environment
                .ambient("GOOGLE_CLOUD_QUOTA_PROJECT")
                .and_then(crate::auth::google::quota::project),
        },
        network: network::network(environment),
        console: console::of(environment),
        temporary_directory: super::paths::temporary_directory(environment),
    };
    let timeout = inputs.timeout.duration();
    let options = push::options(environment, image.as_ref());
    let (list_options, list_format) = list::options(environment);
    let files = result_files(environment, ci);
    let command = match name {
        CommandName::Push => Command::Push(Box::new(PushRequest {
            session,
            image: image?,
            destinations,
            options,
            missing_credentials,
            pull_secret,
            files,
        })),
        CommandName::Mirror => Command::Mirror(Box::new(MirrorRequest {
            session,
            file: mirror?,
            require_complete: mirror::require_complete(environment, options.dry_run),
            options,
            missing_credentials,
            pull_secret,
            files,
            failover_directory: inputs.failover_dir.output(environment),
        })),
        CommandName::List => Command::List(Box::new(ListRequest {
            session,
            listings: list::listings(&destinations),
            options: list_options,
            format: list_format,
            files,
        })),
        CommandName::PullSecret => Command::PullSecret(Box::new(PullSecretRequest {
            session,
            destinations,
            options: pull_secret?,
            dry_run: options.dry_run,
            files,
        })),
        CommandName::Setup => {
            let request = setup::setup(environment, &destinations, options.dry_run, session, files);
            Command::Setup(Box::new(request))
        }
        CommandName::Doctor => Command::Doctor(Box::new(DoctorRequest {
            session,
            image,
            destinations,
            platforms: options.platforms,
            files,
        })),
    };
    Some(Request { command, timeout })
}

/// The files for the results.
fn result_files(environment: &Environment<'_>, ci: Option<Ci>) -> ResultFiles {
    let inputs = &environment.inputs;
    let github_output = environment.ambient("GITHUB_OUTPUT").map(PathBuf::from);
    let builder_output = environment.ambient("BUILDER_OUTPUT");
    ResultFiles {
        report: inputs.report_file.output(environment),
        digest: inputs.digest_file.output(environment),
        dotenv: inputs.dotenv_file.output(environment),
        github_output: github_output.filter(|_| ci == Some(Ci::GitHub)),
        builder_output: builder_output.map(|directory| Path::new(directory).join("output")),
        temporary_directory_on_host: environment.paths.temporary_directory_on_host(),
    }
}

/// The command of the variable `command`, else `push`.
fn command(environment: &Environment<'_>) -> CommandName {
    let named = environment.inputs.command.read(|word| {
        word.parse().map_err(|_| {
            let (name, known) = (quoted(word), CommandName::ALL.map(CommandName::word));
            match nearest(word, known) {
                Some(near) => format!("{name} is not a command; did you mean `{near}`?"),
                None => format!(
                    "{name} is not a command, expected {}",
                    values::any_of(&known)
                ),
            }
        })
    });
    named.unwrap_or(CommandName::Push)
}

/// The metadata server. `GCE_METADATA_HOST` replaces its host, as in Google's own libraries.
fn metadata_server(environment: &Environment<'_>) -> MetadataServer {
    const VARIABLE: &str = "GCE_METADATA_HOST";
    let moved = environment.ambient(VARIABLE).and_then(|host| {
        let server = MetadataServer::at(host).map_err(|_| "it is not a host");
        environment.errors.accept(VARIABLE, server)
    });
    moved.unwrap_or_default()
}
