//! The limit of open files, which bounds the concurrency of uploads.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::push::upload_slots::Concurrency;

/// Returns the concurrency that the limit of open files allows. It first raises the soft limit to
/// the hard limit, as the Go runtime does.
pub(crate) fn bounded(wanted: Concurrency) -> Concurrency {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let Some(files) = files.and_then(|files| usize::try_from(files).ok()) else {
        return wanted;
    };
    let bounded = wanted.within(files);
    if bounded.all < wanted.all {
        tracing::warn!(
            "only {files} files can be open at the same time (`ulimit -n`): lowering `concurrency` \
             to {}",
            bounded.all
        );
    }
    bounded
}
