//! Workload identity federation: the CI's own OIDC token is traded for Google's.
//! <https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token>

use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Url;
use reqwest::header::CONTENT_TYPE;

use super::impersonation::Impersonation;
use super::user::{FORM, form};
use crate::auth::claims::JwtClaims;
use crate::auth::error::{AuthError, AuthOperation};
use crate::auth::exchange::{Exchange, Issued, SCOPE};
use crate::auth::identity::SETUP_POOL;
use crate::auth::subject::SubjectSource;
use crate::diagnostics::secret::Secret;

/// An identity of another provider that Google lets in.
#[derive(Clone, Debug)]
pub struct ExternalAccount {
    /// `//iam.googleapis.com/projects/NUMBER/…/providers/PROVIDER`.
    pub audience: String,
    pub(crate) subject_token_type: String,
    pub(crate) token_url: Url,
    pub(crate) subject: SubjectSource,
    /// The service account that is acted as; none where the identity itself has the rights.
    pub impersonation: Option<Impersonation>,
    /// The project that a workforce identity is billed to.
    pub(crate) user_project: Option<String>,
    /// The project whose quota requests to Google's APIs count for.
    pub(crate) quota_project: Option<String>,
    /// What the last token of the CI's said of itself.
    pub(crate) claims: Arc<Mutex<JwtClaims>>,
}

/// Google's Security Token Service.
const STS: &str = "https://sts.googleapis.com/v1/token";

/// What `subject_token_type` says of an OIDC token.
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

impl ExternalAccount {
    /// Of a provider, `projects/NUMBER/…/providers/PROVIDER`, which was checked.
    ///
    /// # Errors
    ///
    /// Never: the URL of the token service is Google's own.
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

    /// The identity in IAM's words, as narrow as what is known of it: by its repository or project,
    /// where the last token told one, else by its subject, else the whole pool. Of what the provider
    /// maps nothing is known, unless setup made it.
    pub fn member(&self) -> String {
        let name = self.audience.trim_start_matches("//iam.googleapis.com/");
        let pool = name.split("/providers/").next().unwrap_or(name);
        let pool = format!("//iam.googleapis.com/{pool}");
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        // What setup maps are numbers, for names can be given up and taken by somebody else.
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

    /// A new token: the CI's is fetched, traded, and where a service account is acted as, traded
    /// again.
    pub(crate) async fn issue(&self, exchange: &Exchange) -> Result<Issued, AuthError> {
        let subject = self.subject.token(exchange).await?;
        let claims = JwtClaims::of(subject.expose()).unwrap_or_default();
        *self.claims.lock().unwrap_or_else(PoisonError::into_inner) = claims;
        let federated = self.trade(exchange, &subject).await;
        // It may have run out on the way.
        let federated = federated.map_err(|error| self.subject.ran_out().unwrap_or(error))?;
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

    /// The OIDC token for Google's (RFC 8693).
    async fn trade(&self, exchange: &Exchange, subject: &Secret) -> Result<Issued, AuthError> {
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
            endpoint: self.token_url.to_string(),
            cause,
        };
        let request = exchange
            .client(&self.token_url)
            .post(self.token_url.clone())
            .header(CONTENT_TYPE, FORM)
            .body(form(&pairs));
        let granted = Exchange::ask(request).await;
        granted
            .and_then(|granted| granted.oauth_token())
            .map_err(failed)
    }
}
