//! Tests of the text of `--help`.

use std::ffi::OsString;

use crate::config::cli::Invocation;
use crate::config::help::*;

fn help() -> String {
    match crate::config::cli::parse(["gcr-push", "--help"].map(OsString::from)) {
        Ok(Invocation::Print(text)) => text.replace(env!("CARGO_PKG_VERSION"), "VERSION"),
        other => panic!("no help: {other:?}"),
    }
}

#[test]
fn help_lists_every_variable_within_100_columns() {
    let help = help();
    for variable in VARIABLES {
        let heading = format!("\n  {}", variable.name);
        assert!(help.contains(&heading), "{}", variable.name);
    }
    for line in help.lines() {
        assert!(line.chars().count() <= WIDTH, "{line}");
        assert_eq!(line.trim_end(), line, "blanks at the end");
    }
    assert!(!help.contains("\n\n\n"));
}

#[test]
fn help_is_unchanged() {
    insta::assert_snapshot!(help(), @r#"
    gcr-push VERSION
    Push a built container image to Google's registries from any CI, with no Docker daemon.

    Usage: gcr-push [COMMAND]

    Commands:
      push         push one image to one or many destinations, check it, and write the pull secret if
                   asked (the default)
      mirror       copy many images from other registries, by the file `gcr-push.yaml`; an unchanged
                   image costs one or two requests
      list         list the images of a project, or with `name` the tags of an image, newest first, with
                   size, time and platforms
      pull-secret  write or apply the Kubernetes Secret that lets a cluster pull, and push nothing
      setup        show what the Google side lacks: APIs, repository, accounts, roles; with
                   `setup_apply` make it, with `setup_remove` take it away
      doctor       check all that can be checked before a push, and tell how to mend what is wrong

    Options:
      -h, --help     print this text
      -V, --version  print the version

    Everything else is set by environment variables. `x` below is read from GCR_PUSH_X, and in a GitHub
    action from its input `x` (INPUT_X). A list takes newlines or commas; an empty variable is an absent
    one. The values of those marked * are secret and never shown.

    Image:
      image
          The image to push: `docker-archive:PATH[:REF]` (what `docker save` writes),
          `oci-archive:PATH[:REF]`, `oci:DIR[:REF]`, `docker://REF` (an image in a registry, as is a
          bare `HOST/NAME:TAG`), `docker-daemon:REF` (an image that a Docker engine holds), a bare path,
          told apart by its content, or `-` for an archive on standard input, which may stand for PATH
          too; REF picks one of several images, as in `docker-archive:out/image.tar:app:1.2`. With
          `list` the image, or the folder of images, of a registry that is shown.
      platforms
          List of the platforms of a multi-platform image to push, such as `linux/amd64,
          linux/arm64/v8`, or with a version `windows/amd64:10.0.17763`; one makes it a plain image,
          several a smaller index; default `all`.
      attestations
          What is done to the attestations that BuildKit adds to an index (provenance, SBOM): `keep` or
          `strip`; default `keep`, but for one platform that is asked for alone.
      referrers
          `true` carries along what refers to the image and to each platform of it: signatures, SBOMs
          and attestations, by the referrers API, its fallback tag, or cosign's tags; from a registry,
          an OCI layout or an OCI archive; default `false`.

    Target:
      tags
          List of destinations: full references such as `gcr.io/acme/api:1.2`, as docker/metadata-action
          prints them, or with `@` in place of the tag, by digest alone; or tags without `/` such as
          `1.2`, which go to `name` at each `registry`; default the tags inside the image, else
          `latest`.
      registry
          List of hosts for tags without `/`: `gcr.io`, `us.gcr.io`, `eu.gcr.io`, `asia.gcr.io`,
          `LOCATION-docker.pkg.dev`, or any other registry such as `registry.example.com:5000`; default
          `gcr.io`.
      project_id
          Google Cloud project of the destination, such as `acme-prod`; default the project of
          `credentials_json`, then GOOGLE_CLOUD_PROJECT, GCP_PROJECT, GCLOUD_PROJECT, CLOUDSDK_PROJECT,
          CLOUDSDK_CORE_PROJECT, GOOGLE_ARTIFACT_REGISTRY_PROJECT_ID.
      repository
          Artifact Registry repository, such as `containers`; needed on `pkg.dev` hosts, but for `list`,
          and only there.
      name
          Name of the image below project and repository, such as `api` or `team/api`; default the name
          inside the image.
      best_effort
          List of destinations whose failure is reported but fails nothing, and which the others do not
          wait for: hosts such as `mirror.example.com`, or references of `tags`; default none.
      existing_tag
          What is done to a tag that is there with another digest: `overwrite` (default), `keep` (the
          tag stays) or `fail`; a tag that is there with the same digest is success, and is not put
          again.

    Credentials:
      credentials_json *
          Service-account key, or any other credential file of Google's: its JSON, base64 of it, or a
          path; it buys a short-lived token, and only that goes to the registry. Excludes `access_token`
          and `workload_identity_provider`; default what the environment has:
          GOOGLE_APPLICATION_CREDENTIALS, GOOGLE_GHA_CREDS_PATH, CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE,
          gcloud's application-default credentials, the machine's own account.
      access_token *
          A ready OAuth access token for Google's registries, as `gcloud auth print-access-token` prints
          it. Excludes `credentials_json` and `workload_identity_provider`.
      workload_identity_provider
          Keyless: the provider that takes the CI's OIDC token,
          `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`. Excludes
          `credentials_json` and `access_token`.
      service_account
          Service account to act as, such as `ci@acme-prod.iam.gserviceaccount.com`; default none, the
          identity itself has the rights. Needs `workload_identity_provider`.
      oidc_token *
          The CI's OIDC token, as text or as the path of a file, as GitLab's `id_tokens` give it;
          default GitHub's, which is asked for. Needs `workload_identity_provider`.
      docker_config *
          Logins for registries that are not Google's: the text of a Docker `config.json`, base64 of it,
          or a path to it or to its directory; default DOCKER_AUTH_CONFIG, `$DOCKER_CONFIG/config.json`
          or else `~/.docker/config.json`, and REGISTRY_AUTH_FILE, then CI_REGISTRY_USER and
          CI_REGISTRY_PASSWORD on CI_REGISTRY.
      username
          User name for the destination that is not Google's, and for no other registry; with several,
          `docker_config` holds their logins. Needs `password`.
      password *
          Password or token for the destination that is not Google's, and for no other registry. Needs
          `username`.
      source_username
          User name for the registry of `image`, and for no other. Needs `source_password`.
      source_password *
          Password or token for the registry of `image`, and for no other. Needs `source_username`.
      github_token *
          GitHub's token, for `ghcr.io` and no other registry, and for `setup` to ask GitHub for a
          repository's numbers; default none, and in the GitHub action the job's own.
      missing_credentials
          What is done where there is no credential at all for a Google host, as in a pull request of a
          fork: `fail` (default), or `skip`: the image is checked, what would be pushed is printed, and
          the run succeeds.

    Verification:
      verify
          How the result is checked: `listing` (default: by digest, by tag, and by the registry's own
          listing), `blobs` (every blob is read back and hashed as well) or `off`.

    Pull secret:
      pull_secret
          Name of a Kubernetes Secret, such as `gcr-pull`, with which a cluster pulls what was pushed;
          it is written to `pull_secret_file`, applied by `pull_secret_apply`, or both, after it was
          shown to pull; default none.
      pull_secret_namespaces
          List of namespaces, such as `staging, production`, that each get the Secret; default one
          Secret without a namespace, applied to the one that is current. Needs `pull_secret`.
      pull_secret_labels
          List of labels for the Secret, such as `team=shop, app.kubernetes.io/part-of=shop`; default
          none. Needs `pull_secret`.
      pull_secret_credentials_json *
          Service-account key that goes into the pull secret, of an account that may only read: its
          JSON, base64 of it, or a path; default, where this run signs in without a key, a token that
          works for an hour at most. Needs `pull_secret`.
      pull_secret_allow_push_key
          `true` puts the pushing key of `credentials_json` into the pull secret when no other is given,
          and the logins of `docker_config` for registries that are not Google's, and so lets everyone
          who reads the Secret push; default `false`. Needs `pull_secret`.
      pull_secret_file
          File for the pull secret, such as `pull-secret.yaml`, readable by its owner alone; or `-` for
          standard output, which is refused under a CI, because logs are kept; no default. Needs
          `pull_secret`.
      pull_secret_format
          Form of what is written: `yaml` (default) or `json`, as kubectl prints a Secret, or
          `dockerconfigjson`, the login file in it alone. Needs `pull_secret_file`.
      pull_secret_apply
          `true` applies the pull secret to a cluster, which needs no kubectl; default `false`. Needs
          `pull_secret`.
      pull_secret_service_accounts
          List of service accounts in each namespace, such as `default`, whose pods are to pull with the
          Secret: it is added to their `imagePullSecrets`; default none. Needs `pull_secret_apply`.
      pull_secret_create_namespace
          `true` creates a namespace that is missing; default `false`. Needs `pull_secret_apply`.
      pull_secret_replace
          `true` takes over a Secret of that name that others wrote, and makes one of another type anew;
          default `false`. Needs `pull_secret_apply`.
      kubeconfig *
          The cluster and the login to it: a kubeconfig's YAML, base64 of it, or a path; default the
          files of KUBECONFIG, then, in a pod, its own cluster. Needs `pull_secret_apply`.
      kubeconfig_context
          Context of the kubeconfig, such as `production`; default its `current-context`. Needs
          `pull_secret_apply`.

    Mirror:
      config
          The file that says what `mirror` copies where, such as `mirror.yaml`; default `gcr-push.yaml`.
      shard
          Which part of the work of `mirror` this runner does, such as `2/5` for the second of five, or
          `5` alone where the engine tells which: GitLab's `parallel`, CircleCI, Buildkite, an Indexed
          Job of Kubernetes; default what those tell (Kubernetes does not tell how many there are), else
          all of it.

    List:
      list_recursive
          `true` lists all images below the project, repository or image, with all that is in each;
          default `false`, the names one level below.
      list_platforms
          `true` reads a manifest and a config for each image whose platforms Google's list does not
          tell, of the newest 1000; default `false`, the platforms that are known without that.
      list_format
          What `list` prints: `table` (default) or `json`, an array with an object a line.

    Setup:
      setup_apply
          `true` carries out what `setup` shows as missing; default `false`. Excludes `setup_remove`.
      setup_remove
          `true` takes away what `setup` made, and nothing else: keys, roles, accounts, pools, and
          repositories that hold nothing; default `false`. Excludes `setup_apply`.
      setup_github
          List of GitHub repositories, `OWNER/REPO`, whose workflows may push without a key; a private
          one with its numbers, `OWNER/REPO#OWNER_ID/REPO_ID`; default none.
      setup_gitlab
          List of GitLab projects, `https://HOST/GROUP/PROJECT`, whose jobs may push without a key; a
          private one with its numbers, `https://HOST/GROUP/PROJECT#NAMESPACE_ID/PROJECT_ID`; default
          none.
      setup_key
          File for a key of the account that pulls, such as `puller.json`, readable by its owner alone;
          `pusher:FILE` for one of the account that pushes; default no key.
      setup_backend
          What the images are kept in: `artifact-registry` (default), or `storage` for left-over buckets
          of the old Container Registry.
      setup_pusher
          Id of the service account that pushes, from 6 to 30 letters, digits and `-`; default
          `gcr-pusher`.
      setup_puller
          Id of the service account that pulls, likewise; default `gcr-puller`.

    Behaviour:
      command
          The command word (`push`, `mirror`, `list`, `pull-secret`, `setup`, `doctor`) where no
          argument can be given, as in a `uses:` step; an argument wins; default `push`.
      dry_run
          `true` finds out what is there and tells what would be sent, mounted and tagged, and changes
          nothing; default `false`.
      compression
          What is done to layers that the image holds uncompressed: `gzip` (default), `zstd` or `none`.
      compression_level
          Level for `gzip`, from 1 (fast) to 12 (small), default 2; or for `zstd`, from 1 to 19, default
          3. Excludes `compression: none`.
      layer_reuse
          Whether layers that the destination's earlier images have, by their diff IDs, are neither
          compressed nor sent: `auto` (default) or `off`.
      concurrency
          How many blobs are sent at once, from 1 to 64; default 8, and up to 24 together with those
          under 1 MiB.
      retry_timeout
          How long a request or transfer that failed for now is tried again, such as `10m`, at most
          `1h`; `0s` never tries again; default `5m`.
      stall_timeout
          How long a transfer may stand still before it counts as failed, such as `90s` or `10m`, at
          most `1h`; default `60s`.
      finish_timeout
          How long a registry may take to answer after the last byte of a blob before the blob is sent
          again, such as `20m`, at most `1h`; default `10m`, or `stall_timeout` if that is longer.
      requests_per_minute
          How many requests a registry may get from this run in any minute, to stay under a quota, such
          as `600`; several runners share a quota, so each is given its part; default no limit, and a
          429 slows down what goes to that registry.
      timeout
          How long the whole run may take before it stops and says what was tagged, such as `30m`, at
          most `24h`; default no limit.
      ca_certificates
          More certificate authorities to trust, on every connection: PEM text, or a path to it; default
          the system's alone.
      client_certificate
          Certificate for registries that ask for one, never shown to Google's: PEM text, or a path to
          it; default what Docker's and Podman's `certs.d/HOST[:PORT]` folders hold. Needs `client_key`,
          unless the key stands in the same file.
      client_key *
          Private key of `client_certificate`, without a passphrase: PEM text, or a path to it. Needs
          `client_certificate`.
      insecure_registries
          List of hosts that may be spoken to over plain HTTP, such as `registry.example.com:5000`;
          never Google's; this machine needs no mention.
      log_format
          Form of the log: `plain`, `github` (annotations and groups), `gitlab` (sections) or `json` (an
          object a line); default `auto`, what suits the CI at hand.

    Results:
      report_file
          File for the whole report as JSON, such as `report.json`; default none.
      digest_file
          File for the digest of the first destination, `sha256:…` without a line break, such as
          `digest.txt`; default none.
      dotenv_file
          File for the results as `NAME=value` lines, such as `push.env`, for GitLab's
          `artifacts:reports:dotenv`: PUSHED_DIGEST, PUSHED_IMAGE, PUSHED_REFERENCE, PUSHED_REFERENCES,
          PUSHED_BYTES, SKIPPED_BYTES, and after a failure PUSH_FAILED; default none.

    HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY hold for every connection. DOCKER_HOST says where
    the engine of `docker-daemon:` answers; default `unix:///var/run/docker.sock`.

    Exit codes:
      0  done
      1  failed for good
      2  the request is wrong
      3  credentials or a permission were refused
      4  failed for now, worth another try

    Examples:
      What `docker save` wrote, to gcr.io under the key's project:
        GCR_PUSH_IMAGE=image.tar GCR_PUSH_NAME=api GCR_PUSH_CREDENTIALS_JSON=key.json gcr-push
      To two registries, with the pull secret for a cluster:
        GCR_PUSH_IMAGE=oci-archive:image.tar GCR_PUSH_CREDENTIALS_JSON=key.json \
        GCR_PUSH_TAGS=gcr.io/acme/api:1.2,us-docker.pkg.dev/acme/containers/api:1.2 \
        GCR_PUSH_PULL_SECRET=gcr-pull GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON=reader.json \
        GCR_PUSH_PULL_SECRET_FILE=pull-secret.yaml gcr-push
      The tags of an image:
        GCR_PUSH_IMAGE=gcr.io/acme/api GCR_PUSH_ACCESS_TOKEN="$TOKEN" gcr-push list
    "#);
}
