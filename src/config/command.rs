//! The command word, from the command line or the variable `command`.

use std::str::FromStr;

/// The name of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandName {
    /// Push one image.
    Push,
    /// Copy the images that a mirror file lists.
    Mirror,
    /// List a project's images or an image's tags.
    List,
    /// Write or apply the pull secret.
    PullSecret,
    /// Set up APIs, repositories, accounts and roles in Google Cloud.
    Setup,
    /// Run every check that is possible before a push.
    Doctor,
}

impl CommandName {
    /// Every command, in the order of `--help`.
    pub const ALL: [Self; 6] = [
        Self::Push,
        Self::Mirror,
        Self::List,
        Self::PullSecret,
        Self::Setup,
        Self::Doctor,
    ];

    /// The command as it is written on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Mirror => "mirror",
            Self::List => "list",
            Self::PullSecret => "pull-secret",
            Self::Setup => "setup",
            Self::Doctor => "doctor",
        }
    }

    /// The description of the command for `--help`.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Push => {
                "push one image to one or many destinations, check it, and write the pull secret \
                 if asked (the default)"
            }
            Self::Mirror => {
                "copy many images from other registries, by the file `gcr-push.yaml`; an unchanged image \
                 costs one or two requests"
            }
            Self::List => {
                "list the images of a project, or with `name` the tags of an image, newest first, \
                 with size, time and platforms"
            }
            Self::PullSecret => {
                "write or apply the Kubernetes Secret that lets a cluster pull, and push nothing"
            }
            Self::Setup => {
                "show what the Google side lacks: APIs, repository, accounts, roles; with `setup_apply` \
                 make it, with `setup_remove` take it away"
            }
            Self::Doctor => {
                "check all that can be checked before a push, and tell how to mend what is wrong"
            }
        }
    }
}

/// The error for a word that is not a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCommand;

impl FromStr for CommandName {
    type Err = UnknownCommand;

    fn from_str(word: &str) -> Result<Self, UnknownCommand> {
        Self::ALL
            .into_iter()
            .find(|command| command.word() == word)
            .ok_or(UnknownCommand)
    }
}
