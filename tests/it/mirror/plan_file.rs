//! Shards of equal size in bytes, from a plan file.

use std::collections::{BTreeMap, BTreeSet};

use standin::{RequestKind, Standin};

use super::many_images::mirror_file;
use super::*;
use crate::support::images::{LayerCompression, TarFile, TestImage};

const RUNNERS: usize = 4;

/// A layer of about this many bytes.
fn layer(name: &str, bytes: usize) -> Vec<u8> {
    let content = name.as_bytes().iter().cycle().take(bytes);
    let content: Vec<_> = content.copied().collect();
    TarFile::new().file(name, &content).finish()
}

/// Puts forty images of uneven sizes on five bases. Returns the base of each.
fn seeded(source: &Standin) -> BTreeMap<String, usize> {
    let mut bases = BTreeMap::new();
    for number in 0..40_usize {
        let base = number % 5;
        let top_layer = layer(&format!("app{number}"), 500 + number * number * 20);
        let layers = vec![layer(&format!("base{base}"), 60_000), top_layer];
        let mut layout = Layout::default();
        let root = layout.image(&TestImage::of("amd64", layers), LayerCompression::Tar);
        seed(
            source,
            PLAIN,
            &format!("acme/app{number}"),
            &layout,
            &root,
            "1",
        );
        bases.insert(format!("app{number}"), base);
    }
    bases
}

fn file(source: &Standin, destination: &Standin) -> String {
    format!(
        "destinations: [{}/mirror]\nimages:\n  - from: {}/acme/**\n",
        destination.plain_address(),
        source.plain_address()
    )
}

/// The plan file that a dry run writes.
fn plan(source: &Standin) -> String {
    let destination = Standin::start();
    let outcome = mirror_file(&file(source, &destination))
        .set("dry_run", "true")
        .set("plan_file", "plan.json")
        .succeeds();
    assert!(
        source
            .requests()
            .iter()
            .all(|request| request.kind != RequestKind::BlobGet)
    );
    outcome.read("plan.json")
}

#[test]
fn shards_are_disjoint_even_and_keep_families_together() {
    let source = Standin::start();
    let bases = seeded(&source);
    let plan = plan(&source);
    let (mut all, mut bytes, mut families) = (BTreeSet::new(), Vec::new(), 0);
    for runner in 1..=RUNNERS {
        let destination = Standin::start();
        mirror_file(&file(&source, &destination))
            .file("plan.json", &plan)
            .set("plan_file", "plan.json")
            .set("shard", format!("{runner}/{RUNNERS}"))
            .succeeds();
        let has = |name: &&String| {
            destination
                .manifest(PLAIN, &format!("mirror/{name}"), "1")
                .is_some()
        };
        let copied: BTreeSet<_> = bases.keys().filter(has).cloned().collect();
        assert!(all.is_disjoint(&copied));
        families += copied
            .iter()
            .map(|name| bases[name])
            .collect::<BTreeSet<_>>()
            .len();
        all.extend(copied);
        let requests = destination.requests();
        let sent = requests
            .iter()
            .filter(|request| request.kind == RequestKind::UploadPut);
        bytes.push(sent.map(|request| request.received_bytes).sum::<u64>());
    }
    assert!(all.iter().eq(bases.keys()));
    let (largest, smallest) = (bytes.iter().max().unwrap(), bytes.iter().min().unwrap());
    assert!(*largest * 10 <= *smallest * 13, "{bytes:?}");
    // By name alone nearly every base would be in every shard.
    assert!(families < 2 * 5, "{families}");
}

#[test]
fn repository_unknown_to_the_plan_is_assigned_by_name() {
    let source = Standin::start();
    seeded(&source);
    let plan = plan(&source);
    let mut layout = Layout::default();
    let root = layout.image(&TestImage::new("new", 1), LayerCompression::Gzip);
    seed(&source, PLAIN, "acme/new", &layout, &root, "1");
    let destination = Standin::start();
    let run = |runner: usize| {
        mirror_file(&file(&source, &destination))
            .file("plan.json", &plan)
            .set("plan_file", "plan.json")
            .set("shard", format!("{runner}/2"))
            .succeeds()
    };
    let outcomes = [run(1), run(2)];
    for outcome in &outcomes {
        let warned =
            "1 of 41 repositories are not in `plan.json` and are shared out by their names";
        assert!(outcome.stderr.contains(warned), "{}", outcome.stderr);
    }
    let copied = outcomes.map(|outcome| outcome.stdout.contains("acme/new:1"));
    assert!(copied[0] != copied[1], "{copied:?}");
}

