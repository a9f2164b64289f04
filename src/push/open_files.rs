//! How many files and connections this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::push::upload_slots::Concurrency;

/// The concurrency that the limit of open files leaves. The limit is raised first as far as the
/// system lets it, as Go's programs do.
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
            "only {files} files may be open at once (`ulimit -n`): `concurrency` is lowered to {}",
            bounded.all
        );
    }
    bounded
}
