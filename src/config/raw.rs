//! The file as serde sees it, and the one description of its form: the JSON
//! Schema, the reading of YAML and the printing of a configuration all come
//! from these types. Nothing here is checked beyond its form.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A configuration of regmirror: version 1 of regsync's language, and more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(title = "regmirror configuration")]
pub(super) struct Config {
    /// The version of the configuration language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<i64>,
    /// How to reach registries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) creds: Vec<Creds>,
    /// What holds for every entry of `sync`, and general options.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) defaults: Defaults,
    /// What to mirror.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) sync: Vec<Sync>,
}

/// How to reach one registry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Creds {
    /// The name as references spell it, `host[:port]`. Docker Hub is
    /// `docker.io`. Templates are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) registry: Option<String>,
    /// What to connect to, `host[:port]`, when not to its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hostname: Option<String>,
    /// How the connection is protected: `insecure` does not verify the
    /// certificate, `disabled` is plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["enabled", "insecure", "disabled"]))]
    pub(super) tls: Option<String>,
    /// Certificates in PEM that are trusted besides the system's. Templates are
    /// allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("writeOnly" = true))]
    pub(super) regcert: Option<String>,
    /// The client certificate in PEM. Templates are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("writeOnly" = true))]
    pub(super) client_cert: Option<String>,
    /// The client certificate's key in PEM. Templates are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("writeOnly" = true))]
    pub(super) client_key: Option<String>,
    /// Sign in as this user. Templates are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    /// The user's password. Templates are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("writeOnly" = true))]
    pub(super) pass: Option<String>,
    /// Sign in with this identity token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("writeOnly" = true))]
    pub(super) token: Option<String>,
    /// Sign in with what this credential helper answers,
    /// `docker-credential-NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cred_helper: Option<String>,
    /// How long the helper's answer is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cred_expire: Option<String>,
    /// What to ask the helper for, when not for the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cred_host: Option<String>,
    /// What is put before every repository's name on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path_prefix: Option<String>,
    /// Registries that are read from before this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) mirrors: Vec<String>,
    /// Where this registry stands among mirrors: the highest is asked first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) priority: Option<i64>,
    /// Ask for a token for each repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) repo_auth: Option<bool>,
    /// The length of a chunk in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) blob_chunk: Option<i64>,
    /// A blob of more bytes than this is sent in chunks; -1 never does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) blob_max: Option<i64>,
    /// The most requests begun in a second; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) req_per_sec: Option<f64>,
    /// The most requests at once, in each direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) req_concurrent: Option<i64>,
    /// How long the registry may keep silent in the middle of things.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) idle_timeout: Option<String>,
    /// Options of regsync's client: `disableHead: "true"` asks with GET.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) api_opts: BTreeMap<String, String>,
    /// Deprecated, without effect: there is one API.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("deprecated" = true))]
    pub(super) api: Option<String>,
    /// Deprecated: `tls: disabled` stands for `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["http", "https"], "deprecated" = true))]
    pub(super) scheme: Option<String>,
}

/// What holds for every entry that does not say otherwise, and general options.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Defaults {
    #[serde(flatten)]
    pub(super) policy: Policy,
    /// Images copied at once, over all jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parallel: Option<i64>,
    /// The largest chunk in bytes that a registry may ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) blob_limit: Option<i64>,
    /// How many manifests and referrer lists of each registry are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_count: Option<i64>,
    /// How long they are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_time: Option<String>,
    /// Do not look at docker's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skip_docker_config: Option<bool>,
    /// What to call ourselves in requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_agent: Option<String>,
}

