//! Workload identity federation: exchanges the CI's OIDC token for a Google token.
//! <https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token>

use std::sync::Arc;

use parking_lot::Mutex;

use reqwest::Url;

use super::impersonation::Impersonation;
use crate::auth::claims::JwtClaims;
use crate::auth::error::{AuthError, AuthOperation};
use crate::auth::exchange::{Exchange, IssuedToken, SCOPE};
use crate::auth::identity::SETUP_POOL;
use crate::auth::subject::SubjectSource;
use crate::diagnostics::secret::Secret;

/// An identity of an external provider that Google accepts.
#[derive(Clone, Debug)]
pub struct ExternalAccount {
    /// `//iam.googleapis.com/projects/NUMBER/…/providers/PROVIDER`.
    pub audience: String,
    pub(crate) subject_token_type: String,
    pub(crate) token_url: Url,
    pub(crate) subject: SubjectSource,
    /// The service account to impersonate. `None` if the identity itself has the roles.
    pub impersonation: Option<Impersonation>,
    /// The project that is billed for a workforce identity.
    pub(crate) user_project: Option<String>,
    /// The quota project for requests to Google's APIs.
    pub(crate) quota_project: Option<String>,
    /// The claims of the last OIDC token.
    pub(crate) claims: Arc<Mutex<JwtClaims>>,
}

/// Google's Security Token Service.
const STS: &str = "https://sts.googleapis.com/v1/token";

/// The `subject_token_type` of an OIDC token.
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

impl ExternalAccount {
    /// Creates the identity for a provider, `projects/NUMBER/…/providers/PROVIDER`, which must be
    /// valid.
    ///
    /// # Errors
    ///
    /// Never: the URL of the token service is a constant.
    pub fn of_provider(
        provider: &str,
        subject: SubjectSource,
        impersonation: Option<Impersonation>,
    ) -> Result<Self, url::ParseError> {
        Ok(Self {
            audience: format!("//iam.googleapis.com/{provider}"),
            subject_token_type: JWT.to_owned(),
            token_url: Url::parse(STS)?,
            subject,
            impersonation,
            user_project: None,
            quota_project: None,
            claims: Arc::default(),
        })
    }

    /// The identity as an IAM member, as narrow as it is known: by the repository or project of the
    /// last token, else by its subject, else the whole pool. The attribute mapping of the provider
    /// is not known, unless setup created the provider.
    pub fn member(&self) -> String {
        let name = self.audience.trim_start_matches("//iam.googleapis.com/");
        let pool = name.split("/providers/").next().unwrap_or(name);
        let pool = format!("//iam.googleapis.com/{pool}");
        let claims = self.claims.lock();
        // Setup maps the numeric IDs, because names can be released and claimed by others.
        let is_setups = pool
            .rsplit('/')
            .next()
            .is_some_and(|pool| pool.starts_with(SETUP_POOL));
        if is_setups && !claims.repository_id.is_empty() {
            let id = &claims.repository_id;
            format!("principalSet:{pool}/attribute.repository_id/{id}")
        } else if is_setups && !claims.project_id.is_empty() {
            format!(
                "principalSet:{pool}/attribute.project_id/{}",
                claims.project_id
            )
        } else if !claims.repository.is_empty() {
            format!(
                "principalSet:{pool}/attribute.repository/{}",
                claims.repository
            )
        } else if !claims.project_path.is_empty() {
            format!(
                "principalSet:{pool}/attribute.project_path/{}",
                claims.project_path
            )
        } else if !claims.subject.is_empty() {
            format!("principal:{pool}/subject/{}", claims.subject)
        } else {
            format!("principalSet:{pool}/*")
        }
    }

    /// Obtains a new token: it requests the CI's token, exchanges it, and impersonates the service
    /// account if there is one.
    pub(crate) async fn issue(&self, exchange: &Exchange) -> Result<IssuedToken, AuthError> {
        let subject = self.subject.token(exchange).await?;
        let claims = JwtClaims::of(subject.expose()).unwrap_or_default();
        *self.claims.lock() = claims;
        let federated = self.exchange_token(exchange, &subject).await;
        // The token may have expired in the meantime.
        let federated = federated.map_err(|error| self.subject.expired_error().unwrap_or(error))?;
        match &self.impersonation {
            Some(account) => {
                let member = Some(self.member());
                let quota_project = self.quota_project.as_deref();
                let token = (&federated.secret, quota_project);
                account.issue(exchange, token, member).await
            }
            None => Ok(federated),
        }
    }

    /// Exchanges the OIDC token for a Google token (RFC 8693).
    async fn exchange_token(
        &self,
        exchange: &Exchange,
        subject: &Secret,
    ) -> Result<IssuedToken, AuthError> {
        let options = self
            .user_project
            .as_ref()
            .map(|project| serde_json::json!({ "userProject": project }).to_string());
        let mut pairs = vec![
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            ("audience", &self.audience),
            ("scope", SCOPE),
            (
                "requested_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            ),
            ("subject_token", subject.expose()),
            ("subject_token_type", &self.subject_token_type),
        ];
        pairs.extend(options.as_deref().map(|options| ("options", options)));
        let failed = |cause| AuthError::Exchange {
            step: AuthOperation::Federation {
                audience: self.audience.clone(),
                claims: Box::new(JwtClaims::of(subject.expose()).unwrap_or_default()),
            },
            cause: Box::new(cause),
        };
        let response = exchange.post_form(&self.token_url, &pairs).await;
        response
            .and_then(|response| response.oauth_token())
            .map_err(failed)
    }
}
