//! Which part of the work of `mirror` is this runner's.

use crate::commands::mirror::shard::Shard;
use crate::config::fault::Faults;
use crate::config::variables::Environment;
use crate::diagnostics::sanitize::quoted;

const SHARD: &str = "shard";

/// The index of a Pod of an Indexed Job, which is not told how many there are.
/// <https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode>
const KUBERNETES: &str = "JOB_COMPLETION_INDEX";

/// What an engine that runs several jobs of one kind tells each of them: its number, the first of
/// these, and how many there are. GitLab counts from 1, the others from 0.
/// <https://docs.gitlab.com/ci/variables/predefined_variables/>
/// <https://circleci.com/docs/reference/variables/>
/// <https://buildkite.com/docs/pipelines/configure/environment-variables>
const ENGINES: [(&str, usize, &str); 3] = [
    ("CI_NODE_INDEX", 1, "CI_NODE_TOTAL"),
    ("CIRCLE_NODE_INDEX", 0, "CIRCLE_NODE_TOTAL"),
    ("BUILDKITE_PARALLEL_JOB", 0, "BUILDKITE_PARALLEL_JOB_COUNT"),
];

/// Reads `shard`, else what the CI says of itself.
pub(super) fn shard(given: &Environment, faults: &mut Faults) -> Option<Shard> {
    let Some(text) = given.inputs.shard.as_deref() else {
        return told(given, faults);
    };
    let parsed = match text.split_once('/') {
        Some((index, total)) => index
            .parse()
            .ok()
            .zip(total.parse().ok())
            .and_then(|(index, total)| Shard::counted(index, 1, total))
            .ok_or_else(|| no_shard(text)),
        None => one_of(text, given),
    };
    faults.take(SHARD, parsed)
}

/// What the CI tells by itself. What makes no sense is a fault: a runner that took no notice of it
/// would do the work of all.
fn told(given: &Environment, faults: &mut Faults) -> Option<Shard> {
    for (index_name, first, total_name) in ENGINES {
        let Some(index) = given.ambient(index_name) else {
            continue;
        };
        let Some(total) = given.ambient(total_name) else {
            let text = format!(
                "{index_name} is {}, and {total_name} does not tell how many runners there are: set it to \
                 that number, as in `4`",
                quoted(index)
            );
            faults.missing(SHARD, text);
            return None;
        };
        let numbers = index.parse().ok().zip(total.parse().ok());
        let shard = numbers.and_then(|(index, total)| Shard::counted(index, first, total));
        let shard = shard.ok_or_else(|| {
            format!(
                "{index_name} is {} and {total_name} is {}, which names none of them: say which part this \
                 is, as in `2/5`",
                quoted(index),
                quoted(total)
            )
        });
        return faults.take(SHARD, shard);
    }
    if given.ambient(KUBERNETES).is_some() {
        let text = format!(
            "this is one of the Pods of an Indexed Job ({KUBERNETES}), which are not told how many they are: \
             set it to that number, as in `4`"
        );
        faults.missing(SHARD, text);
    }
    None
}

fn no_shard(text: &str) -> String {
    format!(
        "{} is no shard: expected `2/5`, the second of five",
        quoted(text)
    )
}

/// The number of runners alone: which of them this is, the engine tells.
fn one_of(text: &str, given: &Environment) -> Result<Shard, String> {
    let total: usize = text
        .parse()
        .ok()
        .filter(|total| *total > 0)
        .ok_or_else(|| no_shard(text))?;
    if total == 1 {
        return Ok(Shard { index: 0, total });
    }
    let engines = ENGINES.iter();
    let engines = engines.map(|(index, first, total)| (*index, *first, Some(*total)));
    let told = engines
        .chain([(KUBERNETES, 0, None)])
        .find_map(|(name, first, total)| Some((name, first, total, given.ambient(name)?)));
    let Some((name, first, total_name, index)) = told else {
        return Err(format!(
            "it says that there are {total} runners, and nothing tells which of them this is: expected `2/{total}`, the second of them"
        ));
    };
    // With fewer runners than parts, nobody would do the rest.
    if let Some(name) = total_name
        && let Some(other) = given.ambient(name)
        && other.parse() != Ok(total)
    {
        return Err(format!(
            "it says that there are {total} runners, and {name} that there are {}: leave it out, or say which \
             part this is, as in `2/{total}`",
            quoted(other)
        ));
    }
    let shard = index.parse().ok();
    shard
        .and_then(|index| Shard::counted(index, first, total))
        .ok_or_else(|| {
            format!(
                "{name} is {}, which is none of {total} runners",
                quoted(index)
            )
        })
}
