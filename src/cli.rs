//! stub
use crate::config::Command;
/// x
pub enum Invocation { /// x
 Run(Option<Command>), /// x
 Print(String), /// x
 Wrong(String) }
/// x
pub fn parse(_: impl Iterator<Item = std::ffi::OsString>) -> Invocation { Invocation::Run(None) }
