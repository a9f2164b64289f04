//! The source `docker-daemon:REF`: the image of a Docker engine, and the engine's address.

use url::Url;

use super::environment::Environment;
use crate::diagnostics::sanitize::quoted;
use crate::image::location::DaemonImage;
use crate::image::location::EngineAddress;
use crate::oci::digest::Digest;
use crate::oci::reference::{check_tag, is_component, is_host_name};

/// Docker's default socket, if `DOCKER_HOST` is not set.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// The port that IANA assigned to Docker without TLS.
const PORT: u16 = 2375;

const CLIENT: &str = "save the image with the Docker client, `docker save --output image.tar \
                      NAME`, and use `docker-archive:image.tar`";

/// Parses the reference behind `docker-daemon:`, and reads the engine's address.
pub(super) fn image(reference: &str, environment: &Environment<'_>) -> Option<DaemonImage> {
    let checked = environment.errors.accept("image", check(reference));
    Some(DaemonImage {
        engine: address(environment)?,
        reference: checked.map(|()| reference.to_owned())?,
    })
}

/// The address of the engine, from the variables that Docker's own programs read.
fn address(environment: &Environment<'_>) -> Option<EngineAddress> {
    let Some(text) = environment.ambient("DOCKER_HOST") else {
        return Some(EngineAddress::Socket(DEFAULT_SOCKET.into()));
    };
    let address = parse(text)
        .map_err(|fault| {
            environment.errors.invalid("DOCKER_HOST", fault);
            environment.errors.hint(CLIENT);
        })
        .ok()?;
    // For Docker every value means yes, even `0`.
    if matches!(address, EngineAddress::Tcp(..))
        && environment.ambient("DOCKER_TLS_VERIFY").is_some()
    {
        environment.errors.invalid(
            "DOCKER_TLS_VERIFY",
            "a Docker engine that requires TLS is not supported",
        );
        environment.errors.hint(CLIENT);
        return None;
    }
    Some(address)
}

/// Parses `DOCKER_HOST`. No error quotes a part that may hold a user and a password.
fn parse(text: &str) -> Result<EngineAddress, String> {
    const FORMS: &str = "`unix:///PATH` or `tcp://HOST:PORT`";
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("it is {}, expected {FORMS}", quoted(text)));
    };
    match scheme {
        "unix" if rest.is_empty() => Ok(EngineAddress::Socket(DEFAULT_SOCKET.into())),
        "unix" if rest.starts_with('/') => Ok(EngineAddress::Socket(rest.into())),
        "unix" => Err(format!(
            "it is {}, but the path of a socket starts with `/`: `unix:///{rest}`",
            quoted(text)
        )),
        "tcp" | "http" => tcp(rest).ok_or_else(|| {
            "the part after `://` is not `HOST:PORT`; its value is not shown".to_owned()
        }),
        "https" => Err("a Docker engine that requires TLS is not supported".to_owned()),
        _ => Err(format!(
            "a Docker engine is not supported over {}, only over {FORMS}",
            quoted(&format!("{scheme}://"))
        )),
    }
}

/// Parses `HOST:PORT`, with Docker's defaults for either. `None` if it is invalid.
fn tcp(text: &str) -> Option<EngineAddress> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, PORT),
    };
    let host = match host {
        "" => "localhost".to_owned(),
        host => host.to_lowercase(),
    };
    // Names of Compose services may have `_`, which `is_host_name` does not accept.
    let is_plain = is_host_name(&host.replace('_', "-"));
    // The URL parser refuses invalid addresses such as `999.999.999.999`.
    let is_host = is_plain && Url::parse(&format!("http://{host}:{port}")).is_ok();
    (is_host && port > 0).then_some(EngineAddress::Tcp(host, port))
}

