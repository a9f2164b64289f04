//! The command line, the variables, their errors, and what is generated from their table.

mod arguments;
mod credentials;
mod daemon;
mod errors;
mod generated;
mod help;
mod network;
mod paths;
mod precedence;
mod pull_secret;
mod targets;
mod variables;
