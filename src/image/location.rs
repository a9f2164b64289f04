//! The locations that an image can be read from.

use std::fmt;
use std::path::PathBuf;

use crate::oci::reference::Reference;

/// An image of a Docker engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonImage {
    /// The address of the engine.
    pub engine: EngineAddress,
    /// The reference as Docker's grammar allows it: a name with an optional tag or digest, or an
    /// image ID or the first 12 digits of one.
    pub reference: String,
}

/// The address of a Docker engine. It is displayed in the form of `DOCKER_HOST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineAddress {
    /// A Unix socket of this machine.
    Socket(PathBuf),
    /// A host and a port, without TLS.
    Tcp(String, u16),
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(formatter, "unix://{}", path.display()),
            Self::Tcp(host, port) => write!(formatter, "tcp://{host}:{port}"),
        }
    }
}

/// The location of an image, in the transports of containers-transports(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageOrigin {
    /// On this machine.
    Local(ImageSource),
    /// `docker://REF`, or a bare reference: an image in a registry.
    Registry(Reference),
}

/// An image on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// `docker-archive:PATH[:REF]`: an archive in the format of `docker save`.
    DockerArchive(PathBuf, Option<String>),
    /// `oci-archive:PATH[:REF]`: an OCI layout in a tar file.
    OciArchive(PathBuf, Option<String>),
    /// `oci:DIR[:REF]`: an OCI image layout.
    OciLayout(PathBuf, Option<String>),
    /// A bare path. Its content shows the format.
    Path(PathBuf),
    /// `-`, `docker-archive:-[:REF]` or `oci-archive:-[:REF]`: an archive on standard input. A file
    /// with the name `-` is written as `./-`.
    StandardInput(ArchiveKind, Option<String>),
    /// `docker-daemon:REF`: an image of a Docker engine.
    DockerDaemon(DaemonImage),
}

/// The format of an archive as `image` states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveKind {
    /// The format of `docker save`.
    Docker,
    /// An OCI layout in a tar file.
    Oci,
    /// Not stated. The content shows the format.
    Any,
}
