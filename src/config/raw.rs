//! The file as serde sees it. Nothing here is checked beyond its form.

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Config {
    pub(super) version: Option<u64>,
    pub(super) creds: Vec<Creds>,
    pub(super) defaults: Defaults,
    pub(super) sync: Vec<Sync>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Creds {
    pub(super) registry: Option<String>,
    pub(super) hostname: Option<String>,
    pub(super) tls: Option<String>,
    pub(super) regcert: Option<String>,
    pub(super) client_cert: Option<String>,
    pub(super) client_key: Option<String>,
    pub(super) user: Option<String>,
    pub(super) pass: Option<String>,
    pub(super) token: Option<String>,
    pub(super) cred_helper: Option<String>,
    pub(super) cred_expire: Option<String>,
    pub(super) cred_host: Option<String>,
    pub(super) req_concurrent: Option<i64>,
    pub(super) blob_max: Option<i64>,
    pub(super) blob_chunk: Option<i64>,
    pub(super) idle_timeout: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Defaults {
    pub(super) backup: Option<String>,
    pub(super) interval: Option<String>,
    pub(super) schedule: Option<String>,
    pub(super) parallel: Option<i64>,
    pub(super) ratelimit: RateLimit,
    pub(super) referrers: Option<bool>,
    pub(super) skip_docker_config: Option<bool>,
    pub(super) user_agent: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Sync {
    pub(super) name: Option<String>,
    pub(super) source: Option<String>,
    pub(super) target: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) tags: Patterns,
    pub(super) repos: Patterns,
    pub(super) backup: Option<String>,
    pub(super) interval: Option<String>,
    pub(super) schedule: Option<String>,
    pub(super) ratelimit: RateLimit,
    pub(super) referrers: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RateLimit {
    pub(super) min: Option<i64>,
    pub(super) retry: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Patterns {
    pub(super) allow: Vec<String>,
    pub(super) deny: Vec<String>,
}
