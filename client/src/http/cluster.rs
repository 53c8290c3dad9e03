//! Looking after the cluster: who is there, who leads, who is to go, how it is configured.

use reqwest::Method;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::client::Client;
use super::error::Error;
use super::routes::Aim;
use super::target::Target;
use super::transport::Request;
use crate::api::cluster::{Config, ConfigValue, Leader, Members, State, Status, Transfer};
use crate::api::health::Health;

impl Client {
    /// The members as the node that answers sees them.
    pub async fn members(&self) -> Result<Members, Error> {
        self.look("/cluster/members").await
    }

    /// The membership as gossip keeps it: two dictionaries of stamps.
    pub async fn state(&self) -> Result<State, Error> {
        self.look("/cluster/state").await
    }

    /// Who leads. Does not wait: while nobody leads it fails with [`ErrorCode::NoLeader`](crate::api::ErrorCode).
    pub async fn leader(&self) -> Result<Leader, Error> {
        self.look("/cluster/leader").await
    }

    /// The node that answers, seen from inside. Use [`Client::at`] to choose which.
    pub async fn status(&self) -> Result<Status, Error> {
        self.look("/cluster/status").await
    }

    /// The replicated configuration.
    pub async fn config(&self) -> Result<Config, Error> {
        self.look("/cluster/config").await
    }

    /// Whether the node that answers is ready, check by check. `Ok` also when it is not.
    pub async fn readiness(&self) -> Result<Health, Error> {
        self.health("/readyz").await
    }

    /// Sets a value of the replicated configuration: `voters` or `replace_after`.
    pub async fn set_config(&self, name: &str, value: impl Into<String>) -> Result<(), Error> {
        let target = Target::new("/cluster/config").segment(name);
        let value = ConfigValue { value: value.into() };
        let request = Request::change(Method::PUT, target.into_string(), &value)?;
        // The same value twice is the same configuration.
        self.call(&Request { repeatable: true, ..request }, Aim::Leader, None).await.map(drop)
    }

    /// Has another member lead: `to`, or whoever is best placed. Returns once it does. Writes that come meanwhile wait a few
    /// milliseconds; none fails.
    pub async fn transfer_leader(&self, to: Option<Uuid>) -> Result<(), Error> {
        self.change("/cluster/leader/transfer".to_owned(), &Transfer { to }).await
    }

    /// Takes a live member out for good. Its data stays on its disk, but it does not come back by itself.
    pub async fn leave(&self, member: Uuid) -> Result<(), Error> {
        self.change(format!("/cluster/members/{member}/leave"), &serde_json::Map::new()).await
    }

    /// Takes a dead member out for good.
    pub async fn remove(&self, member: Uuid) -> Result<(), Error> {
        self.change(format!("/cluster/members/{member}/remove"), &serde_json::Map::new()).await
    }

    async fn look<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let request = Request { patient: false, ..Request::get(path.to_owned()) };
        let answer = self.call(&request, Aim::Any, None).await?;
        if answer.status.is_success() { answer.json(false) } else { Err(answer.into_error(false)) }
    }

    async fn change(&self, target: String, body: &impl serde::Serialize) -> Result<(), Error> {
        // A hand-over or a change of voters is over when it is over: another node would only be asked for the same again.
        let request = Request { slow: true, ..Request::change(Method::POST, target, body)? };
        self.call(&request, Aim::Leader, None).await.map(drop)
    }

    async fn health(&self, path: &str) -> Result<Health, Error> {
        let answer = self.once(&Request::get(path.to_owned())).await?;
        answer.json(false)
    }
}
