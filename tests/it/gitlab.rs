//! GitLab CI: sections of the log, and dotenv reports, read by GitLab's own rules.

use crate::support::google::Google;
use crate::support::images::{TestImage, classic_archive};
use crate::support::run::Run;

fn push(google: &Google) -> Run {
    google
        .run()
        .file(
            "image.tar",
            classic_archive(&[(&TestImage::new("app", 2), &["app:1"])]),
        )
        .variable("CI", "true")
        .variable("GITLAB_CI", "true")
        .set("image", "image.tar")
}

/// The sections of a log in order, each with its heading and lines; lines outside any section have
/// no name. Panics on a marker that GitLab would show verbatim.
fn sections(log: &str) -> Vec<(String, String)> {
    let mut sections = vec![(String::new(), String::new())];
    for line in log.split_inclusive('\n') {
        let Some(marker) = line.strip_prefix("\x1b[0Ksection_") else {
            assert!(!line.contains("section_"), "{line:?}");
            sections.last_mut().unwrap().1.push_str(line);
            continue;
        };
        let (what, rest) = marker.split_once(':').unwrap();
        let (time, rest) = rest.split_once(':').unwrap();
        assert!(time.parse::<u64>().unwrap() > 1_700_000_000, "{line:?}");
        let (name, heading) = rest.split_once("\r\x1b[0K").unwrap();
        let (name, options) = name.split_once('[').unwrap_or((name, "]"));
        assert!(
            name.chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)),
            "{name}"
        );
        match what {
            "start" => {
                assert_eq!(options, "collapsed=true]");
                sections.push((name.to_owned(), heading.to_owned()));
            }
            "end" => {
                assert_eq!(sections.last().unwrap().0, name, "it was never begun");
                sections.push((String::new(), heading.to_owned()));
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(sections.last().unwrap().0, "", "it never ends");
    sections
}

/// A dotenv report as GitLab reads it: no quotes, no comments, no blank lines, 5 KiB.
fn dotenv(text: &str) -> Vec<(&str, &str)> {
    assert!(text.len() <= 5 * 1024);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines.len() <= 20, "the default of a GitLab of one's own");
    let pairs = lines.into_iter().map(|line| {
        let (name, value) = line.split_once('=').expect(line);
        let is_legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        assert!(!name.is_empty() && name.chars().all(is_legal), "{line}");
        (name, value.trim())
    });
    pairs.collect()
}

#[test]
fn log_is_a_section_with_the_result_below() {
    let google = Google::start();
    let outcome = push(&google).succeeds();
    let sections = sections(&outcome.stderr);
    let names: Vec<_> = sections.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["", "gcr_push", ""]);
    assert!(sections[1].1.starts_with("Push the image\n"));
    assert!(sections[1].1.contains("signing in to gcr.io"));
    assert!(outcome.stdout.contains("gcr.io/acme/app"));

    let outcome = push(&google)
        .set("tags", "gcr.io/other/app:1")
        .fails_with(3);
    let (_, last) = self::sections(&outcome.stderr).pop().unwrap();
    assert!(last.starts_with("\n\x1b[31;1merror:\x1b[0;m "), "{last:?}");
}

#[test]
fn results_are_a_dotenv_report() {
    let google = Google::start();
    let outcome = push(&google)
        .set("tags", "1, 2")
        .set("dotenv_file", "push.env")
        .succeeds();
    let text = outcome.read("push.env");
    let pairs = dotenv(&text);
    let names: Vec<_> = pairs.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "PUSHED_DIGEST",
            "PUSHED_IMAGE",
            "PUSHED_REFERENCE",
            "PUSHED_REFERENCES",
            "PUSHED_BYTES",
            "SKIPPED_BYTES"
        ]
    );
    let digest = pairs[0].1;
    assert_eq!(pairs[1].1, "gcr.io/acme/app");
    assert_eq!(pairs[2].1, format!("gcr.io/acme/app@{digest}"));
    assert_eq!(pairs[3].1, "gcr.io/acme/app:1,gcr.io/acme/app:2");
    // A job with these variables can run gcr-push again.
    let mut next = push(&google);
    for (name, value) in pairs {
        next = next.variable(name, value);
    }
    next.succeeds();
}

#[test]
fn dotenv_report_stays_below_gitlab_limits() {
    let google = Google::start();
    let tags: Vec<_> = (0..200)
        .map(|number| format!("release-{number}-of-the-year"))
        .collect();
    let outcome = push(&google)
        .set("tags", tags.join(","))
        .set("dotenv_file", "push.env")
        .set("verify", "off")
        .succeeds();
    let text = outcome.read("push.env");
    assert!(
        !dotenv(&text)
            .iter()
            .any(|(name, _)| *name == "PUSHED_REFERENCES")
    );
    assert!(
        outcome
            .stderr
            .contains("the dotenv file has no PUSHED_REFERENCES")
    );
}

#[test]
fn job_trace_shows_every_detail_and_no_secret() {
    let google = Google::start();
    let outcome = push(&google).variable("CI_DEBUG_TRACE", "true").succeeds();
    assert!(
        outcome
            .stderr
            .contains("DEBUG\u{1b}[0m PUT https://gcr.io/v2/acme/app/manifests/1: 201"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn cloud_build_gets_results_and_missing_folder_is_ignored() {
    let google = Google::start();
    let run = push(&google).file("builder/.keep", "");
    let builder = run.path().join("builder").display().to_string();
    let outcome = run.variable("BUILDER_OUTPUT", &builder).succeeds();
    let output = outcome.read("builder/output");
    assert!(output.starts_with("gcr.io/acme/app@sha256:"), "{output}");
    assert!(output.ends_with(" 1\n"), "{output}");

    let outcome = push(&google)
        .variable("BUILDER_OUTPUT", "/nowhere")
        .succeeds();
    assert!(outcome.stderr.contains("could not write /nowhere/output"));
}
