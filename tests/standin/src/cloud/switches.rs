//! The switches of Google's APIs: delays that are a matter of luck, and refusals that are a matter
//! of an organisation.

/// What the APIs do besides what they are asked for. All delays are counted in requests, so that no
/// test depends on a clock.
#[derive(Clone, Debug, Default)]
pub struct Switches {
    /// So many requests to the APIs pass before an operation is done.
    pub operation_delay: u32,
    /// So many uses of an API that was enabled just now are refused as before.
    pub enable_delay: u32,
    /// A batch that is done reports that this service could not be enabled.
    pub enable_fails: Option<String>,
    /// So many reads of a new account find nothing, and then so many are forbidden.
    pub account_delay: u32,
    /// So many policies that name a new account are refused.
    pub binding_delay: u32,
    /// So many times a new key buys no token.
    pub key_delay: u32,
    /// So many checks of a permission still go by the policy of before a change.
    pub permission_delay: u32,
    /// No more service accounts than these fit into a project.
    pub account_limit: Option<usize>,
    /// Items on one page of a list.
    pub page_size: Option<usize>,
}
