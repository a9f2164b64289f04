//! The requests that make, change, bring back and delete workload identity pools and providers.

use std::time::Duration;

use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::federation::{Pool, Provider};
use super::names;
use super::provider_change::ProviderChange;
use super::{Setup, SetupError};
use crate::google::{Api, Backoff, GoogleError, Operation};

/// How long a pool that was made just now may take to be known.
const SETTLES_IN: Duration = Duration::from_secs(2 * 60);

impl Setup<'_> {
    pub(super) async fn create_pool(&self, pool: &Pool) -> Result<(), SetupError> {
        let mut url = Api::Iam.url(&self.pools_path());
        url.query_pairs_mut()
            .append_pair("workloadIdentityPoolId", &pool.id);
        let body = json!({
            "displayName": pool.id,
            "description": names::description(&pool.purpose),
        });
        let doing = format!("could not create the workload identity pool `{}`", pool.id);
        let Some(exists) = self.make(url, &body, &doing).await? else {
            return Ok(());
        };
        // It was made meanwhile, or its name is taken by one that is deleted.
        match self.found(&self.pool_path(&pool.id)).await? {
            Some(found) if found.is_deleted() && !found.is_ours() => Err(SetupError::ForeignPool(
                pool.id.clone(),
                self.request.project.clone(),
            )),
            Some(found) if found.is_deleted() => self.restore_pool(pool).await,
            Some(found) if found.disabled => self.enable_pool(pool).await,
            Some(_) => Ok(()),
            None => Err(SetupError::google(doing, exists)),
        }
    }

    pub(super) async fn create_provider(&self, provider: &Provider) -> Result<(), SetupError> {
        let path = format!("{}/providers", self.pool_path(&provider.pool));
        let mut url = Api::Iam.url(&path);
        url.query_pairs_mut()
            .append_pair("workloadIdentityPoolProviderId", &provider.id);
        let mut body = provider.body();
        body["displayName"] = provider.id.as_str().into();
        body["description"] = names::description(&provider.purpose).into();
        let doing = format!("could not create the provider `{}`", provider.id);
        let Some(exists) = self.make(url, &body, &doing).await? else {
            return Ok(());
        };
        match self.found(&self.provider_path(provider)).await? {
            Some(found) if found.is_deleted() => self.restore_provider(provider).await,
            Some(_) => self.alter_provider(provider).await,
            None => Err(SetupError::google(doing, exists)),
        }
    }

    /// Brings back a pool that was deleted less than thirty days ago.
    pub(super) async fn restore_pool(&self, pool: &Pool) -> Result<(), SetupError> {
        let path = self.pool_path(&pool.id);
        let doing = format!(
            "could not bring back the workload identity pool `{}`",
            pool.id
        );
        self.restore(&path, &doing).await
    }

    /// Brings back a provider, and makes it what it should be.
    pub(super) async fn restore_provider(&self, provider: &Provider) -> Result<(), SetupError> {
        let path = self.provider_path(provider);
        let doing = format!("could not bring back the provider `{}`", provider.id);
        self.restore(&path, &doing).await?;
        self.alter_provider(provider).await
    }

    /// Ends what keeps a pool from being used.
    pub(super) async fn enable_pool(&self, pool: &Pool) -> Result<(), SetupError> {
        let doing = format!("could not enable the workload identity pool `{}`", pool.id);
        let path = self.pool_path(&pool.id);
        self.alter(&path, "disabled", &json!({"disabled": false}), &doing)
            .await
    }

    /// Makes a provider what it should be: what it is now decides, not what it was when the plan was
    /// made, so that nobody's change in between is lost.
    pub(super) async fn alter_provider(&self, provider: &Provider) -> Result<(), SetupError> {
        let path = self.provider_path(provider);
        let found = self.found(&path).await?.unwrap_or_default();
        let change = ProviderChange::between(&found, provider);
        if change.is_empty() {
            return Ok(());
        }
        let doing = format!("could not change the provider `{}`", provider.id);
        self.alter(&path, &change.mask(), &change.body(), &doing)
            .await
    }

    async fn alter(
        &self,
        path: &str,
        mask: &str,
        body: &Value,
        doing: &str,
    ) -> Result<(), SetupError> {
        let mut url = Api::Iam.url(path);
        url.query_pairs_mut().append_pair("updateMask", mask);
        let begun = self.google.patch(url.clone(), body).await;
        self.finished(begun, (Method::PATCH, url), doing).await
    }

    async fn restore(&self, path: &str, doing: &str) -> Result<(), SetupError> {
        let url = Api::Iam.url(&format!("{path}:undelete"));
        let begun = self.google.post(url.clone(), &json!({})).await;
        self.finished(begun, (Method::POST, url), doing).await
    }

    /// Makes a pool or a provider. What it is made in may have been made just now. The refusal where
    /// there is one of that name already.
    async fn make(
        &self,
        url: Url,
        body: &Value,
        doing: &str,
    ) -> Result<Option<GoogleError>, SetupError> {
        let mut patience = Backoff::new(SETTLES_IN);
        loop {
            let begun = self.google.post(url.clone(), body).await;
            match begun {
                Err(error) if error.is_already_there() => return Ok(Some(error)),
                Err(error) if error.is_not_found() && patience.wait().await => {}
                begun => {
                    let asked = (Method::POST, url);
                    return self.finished(begun, asked, doing).await.map(|()| None);
                }
            }
        }
    }

    async fn finished(
        &self,
        begun: Result<Operation, GoogleError>,
        asked: (Method, Url),
        doing: &str,
    ) -> Result<(), SetupError> {
        let finished = match begun {
            Ok(begun) => self.google.wait_operation(Api::Iam, begun, asked).await,
            Err(error) => Err(error),
        };
        finished
            .map(drop)
            .map_err(|cause| SetupError::google(doing, cause))
    }

    /// Takes away a pool or a provider, by its whole name.
    pub(super) async fn delete_federated(&self, name: &str) -> Result<(), SetupError> {
        let url = Api::Iam.url(&format!("v1/{name}"));
        let doing = format!("could not delete `{name}`");
        let begun = match self.google.delete(url.clone()).await {
            Err(error) if error.is_not_found() => return Ok(()),
            begun => begun,
        };
        self.finished(begun, (Method::DELETE, url), &doing).await
    }
}
