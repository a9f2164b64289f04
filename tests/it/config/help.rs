//! The texts of `-h` and `--help`, and the completions.

use std::io::Write as _;
use std::process::{Command, Stdio};

use gcr_push::config::{CommandName, VARIABLES, Variable};

use crate::support::run::{Run, program};

fn printed(line: &str) -> String {
    let outcome = Run::line(line).succeeds();
    assert_eq!(outcome.stderr, "", "{line}");
    outcome.stdout.replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

/// How a variable is named in the help of a command.
fn entry(variable: &Variable) -> String {
    let flag = variable.flag();
    format!(
        "\n  {}",
        flag.unwrap_or_else(|| variable.environment_name())
    )
}

#[test]
fn short_help_is_a_screen() {
    let lines = ["-h", "help -h", "completions -h"].map(str::to_owned);
    let commands = CommandName::ALL.map(|command| format!("{} -h", command.word()));
    for line in lines.iter().chain(&commands) {
        let text = printed(line);
        assert!(text.lines().count() <= 40, "{line}: {text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn long_help_has_80_columns() {
    let commands = CommandName::ALL.map(|command| format!("{} --help", command.word()));
    for line in ["--help".to_owned()].iter().chain(&commands) {
        let text = printed(line);
        assert!(!text.contains("\n\n\n") && text.ends_with('\n'), "{line}");
        for line in text.lines() {
            let is_one_word = !line.trim_start().contains(' ');
            assert!(line.chars().count() <= 80 || is_one_word, "{line}");
            assert_eq!(line.trim_end(), line, "blanks at the end");
        }
    }
}

#[test]
fn help_of_a_command_has_what_it_takes_and_no_more() {
    for command in CommandName::ALL {
        let text = printed(&format!("{} --help", command.word()));
        for variable in VARIABLES {
            let entry = entry(variable);
            let found =
                text.contains(&format!("{entry}\n")) || text.contains(&format!("{entry} <"));
            let is_own = variable.commands.contains(&command);
            assert_eq!(found, is_own, "{}: {text}", variable.name);
        }
    }
}

#[test]
fn help_command_prints_the_same() {
    assert_eq!(printed("help"), printed("--help"));
    for command in CommandName::ALL {
        let word = command.word();
        assert_eq!(
            printed(&format!("help {word}")),
            printed(&format!("{word} --help"))
        );
    }
}

#[test]
fn version_is_the_package_version() {
    assert_eq!(printed("--version"), "gcr-push VERSION\n");
    assert_eq!(printed("-V"), "gcr-push VERSION\n");
}

#[test]
fn help_is_unchanged() {
    insta::assert_snapshot!(printed("--help"), @"
    gcr-push VERSION
    Push a built container image to Google's registries from any CI, with no Docker
    daemon.

    Usage: gcr-push COMMAND [ARGUMENTS] [FLAGS]

    Commands:
      push         Push an image to one or more destinations, and check it
      mirror       Copy the images that a file lists from other registries
      list         List the images of a project, or the tags of an image
      pull-secret  Create the Kubernetes Secret that a cluster pulls with
      setup        Show, create or remove what a push needs in Google Cloud
      doctor       Check everything that can be checked before a push
      help         Print the help of a command
      completions  Print the completions of a shell

    `gcr-push COMMAND -h` lists the flags of a command.

    Every flag is also an environment variable, and an input of the GitHub action:
    `--best-effort` is GCR_PUSH_BEST_EFFORT and `best_effort`. A flag takes
    precedence. An empty value counts as absent. Secrets have no flag, because other
    users can read the arguments of a process.

    HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY apply to every connection.
    DOCKER_HOST is the address of the engine of `docker-daemon:`; its default is
    `unix:///var/run/docker.sock`.

    Exit codes:
      0  done
      1  failed
      2  the request is wrong
      3  credentials or a permission were refused
      4  failed, but can succeed later: try again

    Examples:
      Push what `docker save` wrote:
        gcr-push push image.tar gcr.io/acme/api:1.2
      Show what a file would copy:
        gcr-push mirror gcr-push.yaml --dry-run
      List the tags of an image:
        gcr-push list gcr.io/acme/api
      Print the Secret for a host:
        gcr-push pull-secret gcr-pull eu.gcr.io --pull-secret-file=-
      Show what a repository on GitHub needs to push:
        gcr-push setup acme-prod --setup-github=acme/shop
      Check a push before you make it:
        gcr-push doctor image.tar gcr.io/acme/api:1.2
    ");
    insta::assert_snapshot!(printed("push -h"), @"
    Push an image to one or more destinations, and check it.

    Usage: gcr-push push [IMAGE] [DESTINATION]... [FLAGS]
    IMAGE is `--image`, DESTINATION is `--tags`.

    Image:
      --image                       Image to push, or for `list` the one to show
      --platforms                   Platforms of a multi-platform image to push
      --attestations                Whether to push BuildKit's attestations
      --referrers                   Also copy signatures, SBOMs and attestations
    Target:
      --tags                        Destinations, as full references or tags
      --registry                    Registries for tags without a host
      --project-id                  Google Cloud project of the destination
      --repository                  Artifact Registry repository
      --name                        Name of the image in the project
      --best-effort                 Destinations that may fail
      --existing-tag                What to do with a tag of another image
    Credentials:
      --workload-identity-provider  Provider for a sign-in without a key
      --missing-credentials         What to do without a credential for Google
    Verification:
      --verify                      How to check the result
    Pull secret:
      --pull-secret                 Name of a Kubernetes Secret to make
      --kubeconfig-context          Context of the kubeconfig
    Behaviour:
      --dry-run                     Show what would happen, and change nothing
      --compression                 Compression of uncompressed layers
      --compression-level           Level of the compression
      --layer-reuse                 Whether to use layers of earlier images
      --concurrency                 How many blobs to send at once
      --log-format                  Format of the log
    Results:
      --report-file                 File for the whole report as JSON
      --digest-file                 File for the digest of the pushed image
      --dotenv-file                 File for the results as `NAME=value` lines

    Secrets are variables only, such as GCR_PUSH_CREDENTIALS_JSON.
    `gcr-push push --help` describes all, and 20 more flags.
    ");
    insta::assert_snapshot!(printed("setup --help"), @"
    Show, create or remove what a push needs in Google Cloud.

    Usage: gcr-push setup [PROJECT] [HOST]... [FLAGS]
    PROJECT is `--project-id`, HOST is `--registry`.

    Every flag is also an environment variable: `--log-format` is
    GCR_PUSH_LOG_FORMAT. Secrets are variables only. A switch without a value means
    `true`. You can repeat a flag that accepts a list.

    Target:
      --registry <HOST,...>
          Registries for tags without a host. `gcr.io`, `us.gcr.io`, `eu.gcr.io`,
          `asia.gcr.io`, `LOCATION-docker.pkg.dev`, or any other such as
          `registry.example.com:5000`. Not allowed if every item of `--tags` is a
          full reference. Separate several with commas or newlines. Default:
          `gcr.io`.
      --project-id <PROJECT>
          Google Cloud project of the destination. An example is `acme-prod`.
          Default: the project of `GCR_PUSH_CREDENTIALS_JSON`, then the first that
          is set of GOOGLE_CLOUD_PROJECT, GCP_PROJECT, GCLOUD_PROJECT,
          CLOUDSDK_PROJECT, CLOUDSDK_CORE_PROJECT,
          GOOGLE_ARTIFACT_REGISTRY_PROJECT_ID.
      --repository <NAME>
          Artifact Registry repository. An example is `containers`. Required for
          `pkg.dev` hosts of `--registry`, except by `list`. Not allowed for other
          hosts.

    Credentials:
      GCR_PUSH_CREDENTIALS_JSON
          Service-account key, or another credential file. Every credential file of
          Google's works: its JSON, base64 of it, or a path to it. gcr-push gets a
          short-lived token with it, and the registry sees only the token. Excludes
          `GCR_PUSH_ACCESS_TOKEN` and `--workload-identity-provider`. Default: what
          the environment has: GOOGLE_APPLICATION_CREDENTIALS,
          GOOGLE_GHA_CREDS_PATH, CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE, gcloud's
          application-default credentials, then the account of the machine.
      GCR_PUSH_ACCESS_TOKEN
          OAuth access token for Google's registries. `gcloud auth
          print-access-token` prints one. Excludes `GCR_PUSH_CREDENTIALS_JSON` and
          `--workload-identity-provider`.
      --workload-identity-provider <PROVIDER>
          Provider for a sign-in without a key. It accepts the CI's OIDC token:
          `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`.
          On GitHub, the job needs `permissions: id-token: write`. Excludes
          `GCR_PUSH_CREDENTIALS_JSON` and `GCR_PUSH_ACCESS_TOKEN`.
      --service-account <EMAIL>
          Service account to act as. An example is
          `ci@acme-prod.iam.gserviceaccount.com`. Needs
          `--workload-identity-provider`. Default: none: the identity itself has the
          rights.
      GCR_PUSH_OIDC_TOKEN
          OIDC token of the CI, as text or as a file. GitLab makes it with
          `id_tokens`. The value is the token, or a path to it. Needs
          `--workload-identity-provider`. Default: GitHub's own, which gcr-push
          requests.
      GCR_PUSH_GITHUB_TOKEN
          GitHub's token, for `ghcr.io` and for `setup`. No other registry gets it.
          `setup` asks GitHub with it for the numbers of a repository. Default:
          none; in the GitHub action, the job's own.

    Setup:
      --setup-apply
          Create what is missing. Without it, `setup` only shows what is missing.
          Values: `true` or `false`. Excludes `--setup-remove`. Default: `false`.
      --setup-remove
          Remove what `setup` made, and nothing else. That is keys, roles, accounts,
          pools, and empty repositories. Values: `true` or `false`. Excludes
          `--setup-apply`. Default: `false`.
      --setup-github <OWNER/REPO,...>
          GitHub repositories that may push without a key. `OWNER/REPO`, or for a
          private one `OWNER/REPO#OWNER_ID/REPO_ID`. Separate several with commas or
          newlines. Default: none.
      --setup-gitlab <URL,...>
          GitLab projects that may push without a key. `https://HOST/GROUP/PROJECT`,
          or for a private one `https://HOST/GROUP/PROJECT#NAMESPACE_ID/PROJECT_ID`.
          Separate several with commas or newlines. Default: none.
      --setup-key <FILE,...>
          File for a key of the account that pulls. Only its owner can read it; an
          example is `puller.json`. `pusher:FILE` is for a key of the account that
          pushes. Separate several with commas or newlines. Default: no key.
      --setup-backend <artifact-registry|storage>
          Where the images are. `storage` means left-over buckets of the old
          Container Registry. Values: `artifact-registry` or `storage`. Default:
          `artifact-registry`.
      --setup-pusher <ID>
          Id of the service account that pushes. It has 6 to 30 letters, digits and
          `-`. Default: `gcr-pusher`.
      --setup-puller <ID>
          Id of the service account that pulls. It has 6 to 30 letters, digits and
          `-`. Default: `gcr-puller`.

    Behaviour:
      --dry-run
          Show what would happen, and change nothing. gcr-push checks what is there,
          and prints what it would send, mount and tag. Values: `true` or `false`.
          Default: `false`.
      --log-format <auto|plain|github|gitlab|json>
          Format of the log. `github` has annotations and groups, `gitlab` has
          sections, `json` is one object a line. Values: `auto`, `plain`, `github`,
          `gitlab` or `json`. Default: `auto`, which fits the CI.

    Network:
      --retry-timeout <DURATION>
          How long to retry after a temporary failure. It counts for each request or
          transfer. `0s` never retries. A duration such as `90s`, from `0s` to `1h`.
          Default: `5m`.
      --stall-timeout <DURATION>
          How long a transfer may stall before it fails. Less than 1 KiB a second
          counts as stalled. A duration such as `90s`, from `1s` to `1h`. Default:
          `60s`.
      --requests-per-minute <NUMBER>
          Limit of requests to each registry. It keeps the run below a quota. If
          several runners share a quota, give each its part. A number from 1 to
          1000000. Default: no limit; after a 429, fewer requests go to that
          registry.
      --timeout <DURATION>
          How long the whole run may take. Then it stops and reports what it tagged.
          A duration such as `90s`, from `1s` to `24h`. Default: no limit.
      --ca-certificates <FILE>
          More certificate authorities to trust. The value is PEM text, or a path to
          it. Default: only those of the system.

    Results:
      --report-file <FILE>
          File for the whole report as JSON. An example is `report.json`. Default:
          none.

    Example:
      Show what a repository on GitHub needs to push:
        gcr-push setup acme-prod --setup-github=acme/shop
    ");
    insta::assert_snapshot!(printed("completions -h"), @"
    Print the completions of a shell.

    Usage: gcr-push completions bash|elvish|fish|powershell|zsh

    Examples:
      source <(gcr-push completions bash)
      gcr-push completions fish > ~/.config/fish/completions/gcr-push.fish
    ");
}

/// Runs a script in a shell and returns what it prints.
fn shell(words: &[&str], script: &str) -> String {
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|_| panic!("`{}` is needed: tests/run installs it", words[0]));
    let mut input = child.stdin.take().unwrap();
    input.write_all(script.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn shells_can_read_their_completions() {
    for (name, words) in [
        ("bash", &["bash", "-n"][..]),
        ("zsh", &["zsh", "-n"]),
        ("fish", &["fish", "--no-execute"]),
    ] {
        assert_eq!(shell(words, &printed(&format!("completions {name}"))), "");
    }
    for name in ["elvish", "powershell"] {
        assert!(printed(&format!("completions {name}")).contains("--best-effort"));
    }
}

#[test]
fn shells_complete_commands_flags_and_words() {
    let script = printed("completions bash");
    let complete = |words: &str| {
        let count = words.split(' ').count() - 1;
        let last = words.rsplit(' ').next().unwrap();
        let before = words.rsplit(' ').nth(1).unwrap();
        shell(
            &["bash"],
            &format!(
                "{script}\nCOMP_WORDS=({words}); COMP_CWORD={count}; \
                 _gcr__push gcr-push '{last}' '{before}'; echo \"${{COMPREPLY[*]}}\""
            ),
        )
    };
    assert_eq!(complete("gcr-push pu"), "push pull-secret\n");
    assert_eq!(
        complete("gcr-push push --pull-secret-a"),
        "--pull-secret-allow-push-key --pull-secret-apply\n"
    );
    assert_eq!(complete("gcr-push push --compression z"), "zstd\n");
    assert_eq!(complete("gcr-push help do"), "doctor\n");
    // Fish, by its own engine.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gcr-push.fish");
    std::fs::write(&file, printed("completions fish")).unwrap();
    let script = format!(
        "set PATH {} $PATH; source {}; complete -C 'gcr-push list --list-f'",
        program().parent().unwrap().display(),
        file.display()
    );
    assert!(shell(&["fish"], &script).starts_with("--list-format\t"));
}
