//! Paths as a runner gives them: what a host calls a directory, the container of an action calls
//! something else.
//!
//! GitHub's runner translates a variable's value only where the whole of it is a path below a
//! mounted directory; behind a prefix such as `docker-archive:`, and inside lists, it is left to us
//! (actions/runner, `ContainerInfo.TranslateToContainerPath`).

use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use super::variables::Environment;

/// The files that variables name, so that tests need none.
pub trait FileSystem {
    /// The content of a small file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is no small file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// True when something is there.
    fn exists(&self, path: &Path) -> bool;

    /// True when a directory is there.
    fn is_directory(&self, path: &Path) -> bool;
}

/// The files of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl FileSystem for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // Keys, logins and certificates are small; an image that was named by mistake is not.
        const LARGEST: u64 = 4 << 20;
        let mut content = Vec::new();
        let read = std::fs::File::open(path)?
            .take(LARGEST + 1)
            .read_to_end(&mut content)?;
        if read as u64 > LARGEST {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "it is larger than 4 MiB",
            ));
        }
        Ok(content)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }
}

/// A path that the container of the action does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathFault {
    /// To be read, but not mounted.
    Unseen,
    /// To be written, to where nobody will find it.
    Lost,
    /// In the runner's temporary directory, which a runner before 2.329 does not mount.
    OldRunner,
}

impl PathFault {
    /// The fault in words; `path` is what the user gave, already quoted, or what to call it.
    pub(super) fn about(self, path: &str) -> String {
        match self {
            Self::Unseen => format!("the action's container cannot see {path}"),
            Self::Lost => {
                format!("{path} would be written inside the action's container and vanish with it")
            }
            Self::OldRunner => format!(
                "the action's container cannot see {path}: runners before 2.329 do not show it their temporary directory"
            ),
        }
    }

    /// What to do about it.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Unseen | Self::Lost => {
                "a container action shares two directories with the other steps: the workspace (relative paths are below it) and `${{ runner.temp }}`"
            }
            Self::OldRunner => "put the file into the workspace, or update the runner",
        }
    }
}

/// What the runner mounts into the container besides, and where what is written stays.
/// (actions/runner, `ContainerActionHandler`)
const SHARED: [&str; 4] = [
    "/github/home",
    "/github/workflow",
    "/github/file_commands",
    "/dev",
];

const WORKSPACE: &str = "/github/workspace";
const TEMP: &str = "/github/runner_temp";

/// How the paths of this run are to be read.
pub(super) struct Paths<'a> {
    files: &'a dyn FileSystem,
    action: Option<Mounts>,
}

/// What the container of an action sees of its host.
struct Mounts {
    /// Directories by their name on the host and in the container.
    translations: Vec<(PathBuf, PathBuf)>,
    /// The runner's temporary directory by its names on the host, where it is not mounted.
    unmounted_temp: Vec<PathBuf>,
}

/// Where files go that are of no use after the run.
pub(super) fn temporary_directory(given: &Environment) -> PathBuf {
    given.ambient("TMPDIR").unwrap_or("/tmp").into()
}

impl<'a> Paths<'a> {
    pub(super) fn new(given: &Environment, files: &'a dyn FileSystem) -> Self {
        // The runner sets the first for every step, and the second to this path for a container
        // action alone.
        let in_action = given.ambient("GITHUB_ACTIONS") == Some("true")
            && given.ambient("GITHUB_WORKSPACE") == Some(WORKSPACE);
        Self {
            files,
            action: in_action.then(|| Mounts::new(given)),
        }
    }

