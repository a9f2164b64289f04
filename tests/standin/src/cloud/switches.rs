//! The switches of Google's APIs: propagation delays, and constraints of an organisation.

/// What the APIs do besides what they are asked for. All delays are counted in requests, so that no
/// test depends on a clock.
#[derive(Clone, Debug, Default)]
pub struct Switches {
    /// The number of API requests until an operation is done.
    pub operation_delay: u32,
    /// The number of uses of a newly enabled API that are still refused.
    pub enable_delay: u32,
    /// A finished batch reports that this service could not be enabled.
    pub enable_fails: Option<String>,
    /// The number of reads of a new account that find nothing, and then of reads that are
    /// forbidden.
    pub account_delay: u32,
    /// The number of policies with a new account that are refused.
    pub binding_delay: u32,
    /// The number of assertions of a new key that are refused.
    pub key_delay: u32,
    /// The number of permission checks that still use the policy before a change.
    pub permission_delay: u32,
    /// The maximum number of service accounts of a project.
    pub account_limit: Option<usize>,
    /// The page size of lists.
    pub page_size: Option<usize>,
}
