//! stub
use crate::error::*;
/// x
#[derive(Debug, thiserror::Error)] #[error("x")] pub struct PullSecretError;
impl PullSecretError { /// x
 pub fn exit_code(&self) -> ExitCode { ExitCode::Failed } }
impl Hint for PullSecretError { fn hints(&self) -> Vec<String> { vec![] } }
/// x
pub fn write(_: &crate::config::PullSecretRequest, _: &mut dyn std::io::Write) -> Result<(), PullSecretError> { Ok(()) }