/// What may stand in an entry, and in `defaults` for all of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Policy {
    /// Where the image behind a target tag goes before the tag moves: a tag, or
    /// a full reference. A template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) backup: Option<String>,
    /// What happens to a tag whose backup failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["stop", "continue"]))]
    pub(super) backup_failure: Option<String>,
    /// The time between two runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) interval: Option<String>,
    /// When to run, as cron has it; wins over `interval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) schedule: Option<String>,
    /// The pulls that are left to others.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) ratelimit: RateLimit,
    /// Copy what refers to an image by its `subject`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) referrers: Option<bool>,
    /// Only these referrers; one that fits any filter is copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) referrer_filters: Option<Vec<ReferrerFilter>>,
    /// The repository that referrers are read from, when not the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) referrer_source: Option<String>,
    /// The repository that referrers are written to, when not the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) referrer_target: Option<String>,
    /// Read each referrer's manifest when the listing lacks annotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) referrer_slow: Option<bool>,
    /// Copy the tags `sha256-<hex>*` of an image, cosign's `.sig`, `.att` and
    /// `.sbom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) digest_tags: Option<bool>,
    /// A target with the same digest is up to date, whatever refers to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fast_check: Option<bool>,
    /// regsync's documentation has this name for `fastCheck`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("deprecated" = true))]
    pub(super) fast_copy: Option<bool>,
    /// Look for every child and blob even if the target's digest is the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) force_recursive: Option<bool>,
    /// Copy layers that carry `urls`, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) include_external: Option<bool>,
    /// The types of manifests that are copied; others are skipped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) media_types: Vec<String>,
    /// What becomes of an index of which only `platforms` are copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["sparse", "rewrite"]))]
    pub(super) platform_index: Option<String>,
    /// Programs that are run around a copy.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) hooks: Hooks,
}

/// One job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Sync {
    /// Names the job in reports, logs and metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Where images come from. Templates are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<String>,
    /// Where they go. Templates are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<String>,
    /// What source and target name.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["image", "repository", "registry"]))]
    pub(super) kind: Option<String>,
    /// Which tags.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) tags: Tags,
    /// More sets of tags: a tag that any of them takes is copied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tag_sets: Vec<TagSet>,
    /// Which repositories of a registry.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) repos: Patterns,
    /// Copy this platform's image alone: the target's tag is its manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<String>,
    /// Copy only these platforms of an index.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) platforms: Vec<String>,
    #[serde(flatten)]
    pub(super) policy: Policy,
}

/// The pulls that are left to others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RateLimit {
    /// Begin no image while the source allows fewer pulls than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) min: Option<i64>,
    /// How long until the next look at the limit, five minutes at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry: Option<String>,
}

/// Which names are taken.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Patterns {
    /// Regular expressions, each for the whole name: those that one matches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) allow: Vec<String>,
    /// Of these, not those that one of these matches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) deny: Vec<String>,
}

/// Which tags are taken: by version, then `allow`, then `deny`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TagSet {
    /// Ranges of versions: those within one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) semver_range: Vec<String>,
    /// Regular expressions, each for the whole tag: those that one matches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) allow: Vec<String>,
    /// Of these, not those that one of these matches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) deny: Vec<String>,
}

/// Which tags are taken: by version, then `allow`, then `deny`, then the newest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Tags {
    /// Ranges of versions: those within one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) semver_range: Vec<String>,
    /// Regular expressions, each for the whole tag: those that one matches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) allow: Vec<String>,
    /// Of these, not those that one of these matches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) deny: Vec<String>,
    /// Of what is left, and of what `tagSets` take, the newest so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latest: Option<i64>,
    /// What makes a tag newer: its version, its name, or when its image was
    /// created.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["semver", "name", "created"]))]
    pub(super) sort: Option<String>,
}

/// Which referrers are copied: those that fit all that is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ReferrerFilter {
    /// Their `artifactType`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    /// Annotations that they have; an empty value stands for any.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

/// Programs that are run around a copy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Hooks {
    /// Before a tag is copied; if it fails, the tag is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pre: Option<Hook>,
    /// After a tag was copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) post: Option<Hook>,
    /// When a tag is up to date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unchanged: Option<Hook>,
}

/// A program to run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Hook {
    /// How it is run.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["exec"]))]
    pub(super) kind: Option<String>,
    /// The program and its arguments. There is no shell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) params: Vec<String>,
    /// How long it may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout: Option<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