#[test]
fn plan_file_of_other_images_is_reported() {
    let source = Standin::start();
    seeded(&source);
    let plan = plan(&source);
    let (other, destination) = (Standin::start(), Standin::start());
    let mut layout = Layout::default();
    let root = layout.image(&TestImage::new("other", 1), LayerCompression::Gzip);
    seed(&other, PLAIN, "acme/app1", &layout, &root, "1");
    let run = |source: &Standin, plan: Option<&str>| {
        let run = mirror_file(&file(source, &destination))
            .set("plan_file", "plan.json")
            .set("shard", "1/2");
        match plan {
            Some(plan) => run.file("plan.json", plan),
            None => run,
        }
    };
    let newer = plan.replace("\"version\":1", "\"version\":9");
    let message = [
        run(&source, None),
        run(&source, Some("images: []")),
        run(&source, Some(&newer)),
        run(&other, Some(&plan)),
        run(&source, Some(&plan)).set("dry_run", "true"),
    ]
    .map(|run| run.fails_with(2).error());
    insta::assert_snapshot!(message.join("\n"), @r#"
    error: an input cannot be used
      `plan_file`: there is no `plan.json`: a run with `dry_run: true` and the same `plan_file` makes it, once for all runners (GCR_PUSH_PLAN_FILE)

    hint: `gcr-push --help` tells what every variable means

    error: an input cannot be used
      `plan_file`: `plan.json`: it is no plan of `mirror`; make it anew with `dry_run: true` (GCR_PUSH_PLAN_FILE)

    hint: `gcr-push --help` tells what every variable means

    error: an input cannot be used
      `plan_file`: `plan.json`: it was made by another version of gcr-push; make it anew with `dry_run: true` (GCR_PUSH_PLAN_FILE)

    hint: `gcr-push --help` tells what every variable means

    error: `plan.json` is the plan of other images: it names none of the repositories that are mirrored

    hint: make it anew with `dry_run: true`, once for all runners, or leave `plan_file` out

    error: an input cannot be used
      `shard`: a plan is made once for all runners: leave it out, or `plan_file` (GCR_PUSH_SHARD)

    hint: `gcr-push --help` tells what every variable means
    "#);
    assert!(
        destination
            .requests()
            .iter()
            .all(|request| request.method != "PUT")
    );
}

#[test]
fn engine_without_total_is_given_it() {
    let (source, destination) = (Standin::start(), Standin::start());
    seeded(&source);
    let file = file(&source, &destination);
    // The engine's own numbers are used if they make sense, otherwise nothing is done.
    let engine = |variables: &[(&str, &str)]| {
        let run = variables.iter();
        run.fold(mirror_file(&file), |run, (name, value)| {
            run.variable(name, value)
        })
    };
    let message = [
        engine(&[("CI_NODE_INDEX", "6"), ("CI_NODE_TOTAL", "5")]),
        engine(&[("CIRCLE_NODE_INDEX", "five"), ("CIRCLE_NODE_TOTAL", "5")]),
        engine(&[("BUILDKITE_PARALLEL_JOB", "1")]),
        engine(&[("CI_NODE_INDEX", "3"), ("CI_NODE_TOTAL", "3")]).set("shard", "4"),
    ]
    .map(|run| run.fails_with(2).error());
    let message = message.map(|text| text.lines().nth(1).unwrap_or_default().to_owned());
    insta::assert_snapshot!(message.join("\n"), @r"
      `shard`: CI_NODE_INDEX is `6` and CI_NODE_TOTAL is `5`, which names none of them: say which part this is, as in `2/5` (GCR_PUSH_SHARD)
      `shard`: CIRCLE_NODE_INDEX is `five` and CIRCLE_NODE_TOTAL is `5`, which names none of them: say which part this is, as in `2/5` (GCR_PUSH_SHARD)
      `shard`: BUILDKITE_PARALLEL_JOB is `1`, and BUILDKITE_PARALLEL_JOB_COUNT does not tell how many runners there are: set it to that number, as in `4` (GCR_PUSH_SHARD)
      `shard`: it says that there are 4 runners, and CI_NODE_TOTAL that there are `3`: leave it out, or say which part this is, as in `2/4` (GCR_PUSH_SHARD)
    ");
    let pod = |index: usize| mirror_file(&file).variable("JOB_COMPLETION_INDEX", index.to_string());
    let message = [
        pod(1),
        pod(5).set("shard", "4"),
        mirror_file(&file).set("shard", "4"),
        mirror_file(&file).set("shard", "0/4"),
    ]
    .map(|run| run.fails_with(2).error());
    insta::assert_snapshot!(message.join("\n"), @r#"
    error: an input is missing
      `shard`: this is one of the Pods of an Indexed Job (JOB_COMPLETION_INDEX), which are not told how many they are: set it to that number, as in `4` (GCR_PUSH_SHARD)

    hint: `gcr-push --help` tells what every variable means

    error: an input cannot be used
      `shard`: JOB_COMPLETION_INDEX is `5`, which is none of 4 runners (GCR_PUSH_SHARD)

    hint: `gcr-push --help` tells what every variable means

    error: an input cannot be used
      `shard`: it says that there are 4 runners, and nothing tells which of them this is: expected `2/4`, the second of them (GCR_PUSH_SHARD)

    hint: `gcr-push --help` tells what every variable means

    error: an input cannot be used
      `shard`: `0/4` is no shard: expected `2/5`, the second of five (GCR_PUSH_SHARD)

    hint: `gcr-push --help` tells what every variable means
    "#);
    let mut copied = 0;
    for index in 0..4 {
        let outcome = pod(index).set("shard", "4").succeeds();
        let lines = outcome.stdout.lines();
        copied += lines.filter(|line| line.contains("  brought")).count();
        assert!(!outcome.stdout.contains("  same"), "{}", outcome.stdout);
    }
    assert_eq!(copied, 40);
}
