//! The Prometheus operator's objects, as far as they are used here.
//!
//! Source: <https://prometheus-operator.dev/docs/api-reference/api/>

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// An object whose content is `spec`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Object<T> {
    #[serde(rename = "apiVersion")]
    _version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "metadata")]
    _metadata: Value,
    pub(super) spec: T,
}

/// What says which pods are scraped.
pub(super) type PodMonitor = Object<PodMonitorSpec>;

/// Rules for Prometheus; `spec` is what its own files of rules hold.
pub(super) type PrometheusRule = Object<Rules>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PodMonitorSpec {
    pub(super) job_label: String,
    pub(super) selector: Selector,
    pub(super) pod_metrics_endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Selector {
    pub(super) match_labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Endpoint {
    pub(super) port: String,
    pub(super) path: String,
    #[serde(rename = "interval")]
    _interval: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    pub(super) groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    #[serde(rename = "name")]
    _name: String,
    pub(super) rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) alert: String,
    pub(super) expr: String,
    #[serde(rename = "for")]
    _for: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

impl Rules {
    /// All rules of all groups.
    pub(super) fn all(&self) -> impl Iterator<Item = &Rule> {
        self.groups.iter().flat_map(|group| &group.rules)
    }
}
