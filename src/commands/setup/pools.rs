//! The requests that create, change, restore and delete workload identity pools and providers.

use std::time::Duration;

use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::federation::{Pool, Provider};
use super::names;
use super::provider_change::ProviderChange;
use super::{Setup, SetupError};
use crate::google::{Api, Backoff, GoogleError, Operation};

/// The time that a new pool may take to propagate.
const POOL_PROPAGATION: Duration = Duration::from_secs(2 * 60);

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
        let Some(conflict) = self.create(url, &body, &doing).await? else {
            return Ok(());
        };
        // The pool was created in the meantime, or a deleted one still has its name.
        match self.existing(&self.pool_path(&pool.id)).await? {
            Some(found) if found.is_deleted() && !found.is_ours() => Err(SetupError::ForeignPool(
                pool.id.clone(),
                self.request.project.clone(),
            )),
            Some(found) if found.is_deleted() => self.restore_pool(pool).await,
            Some(found) if found.disabled => self.enable_pool(pool).await,
            Some(_) => Ok(()),
            None => Err(SetupError::google(doing, conflict)),
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
        let Some(conflict) = self.create(url, &body, &doing).await? else {
            return Ok(());
        };
        match self.existing(&self.provider_path(provider)).await? {
            Some(found) if found.is_deleted() => self.restore_provider(provider).await,
            Some(_) => self.alter_provider(provider).await,
            None => Err(SetupError::google(doing, conflict)),
        }
    }

    /// Restores a pool that was deleted less than thirty days ago.
    pub(super) async fn restore_pool(&self, pool: &Pool) -> Result<(), SetupError> {
        let path = self.pool_path(&pool.id);
        let doing = format!("could not restore the workload identity pool `{}`", pool.id);
        self.restore(&path, &doing).await
    }

    /// Restores a deleted provider and updates it.
    pub(super) async fn restore_provider(&self, provider: &Provider) -> Result<(), SetupError> {
        let path = self.provider_path(provider);
        let doing = format!("could not restore the provider `{}`", provider.id);
        self.restore(&path, &doing).await?;
        self.alter_provider(provider).await
    }

    /// Enables a disabled pool.
    pub(super) async fn enable_pool(&self, pool: &Pool) -> Result<(), SetupError> {
        let doing = format!("could not enable the workload identity pool `{}`", pool.id);
        let path = self.pool_path(&pool.id);
        self.alter(&path, "disabled", &json!({"disabled": false}), &doing)
            .await
    }

    /// Updates a provider. The change is computed from its current state, not from that of the
    /// plan, so that changes in between are kept.
    pub(super) async fn alter_provider(&self, provider: &Provider) -> Result<(), SetupError> {
        let path = self.provider_path(provider);
        let found = self.existing(&path).await?.unwrap_or_default();
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
        self.wait_finished(begun, (Method::PATCH, url), doing).await
    }

    async fn restore(&self, path: &str, doing: &str) -> Result<(), SetupError> {
        let url = Api::Iam.url(&format!("{path}:undelete"));
        let begun = self.google.post(url.clone(), &json!({})).await;
        self.wait_finished(begun, (Method::POST, url), doing).await
    }

    /// Creates a pool or a provider, and waits while its new parent propagates. Returns the error
    /// of Google if the name exists already, else `None`.
    async fn create(
        &self,
        url: Url,
        body: &Value,
        doing: &str,
    ) -> Result<Option<GoogleError>, SetupError> {
        let mut backoff = Backoff::new(POOL_PROPAGATION);
        loop {
            let begun = self.google.post(url.clone(), body).await;
            match begun {
                Err(error) if error.is_already_there() => return Ok(Some(error)),
                Err(error) if error.is_not_found() && backoff.wait().await => {}
                begun => {
                    let asked = (Method::POST, url);
                    return self.wait_finished(begun, asked, doing).await.map(|()| None);
                }
            }
        }
    }

    /// Waits until a started operation is done.
    async fn wait_finished(
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

    /// Deletes a pool or a provider by its resource name.
    pub(super) async fn delete_federated(&self, name: &str) -> Result<(), SetupError> {
        let url = Api::Iam.url(&format!("v1/{name}"));
        let doing = format!("could not delete `{name}`");
        let begun = match self.google.delete(url.clone()).await {
            Err(error) if error.is_not_found() => return Ok(()),
            begun => begun,
        };
        self.wait_finished(begun, (Method::DELETE, url), &doing)
            .await
    }
}
