//! The shard of `mirror`: which part of the work this runner does.

use crate::commands::mirror::shard::Shard;
use crate::config::environment::Environment;
use crate::diagnostics::sanitize::quoted;

const SHARD: &str = "shard";

/// The index of a Pod of an Indexed Job. Kubernetes has no variable with the number of Pods.
/// <https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode>
const KUBERNETES: &str = "JOB_COMPLETION_INDEX";

/// The variables of engines that run parallel jobs: the job's index, the first index, and the
/// number of jobs. GitLab counts from 1, the others from 0.
/// <https://docs.gitlab.com/ci/variables/predefined_variables/>
/// <https://circleci.com/docs/reference/variables/>
/// <https://buildkite.com/docs/pipelines/configure/environment-variables>
const ENGINES: [(&str, usize, &str); 3] = [
    ("CI_NODE_INDEX", 1, "CI_NODE_TOTAL"),
    ("CIRCLE_NODE_INDEX", 0, "CIRCLE_NODE_TOTAL"),
    ("BUILDKITE_PARALLEL_JOB", 0, "BUILDKITE_PARALLEL_JOB_COUNT"),
];

/// Reads `shard`, else the variables of the CI.
pub(super) fn shard(environment: &Environment<'_>) -> Option<Shard> {
    let Some(text) = environment.inputs.shard.text() else {
        return of_ci(environment);
    };
    let parsed = match text.split_once('/') {
        Some((index, total)) => index
            .parse()
            .ok()
            .zip(total.parse().ok())
            .and_then(|(index, total)| Shard::counted(index, 1, total))
            .ok_or_else(|| no_shard(text)),
        None => one_of(text, environment),
    };
    environment.errors.accept(SHARD, parsed)
}

/// Reads the shard from the variables of the CI. `None` if there are none. Invalid values are a
/// fault, because a runner that ignored them would do the work of all.
fn of_ci(environment: &Environment<'_>) -> Option<Shard> {
    for (index_name, first, total_name) in ENGINES {
        let Some(index) = environment.ambient(index_name) else {
            continue;
        };
        let Some(total) = environment.ambient(total_name) else {
            let text = format!(
                "{index_name} is {}, but {total_name}, the number of runners, is not set: set \
                 `shard` to that number, as in `4`",
                quoted(index)
            );
            environment.errors.missing(SHARD, text);
            return None;
        };
        let numbers = index.parse().ok().zip(total.parse().ok());
        let shard = numbers.and_then(|(index, total)| Shard::counted(index, first, total));
        let shard = shard.ok_or_else(|| {
            format!(
                "{index_name} is {} and {total_name} is {}, which is not one of the parts: set \
                 `shard` to the part of this runner, as in `2/5`",
                quoted(index),
                quoted(total)
            )
        });
        return environment.errors.accept(SHARD, shard);
    }
    if environment.ambient(KUBERNETES).is_some() {
        let text = format!(
            "this is a Pod of an Indexed Job ({KUBERNETES}), which does not know the number of \
             Pods: set `shard` to that number, as in `4`"
        );
        environment.errors.missing(SHARD, text);
    }
    None
}

fn no_shard(text: &str) -> String {
    format!(
        "{} is not a shard: expected `2/5`, the second of five",
        quoted(text)
    )
}

/// Parses a value that is only the number of runners. The index comes from the engine's variables.
fn one_of(text: &str, environment: &Environment<'_>) -> Result<Shard, String> {
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
    let found = engines
        .chain([(KUBERNETES, 0, None)])
        .find_map(|(name, first, total)| Some((name, first, total, environment.ambient(name)?)));
    let Some((name, first, total_name, index)) = found else {
        return Err(format!(
            "it is the number of runners, {total}, but no variable says which of them this is: \
             expected `2/{total}`, the second of them"
        ));
    };
    // With fewer runners than shards, some shards would be left out.
    if let Some(name) = total_name
        && let Some(other) = environment.ambient(name)
        && other.parse() != Ok(total)
    {
        return Err(format!(
            "it says that there are {total} runners, but {name} says {}: remove `shard`, or set \
             it to the part of this runner, as in `2/{total}`",
            quoted(other)
        ));
    }
    let shard = index.parse().ok();
    shard
        .and_then(|index| Shard::counted(index, first, total))
        .ok_or_else(|| {
            format!(
                "{name} is {}, which is not one of {total} runners",
                quoted(index)
            )
        })
}
