//! Tests of path translation in a container action.

use super::variables::*;
use gcr_push::image::location::{ArchiveKind, ImageOrigin, ImageSource};

fn image(run: &Variables) -> ImageSource {
    match run.request().image {
        ImageOrigin::Local(image) => image,
        other => panic!("no image of this machine: {other:?}"),
    }
}

#[test]
fn host_paths_with_a_known_prefix_are_translated() {
    for (given, seen) in [
        (
            "/home/runner/work/shop/shop/out/i.tar",
            "/github/workspace/out/i.tar",
        ),
        ("/home/runner/work/_temp/i.tar", "/github/runner_temp/i.tar"),
        (
            "/home/runner/work/shop/shop/../../_temp/i.tar",
            "/github/runner_temp/i.tar",
        ),
        ("/__w/shop/shop/i.tar", "/github/workspace/i.tar"),
        ("/__w/_temp/i.tar", "/github/runner_temp/i.tar"),
        ("/github/workspace/i.tar", "/github/workspace/i.tar"),
        ("out/i.tar", "out/i.tar"),
    ] {
        let run = Variables::action().with("INPUT_IMAGE", format!("docker-archive:{given}:app:1"));
        let expected = ImageSource::DockerArchive(seen.into(), Some("app:1".to_owned()));
        assert_eq!(image(&run), expected, "{given}");
    }
}

#[test]
fn directory_with_a_common_prefix_is_another() {
    let run = Variables::action().with("INPUT_IMAGE", "oci:/home/runner/work/shop/shop-2/x");
    assert!(run.refused().contains("cannot see"));
}

#[test]
fn container_paths_are_unchanged() {
    let run = Variables::action()
        .with("INPUT_IMAGE", "/opt/image.tar")
        .file("/opt/image.tar", "");
    assert_eq!(image(&run), ImageSource::Path("/opt/image.tar".into()));
}

#[test]
fn unmounted_path_error_lists_mounted_ones() {
    let run = Variables::action()
        .with("INPUT_IMAGE", "oci:/home/runner/layout")
        .with("INPUT_CREDENTIALS_JSON", "/home/runner/secret/key.json")
        .with("INPUT_PROJECT_ID", "acme")
        .with("INPUT_CA_CERTIFICATES", "/Users/me/ca.pem")
        .with("INPUT_REPORT_FILE", "/tmp/report.json");
    insta::assert_snapshot!(run.refused(), @r"
    error: four inputs cannot be used
      `image`: the action's container cannot see `/home/runner/layout` (INPUT_IMAGE)
      `credentials_json`: the action's container cannot see the file that it names (INPUT_CREDENTIALS_JSON)
      `ca_certificates`: the action's container cannot see `/Users/me/ca.pem` (INPUT_CA_CERTIFICATES)
      `report_file`: `/tmp/report.json` would be written inside the action's container and be lost with it (INPUT_REPORT_FILE)

    hint: a container action shares two directories with the other steps: the workspace (relative paths are below it) and `${{ runner.temp }}`
    ");
}

#[test]
fn unmounted_runner_temp_directory_is_recognized() {
    let run = Variables::action()
        .with("RUNNER_TEMP", "/home/runner/work/_temp")
        .with("INPUT_IMAGE", "oci:/home/runner/work/_temp/layout");
    insta::assert_snapshot!(run.refused(), @r"
    error: an input cannot be used
      `image`: the action's container cannot see `/home/runner/work/_temp/layout`: runners before 2.329 do not share their temporary directory with it (INPUT_IMAGE)

    hint: put the file into the workspace, or update the runner
    ");
}

#[test]
fn files_and_results_are_translated() {
    let request = Variables::action()
        .with("INPUT_CREDENTIALS_JSON", "/home/runner/work/_temp/key.json")
        .file("/github/runner_temp/key.json", KEY)
        .with(
            "INPUT_REPORT_FILE",
            "/home/runner/work/shop/shop/report.json",
        )
        .with("INPUT_DIGEST_FILE", "/dev/stdout")
        .request();
    assert!(request.session.sign_in.google.is_some());
    assert_eq!(
        request.files.report,
        Some("/github/workspace/report.json".into())
    );
    assert_eq!(request.files.digest, Some("/dev/stdout".into()));
}

#[test]
fn path_is_unchanged_outside_a_container_action() {
    for run in [
        Variables::push(),
        Variables::push()
            .with("GITHUB_ACTIONS", "true")
            .with("GITHUB_WORKSPACE", "/home/runner/work/shop/shop")
            .with("RUNNER_WORKSPACE", "/home/runner/work/shop"),
    ] {
        let path = "/home/runner/work/shop/shop/image.tar";
        let run = run
            .with("GCR_PUSH_IMAGE", path)
            .with("GCR_PUSH_REPORT_FILE", "/tmp/r");
        assert_eq!(image(&run), ImageSource::Path(path.into()));
    }
}

#[test]
fn renamed_repository_keeps_its_old_directory() {
    let run = Variables::action()
        .with("RUNNER_WORKSPACE", "/work/old")
        .with("INPUT_IMAGE", "oci:/work/old/shop/layout");
    assert_eq!(
        image(&run),
        ImageSource::OciLayout("/github/workspace/layout".into(), None)
    );
}

#[test]
fn standard_input_is_refused_in_a_container_action_only() {
    let run = Variables::push().with("GCR_PUSH_IMAGE", "docker-archive:-:app:1");
    assert_eq!(
        image(&run),
        ImageSource::StandardInput(ArchiveKind::Docker, Some("app:1".to_owned()))
    );
    let run = Variables::action().with("INPUT_IMAGE", "-");
    insta::assert_snapshot!(run.refused(), @r"
    error: an input cannot be used
      `image`: the container of an action has no standard input (INPUT_IMAGE)

    hint: save the image to a file in the workspace, `docker save --output image.tar NAME`, and use that file
    ");
}

#[test]
fn result_above_the_workspace_is_refused_in_an_action() {
    let rendered = |path: &str| {
        let run = Variables::action().with("INPUT_REPORT_FILE", path);
        run.result().map(|_| run.request().files.report)
    };
    for path in [
        "../report.json",
        "../../digest.txt",
        "out/../../report.json",
        "./../report.json",
        "/github/report.json",
        "/github/workspace/../report.json",
        "/tmp/report.json",
        "..",
    ] {
        let error = rendered(path).unwrap_err().to_string();
        assert!(error.contains("be lost with it"), "{path}: {error}");
    }
    for path in [
        "report.json",
        "out/../report.json",
        "../workspace/report.json",
        "../runner_temp/report.json",
        "/github/home/report.json",
        "/github/workspace/out/report.json",
    ] {
        assert!(rendered(path).unwrap().is_some(), "{path}");
    }
    // Outside a container action the path is used unchanged.
    let run = Variables::push().with("GCR_PUSH_REPORT_FILE", "../report.json");
    assert!(run.request().files.report.is_some());
}
