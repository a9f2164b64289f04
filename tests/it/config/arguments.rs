//! The command line: arguments and flags, beside the variables that they stand for.

use gcr_push::config::{CommandName, Form, VARIABLES};
use std::process::Stdio;

use crate::support::google::Google;
use crate::support::images::{TestImage, classic_archive};
use crate::support::run::{Outcome, Run};

/// `gcr-push ARGUMENT...` in a folder with an image, signed in.
fn signed_in(google: &Google, line: &str) -> Run {
    google
        .with_environment(Run::line(line))
        .set("credentials_json", &google.key)
        .file("app.tar", archive())
}

fn archive() -> Vec<u8> {
    classic_archive(&[(&TestImage::new("app", 2), &["app:1"])])
}

/// The error of a command line that cannot run.
fn refused(line: &str) -> String {
    let outcome = Run::line(line).fails_with(2);
    assert_eq!(outcome.stdout, "", "{line}");
    outcome.error()
}

#[test]
fn flags_arguments_and_variables_do_the_same() {
    let pushes: [fn(&Google) -> Run; 3] = [
        |google| signed_in(google, "push app.tar gcr.io/acme/app:1 gcr.io/acme/app:2"),
        |google| {
            signed_in(
                google,
                "push --image app.tar --tags=gcr.io/acme/app:1 --tags gcr.io/acme/app:2",
            )
        },
        |google| {
            signed_in(google, "push")
                .set("image", "app.tar")
                .set("tags", "gcr.io/acme/app:1,gcr.io/acme/app:2")
        },
    ];
    let pushed = pushes.map(|push| {
        let google = Google::start();
        let stdout = push(&google).succeeds().stdout;
        (stdout, google.standin.tags("gcr.io", "acme/app"))
    });
    assert_eq!(pushed[0].1.len(), 2);
    assert_eq!(pushed[0], pushed[1]);
    assert_eq!(pushed[0], pushed[2]);
}

#[test]
fn standard_input_is_an_argument() {
    let google = Google::start();
    let run = signed_in(&google, "push - gcr.io/acme/app:1");
    run.input(archive()).succeeds();
    assert_eq!(google.standin.tags("gcr.io", "acme/app").len(), 1);
}

