//! The switches: what the stand-in does where Google's behaviour depends on the host or the
//! project, varies, or is unknown. `Default` is Google as its documents and user reports describe
//! it.

use std::time::Duration;

use crate::cloud::Switches;
use crate::quota::Quota;

/// Every switch of a stand-in. Set it before the start with `Builder::behaviour`, or while it runs
/// with `Standin::change`.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// The challenge of `GET /v2/` without a credential.
    pub ping_challenge: Challenge,
    /// The challenge of any other registry request without a credential.
    pub data_challenge: Challenge,
    /// The realm in place of the registry's own token endpoint (a hostile registry).
    pub realm: Option<String>,
    /// The service in place of the host.
    pub service: Option<String>,
    /// The lifetime of an OAuth access token.
    pub oauth_lifetime: Duration,
    /// The lifetime of a CI's OIDC token.
    pub oidc_lifetime: Duration,
    /// Makes the plain address the metadata server of this Google machine.
    pub machine: Option<Machine>,
    /// The lifetime of a token of a registry's token endpoint.
    pub registry_token_lifetime: Duration,
    /// A registry token stays valid after the OAuth token that it was issued for has expired.
    /// Whether Google does so is unknown.
    pub registry_token_outlives_oauth: bool,
    /// A registry token of one of Google's hosts is valid on the others. Whether it is in reality
    /// is unknown, and no client should rely on it.
    pub registry_token_travels: bool,
    /// Accepts a self-signed JWT of a service account in place of an OAuth token, as
    /// docker-credential-gcr uses it. Which audience Google wants is unknown.
    pub self_signed_jwt: bool,
    /// Accepts a `_json_key_base64` password with line breaks.
    pub wrapped_json_key_base64: bool,
    /// Every repository on Google's hosts is public.
    pub anonymous_pull: bool,
    /// The authentication of the plain registry.
    pub plain_auth: PlainAuth,
    /// The plain registry issues anonymous pull tokens.
    pub plain_anonymous_pull: bool,
    /// Which of Google's two texts reports a missing permission.
    pub denied_wording: DeniedWording,
    /// The Artifact Registry API is disabled.
    pub api_off: bool,
    /// The project never migrated its gcr.io names to Artifact Registry.
    pub not_migrated: NotMigrated,
    /// A first push through a gcr.io name creates the repository, if permitted.
    pub create_on_push: bool,
    /// The form of an upload's `Location`.
    pub upload_location: UploadLocation,
    /// Length of the secret token in an upload's URL. Real ones exceed 20 KB.
    pub upload_token_length: usize,
    /// The upload's URL has a query of its own, so that `digest=` comes after `&`.
    pub upload_location_has_query: bool,
    /// Google's front ends refuse (411) a POST, PUT or PATCH without a length.
    pub length_required: bool,
    /// Bodies in chunked transfer coding are accepted (as by Google's front ends).
    pub chunked_coding: bool,
    /// `POST …/blobs/uploads/?digest=` with the blob as its body stores it at once.
    pub single_post: bool,
    /// The body of an upload is read when all before it were read to their ends (crane's
    /// `registry serve`).
    pub one_upload_at_a_time: bool,
    /// The result of `?mount=&from=`.
    pub mount: Mount,
    /// How Google's hosts answer a blob GET.
    pub blob_download: BlobDownload,
    /// How the plain registry answers a blob GET.
    pub plain_blob_download: BlobDownload,
    /// `Range` on a blob is honoured; otherwise the whole blob comes with 200.
    pub ranges: bool,
    /// Manifest answers have no `Docker-Content-Digest`.
    pub omit_content_digest: bool,
    /// A stored manifest whose type is not in `Accept` is answered 404, as some registries do.
    pub strict_accept: bool,
    /// Larger manifests are refused with 413.
    pub manifest_limit: usize,
    /// Tags of every repository can be created but not moved.
    pub immutable_tags: bool,
    /// With immutable tags, putting the same digest to its tag again is refused too.
    pub immutable_refuses_repeat: bool,
    /// Deleting the last manifest that names a blob removes the blob.
    pub collect_blobs: bool,
    /// Google's hosts answer `tags/list` with Google's extra fields.
    pub google_listing: bool,
    /// This number of listings of a name still shows the state before a change.
    pub listing_lag: u32,
    /// Listings silently leave out everything after this many manifests and children.
    pub listing_cap: Option<usize>,
    /// `timeUploadedMs` is among the listed fields.
    pub time_uploaded: bool,
    /// A missing image is listed as an empty one instead of refused (404).
    pub lists_missing_images: bool,
    /// Largest page of the plain registry's `tags/list` and `_catalog`.
    pub page_limit: Option<usize>,
    /// The state of the referrers API.
    pub referrers: Referrers,
    /// Statuses that are not known for sure.
    pub statuses: Statuses,
    /// A refusal is sent without reading the rest of the request's body. The connection is then
    /// reset under a client that is still sending, which may lose the answer.
    pub answers_early: bool,
    /// The delay before each request is served.
    pub latency: Duration,
    /// HTTP/2 is offered over TLS. Read at the start only.
    pub http2: bool,
    /// The TLS address requires a certificate of the test CA. Read at the start only.
    pub wants_client_certificate: bool,
    /// The TLS address has a self-signed certificate, as `openssl req -x509` makes it. Read at the
    /// start only.
    pub self_signed: bool,
    /// The request quota of a host; `None` is unlimited.
    pub quota: Option<Quota>,
    /// The switches of the APIs of projects, accounts and repositories.
    pub cloud: Switches,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            ping_challenge: Challenge::ByHost,
            data_challenge: Challenge::ByHost,
            realm: None,
            service: None,
            oauth_lifetime: Duration::from_secs(3599),
            oidc_lifetime: Duration::from_secs(300),
            machine: None,
            registry_token_lifetime: Duration::from_secs(43_200),
            registry_token_outlives_oauth: true,
            registry_token_travels: false,
            self_signed_jwt: false,
            wrapped_json_key_base64: false,
            anonymous_pull: false,
            plain_auth: PlainAuth::None,
            plain_anonymous_pull: true,
            denied_wording: DeniedWording::NamesResource,
            api_off: false,
            not_migrated: NotMigrated::No,
            create_on_push: true,
            upload_location: UploadLocation::OutsideV2,
            upload_token_length: 64,
            upload_location_has_query: false,
            length_required: true,
            chunked_coding: true,
            single_post: false,
            one_upload_at_a_time: false,
            mount: Mount::SameHost,
            blob_download: BlobDownload::RelativeRedirect,
            plain_blob_download: BlobDownload::Direct,
            ranges: true,
            omit_content_digest: false,
            strict_accept: false,
            manifest_limit: 4 * 1024 * 1024,
            immutable_tags: false,
            immutable_refuses_repeat: false,
            collect_blobs: true,
            google_listing: true,
            listing_lag: 0,
            listing_cap: None,
            time_uploaded: true,
            lists_missing_images: false,
            page_limit: None,
            referrers: Referrers::Supported,
            statuses: Statuses::default(),
            answers_early: false,
            latency: Duration::ZERO,
            http2: false,
            wants_client_certificate: false,
            self_signed: false,
            quota: None,
            cloud: Switches::default(),
        }
    }
}

