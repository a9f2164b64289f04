//! The source of an image, from the words of containers-transports(5).

use std::path::PathBuf;

use super::ImageSource;
use super::fault::{Faults, quoted};
use super::inputs::Given;
use super::paths::Paths;

const EXAMPLES: &str =
    "`docker-archive:image.tar`, `oci-archive:image.tar`, `oci:DIRECTORY` or a path";

const SAVE: &str =
    "an image that a Docker daemon holds can be saved first: `docker save --output image.tar NAME`";

/// Reads `image`.
pub(super) fn image(given: &Given, paths: &Paths<'_>, faults: &mut Faults) -> Option<ImageSource> {
    let Some(text) = given.inputs.image.as_deref() else {
        faults.missing("image", format!("say what to push: {EXAMPLES}"));
        return None;
    };
    match parse(text) {
        Ok((transport, path, reference)) => faults
            .take_path("image", path, paths.input(path))
            .map(|path| transport.at(path, reference)),
        Err(fault) => {
            faults.unusable("image", fault);
            if is_name(text) {
                faults.hint(SAVE);
            }
            None
        }
    }
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
}

const TRANSPORTS: [(&str, Transport); 3] = [
    ("docker-archive:", Transport::DockerArchive),
    ("oci-archive:", Transport::OciArchive),
    ("oci:", Transport::OciLayout),
];

/// What other tools read from, and this one does not.
const OTHERS: [&str; 6] = [
    "docker://",
    "docker-daemon:",
    "containers-storage:",
    "dir:",
    "sif:",
    "ostree:",
];

fn parse(text: &str) -> Result<(Transport, &str, Option<String>), String> {
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
            return Err("it ends in `:` with no reference behind it".to_owned());
        }
        return Ok((transport, path, reference.map(str::to_owned)));
    }
    if let Some(other) = OTHERS.iter().find(|other| text.starts_with(**other)) {
        return Err(format!(
            "this version cannot read from `{other}`, only from {EXAMPLES}"
        ));
    }
    if text == "-" {
        return Err(format!(
            "this version cannot read standard input, only {EXAMPLES}"
        ));
    }
    if text.contains(':') {
        return Err(format!(
            "{} is no path, for a path here holds no `:`; expected {EXAMPLES}",
            quoted(text)
        ));
    }
    Ok((Transport::Bare, text, None))
}

/// True for what was meant as the name of an image, not of a file.
fn is_name(text: &str) -> bool {
    let known = TRANSPORTS.iter().map(|(prefix, _)| prefix).chain(&OTHERS);
    text.starts_with("docker-daemon:")
        || text.contains(':') && !known.into_iter().any(|prefix| text.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(text: &str) -> String {
        parse(text).unwrap_err()
    }

    #[test]
    fn each_transport_takes_a_path_and_perhaps_a_reference() {
        for (text, transport, path, reference) in [
            (
                "docker-archive:a/b.tar",
                Transport::DockerArchive,
                "a/b.tar",
                None,
            ),
            (
                "docker-archive:b.tar:app:1.2",
                Transport::DockerArchive,
                "b.tar",
                Some("app:1.2"),
            ),
            (
                "oci-archive:/x.tar:v1",
                Transport::OciArchive,
                "/x.tar",
                Some("v1"),
            ),
            (
                "oci:dir:gcr.io/p/n:1",
                Transport::OciLayout,
                "dir",
                Some("gcr.io/p/n:1"),
            ),
            ("image.tar", Transport::Bare, "image.tar", None),
            ("./oci", Transport::Bare, "./oci", None),
        ] {
            assert_eq!(
                parse(text),
                Ok((transport, path, reference.map(str::to_owned))),
                "{text}"
            );
        }
    }

    #[test]
    fn what_this_version_cannot_read_is_refused_by_name() {
        for text in ["docker://gcr.io/p/n", "docker-daemon:app:1", "dir:x", "-"] {
            assert!(
                fault(text).starts_with("this version cannot read"),
                "{text}"
            );
        }
    }

    #[test]
    fn the_name_of_an_image_is_no_path() {
        insta::assert_snapshot!(fault("app:1.2"), @"`app:1.2` is no path, for a path here holds no `:`; expected `docker-archive:image.tar`, `oci-archive:image.tar`, `oci:DIRECTORY` or a path");
        insta::assert_snapshot!(fault("oci:"), @"there is no path after `oci:`");
        insta::assert_snapshot!(fault("oci:x:"), @"it ends in `:` with no reference behind it");
    }

    proptest! {
        #[test]
        fn a_path_never_holds_a_colon(text in "(oci:|docker-archive:|oci-archive:|)[a-z:/.-]{1,20}") {
            if let Ok((_, path, reference)) = parse(&text) {
                prop_assert!(!path.is_empty() && !path.contains(':'));
                let end = reference.map_or_else(|| path.to_owned(), |r| format!("{path}:{r}"));
                prop_assert!(text.ends_with(&end));
            }
        }
    }
}
