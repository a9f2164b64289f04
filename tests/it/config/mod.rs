//! The command line, the variables and what is generated from their table.

mod arguments;
mod generated;
mod help;