/// The `WWW-Authenticate` header of a 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// As observed. Ping: gcr.io names a service, pkg.dev does not. Other requests: pkg.dev names
    /// service and scope, gcr.io sends no challenge at all.
    ByHost,
    /// Realm, service and (where there is one) scope.
    WithService,
    /// Realm only.
    WithoutService,
    /// No challenge.
    Absent,
}

/// A machine in a cloud.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its service account.
    pub account: Option<String>,
    /// The scopes of its tokens, by the last parts of their names.
    pub scopes: Vec<&'static str>,
    /// The metadata server identifies itself as Google's; other clouds have one at the same
    /// address.
    pub flavor: bool,
}

/// The authentication of the plain registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainAuth {
    /// No authentication.
    None,
    /// Tokens from its `/token`, limited to their scopes.
    Bearer,
    /// Basic authentication on every request, with the users of `Standin::basic_user`.
    Basic,
}

/// The text for a missing permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeniedWording {
    /// The older one, which names the resource.
    NamesResource,
    /// The one of 2026, which points to a troubleshooter page instead.
    Troubleshooter,
}

/// A project whose gcr.io names still belong to the old Container Registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMigrated {
    /// Migrated.
    No,
    /// 412 in plain text from the token endpoint and from manifests, as users reported.
    TokenAndManifests,
    /// The same from manifests only.
    Manifests,
}

/// The `Location` of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadLocation {
    /// A path outside `/v2/` (Artifact Registry).
    OutsideV2,
    /// A path below `/v2/NAME/blobs/uploads/`.
    UnderV2,
    /// The whole URL on the same host.
    Absolute,
    /// Only the last component of the path (RFC 3986, section 4.2).
    LastComponent,
    /// `//HOST/PATH`, without a scheme.
    WithoutScheme,
    /// The whole URL with `http`, whatever the client used.
    PlainHttp,
    /// The whole URL on another host, where an `Authorization` header is an error.
    OtherHost(String),
}

/// The result of a cross-repository mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mount {
    /// Mounted (201) from any repository of the host that the caller may read.
    SameHost,
    /// Mounted only within one Artifact Registry repository.
    SameRepository,
    /// Never: the answer is an ordinary upload (202), even for a blob that exists.
    Never,
}

/// The answer to a blob GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobDownload {
    /// 302 to a path of the same host.
    RelativeRedirect,
    /// 302 to another of the stand-in's names, which refuses requests with `Authorization`.
    CrossHostRedirect(String),
    /// 200 at once.
    Direct,
}

/// The state of the referrers API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referrers {
    /// With filters.
    Supported,
    /// Without the `artifactType` filter.
    Unfiltered,
    /// 404, as in a registry of OCI 1.0.
    Missing,
    /// 200 with a sign-in page in HTML, as Artifact Registry did in 2024.
    LoginPage,
}

/// Statuses of refusals whose text is known and whose number is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    /// Create-on-push without the permission.
    pub create_on_push: u16,
    /// The API is disabled.
    pub api_off: u16,
    /// A tag that cannot be moved.
    pub immutable: u16,
    /// A manifest that names what is not in the repository.
    pub unknown_reference: u16,
    /// A second PATCH of one upload.
    pub second_patch: u16,
    /// A PATCH with `Content-Range`.
    pub content_range: u16,
}

impl Default for Statuses {
    fn default() -> Self {
        Self {
            create_on_push: 403,
            api_off: 403,
            immutable: 400,
            unknown_reference: 400,
            second_patch: 400,
            content_range: 400,
        }
    }
}
