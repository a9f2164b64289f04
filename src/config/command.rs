//! The commands: their words, and what each takes on the command line.

use std::str::FromStr;

use super::variables::{VARIABLES, Variable};

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

    /// The description of the command, in one line.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Push => "Push an image to one or more destinations, and check it",
            Self::Mirror => "Copy the images that a file lists from other registries",
            Self::List => "List the images of a project, or the tags of an image",
            Self::PullSecret => "Create the Kubernetes Secret that a cluster pulls with",
            Self::Setup => "Show, create or remove what a push needs in Google Cloud",
            Self::Doctor => "Check everything that can be checked before a push",
        }
    }

    /// An example and what it does.
    pub(super) fn example(self) -> (&'static str, &'static str) {
        match self {
            Self::Push => (
                "push image.tar gcr.io/acme/api:1.2",
                "Push what `docker save` wrote:",
            ),
            Self::Mirror => (
                "mirror gcr-push.yaml --dry-run",
                "Show what a file would copy:",
            ),
            Self::List => ("list gcr.io/acme/api", "List the tags of an image:"),
            Self::PullSecret => (
                "pull-secret gcr-pull eu.gcr.io --pull-secret-file=-",
                "Print the Secret for a host:",
            ),
            Self::Setup => (
                "setup acme-prod --setup-github=acme/shop",
                "Show what a repository on GitHub needs to push:",
            ),
            Self::Doctor => (
                "doctor image.tar gcr.io/acme/api:1.2",
                "Check a push before you make it:",
            ),
        }
    }

    /// The variables that the words after the command give.
    pub fn words(self) -> Vec<&'static Variable> {
        let names: &[&str] = match self {
            Self::Push | Self::Doctor => &["image", "tags"],
            Self::Mirror => &["config"],
            Self::List => &["image"],
            Self::PullSecret => &["pull_secret", "registry"],
            Self::Setup => &["project_id", "registry"],
        };
        let variables = names.iter();
        variables
            .filter_map(|name| VARIABLES.iter().find(|variable| variable.name == *name))
            .collect()
    }

    /// The variables that the command uses, in the order of the table.
    pub fn variables(self) -> impl Iterator<Item = &'static Variable> {
        let all = VARIABLES.iter();
        all.filter(move |variable| variable.commands.contains(&self))
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