#[test]
fn every_command_takes_its_arguments() {
    let google = Google::start();
    signed_in(&google, "push app.tar gcr.io/acme/app:1").succeeds();
    let listed = signed_in(&google, "list gcr.io/acme/app --list-format json").succeeds();
    assert!(
        listed.stdout.contains(r#""tags":["1"]"#),
        "{}",
        listed.stdout
    );
    let file = "destinations: [gcr.io/acme/copy]\nimages:\n  - from: gcr.io/acme/app:1\n";
    let run = signed_in(&google, "mirror copy.yaml --dry-run");
    let planned = run.file("copy.yaml", file).succeeds();
    assert!(
        planned.stdout.contains("gcr.io/acme/copy/app"),
        "{}",
        planned.stdout
    );
    let run = signed_in(
        &google,
        "pull-secret gcr-pull gcr.io --pull-secret-file=- --dry-run",
    );
    let run = run.set("pull_secret_allow_push_key", "true");
    assert!(run.succeeds().stderr.contains("gcr-pull"));
    let error = refused("setup Acme eu.gcr.io/x");
    assert!(error.contains("`PROJECT`: project `Acme`"), "{error}");
    assert!(error.contains("`HOST`: `eu.gcr.io/x`"), "{error}");
    let checked = signed_in(&google, "doctor app.tar gcr.io/acme/app:2").run();
    assert!(checked.stdout.contains("app.tar"), "{}", checked.stdout);
}

#[test]
fn flag_wins_over_the_environment() {
    let google = Google::start();
    let run = signed_in(&google, "push --tags gcr.io/acme/app:1 --dry-run=false");
    run.set("image", "app.tar")
        .set("tags", "no/such host:?")
        .variable("INPUT_TAGS", "gcr.io/acme/app:2")
        .set("dry_run", "true")
        .succeeds();
    let tags = google.standin.tags("gcr.io", "acme/app");
    assert_eq!(tags.keys().collect::<Vec<_>>(), ["1"]);
}

#[test]
fn empty_flag_counts_as_absent() {
    let google = Google::start();
    let run = signed_in(&google, "push --tags= --name= --dry-run=");
    let run = run.argument("--image").argument("");
    run.set("image", "app.tar")
        .set("tags", "gcr.io/acme/app:1")
        .succeeds();
    assert_eq!(google.standin.tags("gcr.io", "acme/app").len(), 1);
}

#[test]
fn switch_alone_means_true() {
    let google = Google::start();
    for (switch, is_pushed) in [("--dry-run", false), ("--dry-run=true", false), ("", true)] {
        let line = format!("push app.tar {switch} gcr.io/acme/app:1");
        signed_in(&google, &line).succeeds();
        assert_eq!(google.is_untouched(), !is_pushed, "{switch}");
    }
}

#[test]
fn mistakes_are_named_as_they_were_typed() {
    let run = Run::line("push App:1 --verify=maybe --concurrency 0 gcr.io/acme/App:1 --dry-run=1")
        .set("compression", "lz4")
        .set("pull_secret_replace", "true")
        .variable("HTTPS_PROXY", "socks5://proxy");
    insta::assert_snapshot!(run.fails_with(2).error(), @"
    error: seven inputs cannot be used
      `IMAGE`: `App:1` is not a path, because a path here cannot contain `:`; expected `docker-archive:image.tar`, `oci-archive:image.tar`, `oci:DIRECTORY`, `docker://NAME`, `docker-daemon:NAME`, a path, or `-` for standard input
      `DESTINATION`: image name `acme/App` is not valid: registries accept only lower case
      `--verify`: it is `maybe`, expected `listing`, `blobs` or `off`
      `--dry-run`: it is `1`, expected `true` or `false`
      `compression`: it is `lz4`, expected `gzip`, `zstd` or `none` (GCR_PUSH_COMPRESSION)
      `--concurrency`: it is `0`, expected a number from 1 to 64
      `HTTPS_PROXY`: SOCKS proxies are not supported, only `http://` and `https://`

    hint: for an image in a Docker engine, use `docker-daemon:NAME`; for an image in a registry, begin with the registry, as in `ghcr.io/acme/api:1.2`
    ");
}

#[test]
fn missing_flag_is_named_if_others_are_given() {
    let error = refused("push --dry-run");
    assert!(
        error.contains("`--image`: set it to the image to push"),
        "{error}"
    );
    let error = refused("push");
    assert!(error.contains("(GCR_PUSH_IMAGE)"), "{error}");
    let error = refused("pull-secret gcr-pull --pull-secret-create-namespace");
    insta::assert_snapshot!(error, @"
    error: two inputs cannot be used
      `--pull-secret-file`: set it to a file, such as `pull-secret.yaml`, or `-` for standard output, or set `--pull-secret-apply=true`
      `--pull-secret-create-namespace`: it has no effect without `--pull-secret-apply=true`

    hint: `gcr-push pull-secret --help` describes every variable
    ");
}

#[test]
fn secret_has_no_flag_and_is_not_shown() {
    for variable in VARIABLES.iter().filter(|variable| variable.is_secret()) {
        let flag = format!("--{}", variable.name.replace('_', "-"));
        for command in CommandName::ALL {
            let word = command.word();
            for line in [
                format!("{word} {flag}=hunter2"),
                format!("{word} {flag} hunter2"),
                format!("{flag}=hunter2 {word}"),
                format!("{word} --{}=hunter2", variable.name),
            ] {
                let error = refused(&line);
                assert!(!error.contains("hunter2"), "{line}: {error}");
                let name = format!("GCR_PUSH_{}", variable.name.to_uppercase());
                assert!(
                    error.contains(&format!("hint: set {name}\n")),
                    "{line}: {error}"
                );
            }
        }
    }
    insta::assert_snapshot!(refused("push --access-token=hunter2"), @"
    error: `access_token` is a secret and has no flag, because other users can read the arguments of a process

    hint: set GCR_PUSH_ACCESS_TOKEN
    ");
}

#[test]
fn key_in_place_of_another_value_is_not_shown() {
    let error = refused("push ya29.hunter2 --name ya29.hunter2");
    assert!(!error.contains("hunter2"), "{error}");
    assert!(
        error.contains("`IMAGE`: it looks like a key or a token"),
        "{error}"
    );
    assert!(
        error.contains("`--name`: it looks like a key or a token"),
        "{error}"
    );
}

#[test]
fn invalid_arguments_are_reported_with_the_nearest_name() {
    let lines = [
        "psuh",
        "help psuh",
        "frobnicate",
        "push --best_effort=x",
        "push --tag x",
        "push --wibble",
        "push -x",
        "push -phunter2",
        "list --recursive",
        "list --compression gzip",
        "push --command list",
        "--dry-run push",
        "push --image",
        "push --tags -x",
        "push --image a --image b",
        "push a --image b",
        "list a hunter2",
        "-- push hunter2",
        "completions",
        "completions tcsh",
    ];
    let errors: Vec<_> = lines
        .iter()
        .map(|line| format!("$ gcr-push {line}\n{}", refused(line)))
        .collect();
    let errors = errors.join("\n");
    assert!(
        !errors
            .replace(" hunter2\n", "")
            .replace("-phunter2\n", "")
            .contains("hunter2")
    );
    insta::assert_snapshot!(errors, @"
    $ gcr-push psuh
    error: `psuh` is not a command, expected `push`, `mirror`, `list`, `pull-secret`, `setup` or `doctor`

    hint: did you mean `gcr-push push`?

    $ gcr-push help psuh
    error: `psuh` is not a command, expected `push`, `mirror`, `list`, `pull-secret`, `setup` or `doctor`

    hint: did you mean `gcr-push push`?

    $ gcr-push frobnicate
    error: `frobnicate` is not a command, expected `push`, `mirror`, `list`, `pull-secret`, `setup` or `doctor`

    hint: `gcr-push -h` lists the commands

    $ gcr-push push --best_effort=x
    error: `gcr-push push` has no flag `--best_effort`

    hint: did you mean `--best-effort`?

    $ gcr-push push --tag x
    error: `gcr-push push` has no flag `--tag`

    hint: did you mean `--tags`?

    $ gcr-push push --wibble
    error: `gcr-push push` has no flag `--wibble`

    hint: `gcr-push push -h` lists its flags

    $ gcr-push push -x
    error: `gcr-push push` has no flag `-x`

    hint: `gcr-push push -h` lists its flags

    $ gcr-push push -phunter2
    error: `gcr-push push` has no flag `-p`

    hint: `gcr-push push -h` lists its flags

    $ gcr-push list --recursive
    error: `gcr-push list` has no flag `--recursive`

    hint: did you mean `--list-recursive`?

    $ gcr-push list --compression gzip
    error: `gcr-push list` has no flag `--compression`

    hint: only `push` has it

    $ gcr-push push --command list
    error: `gcr-push push` has no flag `--command`

    hint: `gcr-push push -h` lists its flags

    $ gcr-push --dry-run push
    error: put the flag `--dry-run` after the command

    hint: as in `gcr-push push --dry-run`

    $ gcr-push push --image
    error: the flag `--image` needs a value

    hint: write a value that begins with `-` as `--image=VALUE`

    $ gcr-push push --tags -x
    error: `gcr-push push` has no flag `-x`

    hint: `gcr-push push -h` lists its flags

    $ gcr-push push --image a --image b
    error: `--image` is given twice

    hint: `gcr-push -h` lists the commands

    $ gcr-push push a --image b
    error: `--image` is given twice

    hint: `gcr-push -h` lists the commands

    $ gcr-push list a hunter2
    error: `gcr-push list` does not accept so many arguments

    hint: `gcr-push list -h` lists its flags

    $ gcr-push -- push hunter2
    error: `gcr-push` does not accept so many arguments

    hint: `gcr-push -h` lists the commands

    $ gcr-push completions
    error: `gcr-push completions` needs a shell: `bash`, `elvish`, `fish`, `powershell` or `zsh`

    hint: `gcr-push -h` lists the commands

    $ gcr-push completions tcsh
    error: `gcr-push completions` needs a shell: `bash`, `elvish`, `fish`, `powershell` or `zsh`

    hint: `gcr-push -h` lists the commands
    ");
}

#[test]
fn flags_of_a_command_are_those_of_the_table() {
    for command in CommandName::ALL {
        let flags = VARIABLES.iter().filter_map(|variable| {
            let value = if variable.form == Form::Switch {
                ""
            } else {
                "=x"
            };
            Some((variable, format!("{}{value}", variable.flag()?)))
        });
        let (own, others): (Vec<_>, Vec<_>) =
            flags.partition(|(variable, _)| variable.commands.contains(&command));
        let own = own.into_iter().map(|(_, flag)| flag);
        let run = own.fold(Run::command(command.word()), Run::argument);
        run.argument("-h").succeeds();
        for (variable, flag) in others {
            let run = Run::command(command.word()).argument(&flag);
            let error = run.argument("-h").fails_with(2).error();
            assert!(error.contains("has no flag"), "{}: {error}", variable.name);
        }
    }
}

/// A run at a terminal, to which all of its streams lead.
fn at_terminal(run: Run) -> Outcome {
    let script = "exec script --quiet --return --command \"$0\" /dev/null";
    let run = run.variable("TERM", "xterm").under(&["sh", "-c", script]);
    run.run_with(Stdio::piped(), Stdio::piped())
}

#[test]
fn terminal_without_anything_shows_the_usage() {
    let outcome = at_terminal(Run::new());
    assert_eq!(outcome.code, 2);
    insta::assert_snapshot!(outcome.stdout.replace('\r', ""), @"
    gcr-push 0.1.0
    Push a built container image to Google's registries from any CI, with no Docker
    daemon.

    Usage: gcr-push COMMAND [ARGUMENTS] [FLAGS]

    Examples:
      Push what `docker save` wrote:
        gcr-push push image.tar gcr.io/acme/api:1.2
      List the tags of an image:
        gcr-push list gcr.io/acme/api
      Check a push before you make it:
        gcr-push doctor image.tar gcr.io/acme/api:1.2

    `gcr-push -h` lists the commands, `gcr-push push -h` the flags of `push`.
    ");
}

#[test]
fn usage_is_shown_at_a_bare_terminal_only() {
    let is_usage = |outcome: Outcome| {
        let text = outcome.stdout + &outcome.stderr;
        assert_eq!(outcome.code, 2, "{text}");
        assert_ne!(text.contains("Examples:"), text.contains("GCR_PUSH_IMAGE"));
        text.contains("Examples:")
    };
    assert!(is_usage(at_terminal(Run::new())));
    assert!(!is_usage(Run::new().run()));
    assert!(!is_usage(at_terminal(Run::new().variable("CI", "true"))));
    assert!(!is_usage(at_terminal(
        Run::new().set("log_format", "plain")
    )));
}
