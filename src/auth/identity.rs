//! Whom the other side knows us as.

use std::fmt;

/// Whom the other side knows us as: what a refusal is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nobody in particular.
    Nobody,
    /// A user with a password, out of a variable.
    User(String, &'static str),
    /// Whoever the given access token belongs to.
    TokenHolder,
    /// A person with a Google account, whose address the login does not tell.
    Person,
    /// A service account.
    Account(String),
    /// An identity of another provider, in IAM's words: `principal://…`, `principalSet://…`.
    Federated(String),
}

impl Identity {
    /// Whom a role would be granted to, in IAM's words; none where that is not known.
    pub fn member(&self) -> Option<String> {
        match self {
            Self::Account(account) => Some(format!("serviceAccount:{account}")),
            Self::Federated(member) => Some(member.clone()),
            Self::Nobody | Self::User(..) | Self::TokenHolder | Self::Person => None,
        }
    }
}

impl Identity {
    /// The same for a command that grants a role, with what to say of a blank that is left in it.
    pub fn grantee(&self) -> (String, &'static str) {
        match (self, self.member()) {
            (_, Some(member)) => (member, ""),
            (Self::Person, None) => (
                "user:ACCOUNT".to_owned(),
                ", where ACCOUNT is the address of whoever logged in",
            ),
            (_, None) => (
                "serviceAccount:ACCOUNT".to_owned(),
                ", where ACCOUNT is whom the token belongs to",
            ),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => formatter.write_str("anonymously"),
            Self::User(user, _) => write!(formatter, "as `{user}`"),
            Self::TokenHolder => formatter.write_str("as the token's owner"),
            Self::Person => formatter.write_str("as the person who logged in"),
            Self::Account(account) => write!(formatter, "as `{account}`"),
            Self::Federated(member) => write!(formatter, "as `{member}`"),
        }
    }
}