    /// The files that paths lead to.
    pub(super) fn files(&self) -> &'a dyn FileSystem {
        self.files
    }

    /// True in the container of an action.
    pub(super) fn are_of_action(&self) -> bool {
        self.action.is_some()
    }

    /// What the other steps of the job call the temporary directory that they share with us.
    pub(super) fn temporary_directory_on_host(&self) -> Option<PathBuf> {
        let mounts = self.action.as_ref()?;
        let temp = mounts
            .translations
            .iter()
            .find(|(_, own)| own == Path::new(TEMP));
        temp.map(|(host, _)| host.clone())
    }

    /// Where a path to be read leads.
    pub(super) fn input(&self, path: &str) -> Result<PathBuf, PathFault> {
        match self.translated(path)? {
            (path, false) if !self.files.exists(&path) => Err(PathFault::Unseen),
            (path, _) => Ok(path),
        }
    }

    /// Where a path to be written leads.
    pub(super) fn output(&self, path: &str) -> Result<PathBuf, PathFault> {
        match self.translated(path)? {
            (_, false) => Err(PathFault::Lost),
            (path, true) => Ok(path),
        }
    }

    /// The path in this container, and whether it is known to be a good one.
    fn translated(&self, path: &str) -> Result<(PathBuf, bool), PathFault> {
        let given = PathBuf::from(path);
        let Some(mounts) = &self.action else {
            return Ok((given, true));
        };
        // The container starts in the workspace.
        let plain = without_dots(&Path::new(WORKSPACE).join(&given));
        for (host, container) in &mounts.translations {
            if let Ok(rest) = plain.strip_prefix(host) {
                return Ok((container.join(rest), true));
            }
        }
        if mounts.unmounted_temp.iter().any(|t| plain.starts_with(t)) {
            return Err(PathFault::OldRunner);
        }
        let mounted = mounts.translations.iter().map(|(_, own)| own.as_path());
        let mut shared = mounted.chain(SHARED.iter().map(Path::new));
        let is_shared = shared.any(|own| plain.starts_with(own)) || plain.starts_with(WORKSPACE);
        Ok((given, is_shared))
    }
}

impl Mounts {
    fn new(given: &Environment) -> Self {
        let mut workspaces = Vec::new();
        let mut temps = Vec::new();
        // `RUNNER_WORKSPACE` keeps its host's form, `…/REPO`; the workspace is `…/REPO/REPO` and the
        // temporary directory `…/_temp`. A job that runs in a container of its own calls the parent
        // `/__w` (actions/runner, ContainerOperationProvider.cs), and such names reach us too.
        if let Some(runner) = given.ambient("RUNNER_WORKSPACE").map(Path::new)
            && let (Some(work), Some(directory)) = (runner.parent(), runner.file_name())
        {
            let repository = given
                .ambient("GITHUB_REPOSITORY")
                .and_then(|repository| Path::new(repository).file_name());
            for parent in [work, Path::new("/__w")] {
                for name in [Some(directory), repository].into_iter().flatten() {
                    workspaces.push(parent.join(directory).join(name));
                }
                temps.push(parent.join("_temp"));
            }
        }
        let mut translations: Vec<_> = workspaces
            .into_iter()
            .map(|host| (host, PathBuf::from(WORKSPACE)))
            .collect();
        let mounted = given.ambient("RUNNER_TEMP") == Some(TEMP);
        if mounted {
            let temps = temps.drain(..).map(|host| (host, PathBuf::from(TEMP)));
            translations.extend(temps);
        }
        Self {
            translations,
            unmounted_temp: temps,
        }
    }
}

/// The path with `.` and `..` taken out by their letters, which is how far a name can be followed
/// on a machine that is not ours.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if plain.parent().is_some() => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_small_one_is_not_read_to_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key.json");
        std::fs::write(&file, "{}").unwrap();
        assert_eq!(Disk.read(&file).unwrap(), b"{}");
        let error = Disk.read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(Disk.read(directory.path()).is_err());
        assert!(Disk.is_directory(directory.path()) && !Disk.is_directory(&file));
    }

    #[test]
    fn dots_are_taken_out_of_a_path() {
        for (path, plain) in [
            ("/a/./b/../c", "/a/c"),
            ("/../a", "/../a"),
            ("a/../../b", "../b"),
            ("/a//b/", "/a/b"),
        ] {
            assert_eq!(without_dots(Path::new(path)), Path::new(plain), "{path}");
        }
    }
}
