//! Tests of proxies, root certificates and plain-HTTP hosts.

use super::variables::*;
use gcr_push::http::Proxies;

fn proxies(pairs: &[(&str, &str)]) -> Proxies {
    let mut run = Variables::push();
    for (name, value) in pairs {
        run = run.with(name, *value);
    }
    run.request().session.network.proxies
}

#[test]
fn proxies_are_parsed_as_in_go() {
    let read = proxies(&[
        ("HTTPS_PROXY", "http://upper:3128"),
        ("https_proxy", "http://lower:3128"),
        ("http_proxy", "proxy.example:8080"),
        ("no_proxy", "10.0.0.0/8,.internal"),
    ]);
    assert_eq!(read.https.as_deref(), Some("http://upper:3128"));
    assert_eq!(read.http.as_deref(), Some("http://proxy.example:8080"));
    assert_eq!(read.no_proxy.as_deref(), Some("10.0.0.0/8,.internal"));
}

#[test]
fn all_proxy_is_the_fallback() {
    let read = proxies(&[
        ("ALL_PROXY", "http://all:1"),
        ("http_proxy", "https://own:2"),
    ]);
    assert_eq!(read.https.as_deref(), Some("http://all:1"));
    assert_eq!(read.http.as_deref(), Some("https://own:2"));
}

#[test]
fn cgi_request_header_is_no_proxy() {
    let read = proxies(&[("HTTP_PROXY", "http://evil:1"), ("REQUEST_METHOD", "GET")]);
    assert_eq!(read.http, None);
    let read = proxies(&[("http_proxy", "http://own:1"), ("REQUEST_METHOD", "GET")]);
    assert_eq!(read.http.as_deref(), Some("http://own:1"));
}

#[test]
fn invalid_proxy_is_reported_without_its_password() {
    let rendered = |value: &str| {
        let text = Variables::push().with("ALL_PROXY", value).refused();
        assert!(!text.contains("hunter2"), "{text}");
        text.lines().skip(1).take(1).collect::<String>()
    };
    insta::assert_snapshot!([
        "socks5://u:hunter2@proxy:1080",
        "ftp://u:hunter2@proxy",
        "http://u:hunter2@pro xy:1",
        "http://u:hunter2@proxy:99999",
        "http://u:hunter2/x@proxy:1",
        "http://",
    ].map(rendered).join("\n"), @r"
    `ALL_PROXY`: SOCKS proxies are not supported, only `http://` and `https://`
    `ALL_PROXY`: a proxy's URL starts with `http://` or `https://`
    `ALL_PROXY`: it is not the URL of a proxy: invalid international domain name; its value is not shown
    `ALL_PROXY`: it is not the URL of a proxy: invalid port number; its value is not shown
    `ALL_PROXY`: it is not the URL of a proxy: invalid port number; its value is not shown
    `ALL_PROXY`: it is not the URL of a proxy: empty host; its value is not shown
    ");
}

#[test]
fn proxy_password_need_not_be_escaped() {
    let read = proxies(&[("HTTPS_PROXY", "http://u:p@ss^w%20rd@proxy:3128/")]);
    let proxy = read.https.unwrap();
    assert_eq!(proxy, "http://u:p%40ss%5Ew%20rd@proxy:3128");
}

#[test]
fn root_certificates_are_text_or_a_path() {
    let text = Variables::push()
        .with("GCR_PUSH_CA_CERTIFICATES", "-----BEGIN CERTIFICATE-----\nx")
        .refused();
    insta::assert_snapshot!(text, @r"
    error: an input cannot be used
      `ca_certificates`: a certificate in it cannot be read (GCR_PUSH_CA_CERTIFICATES)

    hint: `gcr-push push --help` describes every variable
    ");
    let run = Variables::push().with("GCR_PUSH_CA_CERTIFICATES", "/etc/ca.pem");
    insta::assert_snapshot!(run.refused(), @"
    error: an input cannot be used
      `ca_certificates`: `/etc/ca.pem` cannot be read: No such file or directory (os error 2) (GCR_PUSH_CA_CERTIFICATES)

    hint: `gcr-push push --help` describes every variable
    ");
    let run = run.file("/etc/ca.pem", "no certificate");
    insta::assert_snapshot!(run.refused(), @r"
    error: an input cannot be used
      `ca_certificates`: it does not contain a PEM certificate (GCR_PUSH_CA_CERTIFICATES)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn plain_http_hosts_are_listed_and_never_google() {
    let run = Variables::push().with(
        "GCR_PUSH_INSECURE_REGISTRIES",
        "registry.example.com:5000, other.example",
    );
    let hosts: Vec<String> = run
        .request()
        .session
        .network
        .insecure_registries
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(hosts, ["registry.example.com:5000", "other.example"]);
}
