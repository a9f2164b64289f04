//! The source of an image, in the syntax of containers-transports(5).

use std::path::{Path, PathBuf};

use super::daemon;
use super::environment::Environment;
use crate::diagnostics::sanitize::quoted;
use crate::image::location::ArchiveKind;
use crate::image::location::ImageOrigin;
use crate::image::location::ImageSource;
use crate::oci::reference::{Reference, ReferenceError};

const EXAMPLES: &str = "`docker-archive:image.tar`, `oci-archive:image.tar`, `oci:DIRECTORY`, `docker://NAME`, \
     `docker-daemon:NAME`, a path, or `-` for standard input";

const NAMES: &str = "for an image in a Docker engine, use `docker-daemon:NAME`; for an image in a \
                     registry, begin with the registry, as in `ghcr.io/acme/api:1.2`";

/// Reads the variable `image`.
pub(super) fn image(environment: &Environment<'_>) -> Option<ImageOrigin> {
    const VARIABLE: &str = "image";
    let Some(text) = environment.inputs.image.text() else {
        environment
            .errors
            .missing(VARIABLE, format!("set it to the image to push: {EXAMPLES}"));
        return None;
    };
    if !is_file(environment, text)
        && let Some(fault @ ReferenceError::Unfilled(..)) = ReferenceError::of_text(text)
    {
        environment.errors.invalid(VARIABLE, fault);
        return None;
    }
    let form = match parse(text) {
        Ok(Form::Path(Transport::Bare, path, _)) if !is_file(environment, path) => path
            .parse()
            .map_or_else(|_| parse(text), |r| Ok(Form::Registry(r))),
        form => form,
    };
    match form {
        // The runner calls `docker run` without `--interactive`, which attaches no standard input
        // (actions/runner, DockerCommandManager.cs).
        Ok(Form::StandardInput(..)) if environment.paths.are_of_action() => {
            environment
                .errors
                .invalid(VARIABLE, "the container of an action has no standard input");
            environment.errors.hint(
                "save the image to a file in the workspace, `docker save --output image.tar \
                 NAME`, and use that file",
            );
            None
        }
        Ok(Form::StandardInput(kind, reference)) => {
            let input = ImageSource::StandardInput(kind, reference);
            Some(ImageOrigin::Local(input))
        }
        Ok(Form::Daemon(reference)) => {
            let image = daemon::image(reference, environment)?;
            Some(ImageOrigin::Local(ImageSource::DockerDaemon(image)))
        }
        Ok(Form::Registry(reference)) => Some(ImageOrigin::Registry(reference)),
        Ok(Form::Path(transport, path, reference)) => environment
            .errors
            .accept_path(VARIABLE, path, environment.paths.input(path))
            .map(|path| ImageOrigin::Local(transport.at(path, reference))),
        Err(fault) => {
            environment.errors.invalid(VARIABLE, fault);
            if is_name(text) {
                environment.errors.hint(NAMES);
            }
            None
        }
    }
}

/// The parsed value of `image`, before its path is resolved.
#[derive(Debug, PartialEq, Eq)]
enum Form<'a> {
    Path(Transport, &'a str, Option<String>),
    StandardInput(ArchiveKind, Option<String>),
    Daemon(&'a str),
    Registry(Reference),
}

/// True if a bare path exists or ends as an archive does. Otherwise it may be the name of an image:
/// `out.d/app` could be either.
fn is_file(environment: &Environment<'_>, path: &str) -> bool {
    const ENDINGS: [&str; 7] = ["tar", "gz", "tgz", "zst", "xz", "bz2", "oci"];
    let ending = Path::new(path)
        .extension()
        .and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.contains(&ending))
        || environment
            .paths
            .input(path)
            .is_ok_and(|path| environment.paths.files().exists(&path))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    DockerArchive,
    OciArchive,
    OciLayout,
    Bare,
}

impl Transport {
    fn at(self, path: PathBuf, reference: Option<String>) -> ImageSource {
        match self {
            Self::DockerArchive => ImageSource::DockerArchive(path, reference),
            Self::OciArchive => ImageSource::OciArchive(path, reference),
            Self::OciLayout => ImageSource::OciLayout(path, reference),
            Self::Bare => ImageSource::Path(path),
        }
    }

    /// The kind of archive on standard input. `None` for a layout, which is a directory.
    fn archive(self) -> Option<ArchiveKind> {
        match self {
            Self::DockerArchive => Some(ArchiveKind::Docker),
            Self::OciArchive => Some(ArchiveKind::Oci),
            Self::Bare => Some(ArchiveKind::Any),
            Self::OciLayout => None,
        }
    }

    fn form(self, path: &str, reference: Option<String>) -> Form<'_> {
        match self.archive() {
            Some(kind) if path == "-" => Form::StandardInput(kind, reference),
            _ => Form::Path(self, path, reference),
        }
    }
}

const TRANSPORTS: [(&str, Transport); 3] = [
    ("docker-archive:", Transport::DockerArchive),
    ("oci-archive:", Transport::OciArchive),
    ("oci:", Transport::OciLayout),
];

const DAEMON: &str = "docker-daemon:";
const REGISTRY: &str = "docker://";

/// Transports of other tools that are not supported.
const OTHERS: [&str; 4] = ["containers-storage:", "dir:", "sif:", "ostree:"];