/// Checks an engine's reference: `NAME`, `NAME:TAG`, `NAME@DIGEST`, or an image ID, which has the
/// form of a name or, with `sha256:` in front, that of a name with a tag.
/// <https://github.com/distribution/reference/blob/main/regexp.go>
fn check(reference: &str) -> Result<(), String> {
    if reference.is_empty() {
        return Err("there is no image after `docker-daemon:`".to_owned());
    }
    let fault = |why: &str| {
        Err(format!(
            "{} is not the name of an image: {why}",
            quoted(reference)
        ))
    };
    let (rest, digest) = match reference.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (reference, None),
    };
    if digest.is_some_and(|digest| digest.parse::<Digest>().is_err()) {
        return fault("expected `@sha256:` and 64 hexadecimal digits at its end");
    }
    let (name, tag) = match rest.rsplit_once(':') {
        // A colon before the last slash belongs to the port of a host.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if let Some(Err(error)) = tag.map(check_tag) {
        return Err(error.to_string());
    }
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
            (Some(host), path)
        }
        _ => (None, name),
    };
    let is_host = |host: &str| {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
            _ => (host, None),
        };
        is_host_name(&name.to_lowercase()) && port.is_none_or(|port| port.parse::<u16>().is_ok())
    };
    if host.is_some_and(|host| !is_host(host)) {
        return fault("the part before the first `/` is not a host");
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return fault("names are in lower case");
    }
    if name.len() > 255 {
        return fault("it is longer than 255 characters");
    }
    if !path.split('/').all(is_component) {
        return fault(
            "each part between slashes is letters and digits, joined by `.`, `_`, `__` or `-`",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn docker_host_is_a_socket_or_host_with_port() {
        for (text, printed) in [
            ("unix:///run/user/1000/docker.sock", None),
            ("unix://", Some("unix:///var/run/docker.sock")),
            ("tcp://docker:2375", None),
            ("tcp://docker:2375/", Some("tcp://docker:2375")),
            ("tcp://my_docker:2375", None),
            ("tcp://Docker", Some("tcp://docker:2375")),
            ("tcp://10.0.0.1:80", None),
            ("tcp://[::1]:2375", None),
            ("tcp://[::1]", Some("tcp://[::1]:2375")),
            ("tcp://:2375", Some("tcp://localhost:2375")),
            ("http://docker:1", Some("tcp://docker:1")),
        ] {
            let address = parse(text).unwrap();
            assert_eq!(address.to_string(), printed.unwrap_or(text), "{text}");
        }
    }

    #[test]
    fn unusable_engine_is_refused_without_its_password() {
        let faults: Vec<String> = [
            "ssh://me:hunter2@host",
            "https://host:2376",
            "npipe:////./pipe/docker_engine",
            "/var/run/docker.sock",
            "unix://run/docker.sock",
            "tcp://me:hunter2@host:1",
            "tcp://host:0",
            "tcp://host:1/prefix",
            "tcp://a b",
            "tcp://999.999.999.999:1",
        ]
        .iter()
        .map(|text| parse(text).unwrap_err())
        .collect();
        insta::assert_snapshot!(faults.join("\n"), @"
        a Docker engine is not supported over `ssh://`, only over `unix:///PATH` or `tcp://HOST:PORT`
        a Docker engine that requires TLS is not supported
        a Docker engine is not supported over `npipe://`, only over `unix:///PATH` or `tcp://HOST:PORT`
        it is `/var/run/docker.sock`, expected `unix:///PATH` or `tcp://HOST:PORT`
        it is `unix://run/docker.sock`, but the path of a socket starts with `/`: `unix:///run/docker.sock`
        the part after `://` is not `HOST:PORT`; its value is not shown
        the part after `://` is not `HOST:PORT`; its value is not shown
        the part after `://` is not `HOST:PORT`; its value is not shown
        the part after `://` is not `HOST:PORT`; its value is not shown
        the part after `://` is not `HOST:PORT`; its value is not shown
        ");
    }

    #[test]
    fn image_is_named_by_name_digest_or_id() {
        let digest = Digest::of(b"x");
        for reference in [
            "app",
            "app:1.2",
            "team/app",
            "docker.io/library/app:latest",
            "localhost/app",
            "localhost:5000/team/app:1",
            "[::1]:5000/app",
            "mirror.gcr.io/library/alpine",
            &format!("app@{digest}"),
            &format!("app:1@{digest}"),
            digest.as_str(),
            digest.hex(),
            "0123456789ab",
            "sha256:0123456789ab",
        ] {
            assert_eq!(check(reference), Ok(()), "{reference}");
        }
    }

    #[test]
    fn invalid_image_name_is_reported_with_the_reason() {
        let long = "a".repeat(256);
        let faults: Vec<String> = [
            "",
            "App",
            "app:",
            "app:a b",
            "app/",
            "//app",
            "app:1:2",
            "../app",
            "a b",
            "app@sha256:12",
            "no host.:1/app",
            "app?x=1",
            "app%2fx",
            &long,
        ]
        .iter()
        .map(|reference| check(reference).unwrap_err())
        .collect();
        insta::assert_snapshot!(faults.join("\n"), @"
        there is no image after `docker-daemon:`
        `App` is not the name of an image: names are in lower case
        tag `` is not valid: it is empty; a variable may not be set in this run
        tag `a b` is not valid: a tag can contain only letters, digits, `_`, `.` and `-`
        `app/` is not the name of an image: each part between slashes is letters and digits, joined by `.`, `_`, `__` or `-`
        `//app` is not the name of an image: each part between slashes is letters and digits, joined by `.`, `_`, `__` or `-`
        `app:1:2` is not the name of an image: each part between slashes is letters and digits, joined by `.`, `_`, `__` or `-`
        `../app` is not the name of an image: the part before the first `/` is not a host
        `a b` is not the name of an image: each part between slashes is letters and digits, joined by `.`, `_`, `__` or `-`
        `app@sha256:12` is not the name of an image: expected `@sha256:` and 64 hexadecimal digits at its end
        `no host.:1/app` is not the name of an image: the part before the first `/` is not a host
        `app?x=1` is not the name of an image: each part between slashes is letters and digits, joined by `.`, `_`, `__` or `-`
        `app%2fx` is not the name of an image: each part between slashes is letters and digits, joined by `.`, `_`, `__` or `-`
        `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…` is not the name of an image: it is longer than 255 characters
        ");
    }

    proptest! {
        #[test]
        fn valid_name_needs_no_escape_in_a_path(text in "[a-zA-Z0-9:/@._ %?#\\[\\]-]{1,24}") {
            if check(&text).is_ok() {
                let url = Url::parse(&format!("http://x/v1/images/{text}/get")).unwrap();
                prop_assert_eq!(url.path(), format!("/v1/images/{text}/get"));
            }
        }
    }
}
