use crate::oci::reference::Reference;
use std::fmt;
use std::path::PathBuf;

/// An image that a Docker engine holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonImage {
    /// Where the engine answers.
    pub engine: EngineAddress,
    /// What the engine calls the image, by the grammar of such names: a name, perhaps with a tag or
    /// a digest, or an image ID, perhaps only its start.
    pub reference: String,
}

/// Where a Docker engine answers. It is printed as `DOCKER_HOST` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineAddress {
    /// A socket of this machine.
    Socket(PathBuf),
    /// A host and its port, spoken to without TLS.
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

/// Where an image is read from, in the words of containers-transports(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageOrigin {
    /// This machine.
    Local(ImageSource),
    /// `docker://REF`, or a bare reference: what a registry holds.
    Registry(Reference),
}

/// What this machine holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// `docker-archive:PATH[:REF]`: what `docker save` writes.
    DockerArchive(PathBuf, Option<String>),
    /// `oci-archive:PATH[:REF]`: an OCI layout in a tar file.
    OciArchive(PathBuf, Option<String>),
    /// `oci:DIR[:REF]`: an OCI image layout.
    OciLayout(PathBuf, Option<String>),
    /// A bare path, told apart by content.
    Path(PathBuf),
    /// `-`, `docker-archive:-[:REF]` or `oci-archive:-[:REF]`: an archive on standard input. A file
    /// of that name is `./-`.
    StandardInput(ArchiveKind, Option<String>),
    /// `docker-daemon:REF`: what a Docker engine holds.
    DockerDaemon(DaemonImage),
}

/// What `image` says that an archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveKind {
    /// What `docker save` writes.
    Docker,
    /// An OCI layout in a tar file.
    Oci,
    /// Nothing; its content tells.
    Any,
}