fn parse(text: &str) -> Result<Form<'_>, String> {
    for (prefix, transport) in TRANSPORTS {
        let Some(rest) = text.strip_prefix(prefix) else {
            continue;
        };
        // containers-transports(5): a path holds no colon, so the first one ends it.
        let (path, reference) = match rest.split_once(':') {
            Some((path, reference)) => (path, Some(reference)),
            None => (rest, None),
        };
        if path.is_empty() {
            return Err(format!("there is no path after `{prefix}`"));
        }
        if reference.is_some_and(str::is_empty) {
            return Err("there is no reference after the `:` at its end".to_owned());
        }
        return Ok(transport.form(path, reference.map(str::to_owned)));
    }
    if let Some(reference) = text.strip_prefix(DAEMON) {
        return Ok(Form::Daemon(reference));
    }
    if let Some(reference) = text.strip_prefix(REGISTRY) {
        if reference.is_empty() {
            return Err(format!("there is no name after `{REGISTRY}`"));
        }
        let reference = Reference::familiar(reference);
        return reference
            .map(Form::Registry)
            .map_err(|fault| fault.to_string());
    }
    if let Some(other) = OTHERS.iter().find(|other| text.starts_with(**other)) {
        return Err(format!(
            "this version cannot read from `{other}`, only from {EXAMPLES}"
        ));
    }
    // A name needs a host here, so that a mistyped path never pulls a stranger's image.
    if text.contains([':', '@']) {
        return match text.parse() {
            Ok(reference) => Ok(Form::Registry(reference)),
            Err(ReferenceError::NoHost(_) | ReferenceError::Host(..)) => Err(no_path(text)),
            Err(fault) => Err(fault.to_string()),
        };
    }
    Ok(Transport::Bare.form(text, None))
}

fn no_path(text: &str) -> String {
    format!(
        "{} is not a path, because a path here cannot contain `:`; expected {EXAMPLES}",
        quoted(text)
    )
}

/// True if the text was probably meant as the name of an image, not of a file.
fn is_name(text: &str) -> bool {
    let mut known = TRANSPORTS.iter().map(|(prefix, _)| prefix).chain(&OTHERS);
    text.contains(':') && !known.any(|prefix| text.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(text: &str) -> String {
        parse(text).unwrap_err()
    }

    #[test]
    fn each_transport_takes_a_path_and_optional_reference() {
        use Transport::{Bare, DockerArchive, OciArchive, OciLayout};

        for (text, transport, path, reference) in [
            ("docker-archive:a/b.tar", DockerArchive, "a/b.tar", None),
            (
                "docker-archive:b.tar:app:1.2",
                DockerArchive,
                "b.tar",
                Some("app:1.2"),
            ),
            ("oci-archive:/x.tar:v1", OciArchive, "/x.tar", Some("v1")),
            (
                "oci:dir:gcr.io/p/n:1",
                OciLayout,
                "dir",
                Some("gcr.io/p/n:1"),
            ),
            ("image.tar", Bare, "image.tar", None),
            ("./oci", Bare, "./oci", None),
        ] {
            let reference = reference.map(str::to_owned);
            let form = Form::Path(transport, path, reference);
            assert_eq!(parse(text), Ok(form), "{text}");
        }
    }

    #[test]
    fn dash_is_standard_input_unless_a_path() {
        for (text, kind, reference) in [
            ("-", ArchiveKind::Any, None),
            ("docker-archive:-", ArchiveKind::Docker, None),
            ("docker-archive:-:app:1", ArchiveKind::Docker, Some("app:1")),
            ("oci-archive:-:v1", ArchiveKind::Oci, Some("v1")),
        ] {
            let reference = reference.map(str::to_owned);
            assert_eq!(parse(text), Ok(Form::StandardInput(kind, reference)));
        }
        for text in ["./-", "docker-archive:./-", "oci:-", "oci-archive:--"] {
            assert!(matches!(parse(text), Ok(Form::Path(..))), "{text}");
        }
    }

    #[test]
    fn unsupported_transport_is_named() {
        for text in ["sif:app.sif", "containers-storage:app", "dir:x"] {
            assert!(
                fault(text).starts_with("this version cannot read"),
                "{text}"
            );
        }
    }

    #[test]
    fn image_name_is_no_path() {
        insta::assert_snapshot!(fault("app:1.2"), @"`app:1.2` is not a path, because a path here cannot contain `:`; expected `docker-archive:image.tar`, `oci-archive:image.tar`, `oci:DIRECTORY`, `docker://NAME`, `docker-daemon:NAME`, a path, or `-` for standard input");
        insta::assert_snapshot!(fault("oci:"), @"there is no path after `oci:`");
        insta::assert_snapshot!(fault("oci:x:"), @"there is no reference after the `:` at its end");
    }

    #[test]
    fn registry_is_recognized_by_transport_or_host() {
        for (text, name) in [
            ("docker://gcr.io/p/n:1", "gcr.io/p/n:1"),
            ("docker://alpine", "docker.io/library/alpine"),
            ("docker://team/app:2", "docker.io/team/app:2"),
            ("docker://localhost/app", "localhost/app"),
            ("ghcr.io/acme/api:1.2", "ghcr.io/acme/api:1.2"),
            ("localhost:5000/app", "localhost:5000/app"),
        ] {
            match parse(text) {
                Ok(Form::Registry(reference)) => assert_eq!(reference.to_string(), name),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert_eq!(fault("docker://"), "there is no name after `docker://`");
        assert!(fault("docker://gcr.io/p/App").contains("lower case"));
        assert!(fault("team/app:1.2").contains("is not a path"));
    }

    proptest! {
        #[test]
        fn path_never_contains_a_colon(text in "(oci:|docker-archive:|oci-archive:|)[a-z:/.-]{1,20}") {
            if let Ok(Form::Path(_, path, reference)) = parse(&text) {
                prop_assert!(!path.is_empty() && !path.contains(':'));
                let end = reference.map_or_else(|| path.to_owned(), |r| format!("{path}:{r}"));
                prop_assert!(text.ends_with(&end));
            }
        }
    }
}
