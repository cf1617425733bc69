//! A registry, and how its requests are made.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode, Url};

use super::auth::{Authorizer, Keychain, Scopes};
use super::cache::{Cache, CacheLimits};
use super::failure::Failure;
use super::ledger::{LastQuota, Ledger};
use super::links::{resolve, same_origin};
use super::operation;
use super::referrers::Fallbacks;
use super::upload::Sessions;
use super::warnings::Warnings;
use crate::http::{
    Chunks, Class, HostClient, HostOptions, HttpClient, Meter, Permit, Request, Response,
    RetryPolicy, Setback, Traffic, retry_after,
};
use crate::oci::{Host, Repository, TagOrDigest};
use crate::store::{ErrorKind, StoreError};

/// How often one request is sent on to somewhere else.
const REDIRECTS: usize = 5;

/// A registry, as the OCI distribution-spec has it. Clones share connections,
/// tokens and limits.
#[derive(Clone)]
pub struct Registry {
    pub(super) inner: Arc<Inner>,
}

/// What all clones and all bodies under way share.
pub(super) struct Inner {
    name: Host,
    /// `https://address/v2/`.
    base: Url,
    pub(super) http: HostClient,
    pub(super) auth: Authorizer,
    pub(super) sessions: Sessions,
    pub(super) chunks: Chunks,
    pub(super) fallbacks: Fallbacks,
    warnings: Warnings,
    pub(super) ledger: Ledger,
    pub(super) options: Options,
    pub(super) cache: Cache,
}

/// What is special about a registry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// What is put before every repository's name on the host.
    pub prefix: Option<Repository>,
    /// Whether what a tag points at is asked with GET alone.
    pub without_head: bool,
    /// Whether no token is asked for that is for two repositories. Blobs are not
    /// mounted from one to another then.
    pub one_repository_a_token: bool,
    /// How much of what was read is kept.
    pub cache: CacheLimits,
}

/// The address that a registry's API answers at. They differ for Docker Hub
/// alone.
pub fn default_address(host: &Host) -> String {
    match host.is_docker_hub() {
        true => "registry-1.docker.io".to_owned(),
        false => host.as_str().to_owned(),
    }
}

/// Which redirects a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redirects {
    /// To storage, which may be anywhere: the content is verified.
    Anywhere,
    /// Within the registry; one that leads out is the answer.
    Within,
}

impl Registry {
    /// The registry that references call `host`.
    ///
    /// # Errors
    ///
    /// When `options.address` is no `host[:port]`.
    pub fn new(
        host: Host,
        options: &HostOptions,
        credential: impl Into<Keychain>,
        client: &HttpClient,
        retry: RetryPolicy,
    ) -> Result<Self, StoreError> {
        let (special, meter) = (Options::default(), Arc::new(()));
        Self::special(host, options, special, credential, client, retry, meter)
    }

    /// As [`new`](Self::new), a registry with something special about it, whose
    /// requests are counted by `meter`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn special(
        host: Host,
        options: &HostOptions,
        special: Options,
        credential: impl Into<Keychain>,
        client: &HttpClient,
        retry: RetryPolicy,
        meter: Arc<dyn Meter>,
    ) -> Result<Self, StoreError> {
        let base = options.url().and_then(|root| root.join("v2/").ok());
        let base = base.ok_or_else(|| {
            let subject = format!("address {:?} for {host}", options.address);
            StoreError::new(ErrorKind::Malformed, "use", subject)
                .because("expected host or host:port")
        })?;
        let http = HostClient::new(client, base.clone(), options, retry).metered(meter);
        let auth = Authorizer::new(
            host.clone(),
            credential.into(),
            base.clone(),
            http.stranger(),
        );
        Ok(Self {
            inner: Arc::new(Inner {
                name: host,
                base,
                http,
                auth,
                sessions: Sessions::default(),
                chunks: options.chunks,
                fallbacks: Fallbacks::default(),
                warnings: Warnings::default(),
                ledger: Ledger::default(),
                cache: Cache::new(special.cache),
                options: special,
            }),
        })
    }

    /// Whether this is a registry, and takes the credentials: end-1 of the
    /// distribution-spec.
    ///
    /// # Errors
    ///
    /// When it does not answer as one.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        let failed = |failure: Failure| failure.at("reach registry", inner.name.as_str());
        let request = Request::new(operation::PING, Method::GET, inner.base.clone());
        let (response, _permit) = inner
            .send(request, &Scopes::none(), Redirects::Within)
            .await
            .map_err(failed)?;
        match response.status() {
            StatusCode::OK => Ok(()),
            StatusCode::NOT_FOUND => Err(failed(
                Failure::of(response).await.with_kind(ErrorKind::Malformed),
            )),
            _ => Err(failed(Failure::of(response).await)),
        }
    }

    /// Who we are here, for messages, and where the credential comes from, if there
    /// is one. `repo` counts where credentials are for some repositories only.
    ///
    /// # Errors
    ///
    /// When a credential cannot be had.
    pub async fn identity(
        &self,
        repo: Option<&Repository>,
    ) -> Result<(String, Option<String>), StoreError> {
        let inner = &self.inner;
        let found = inner.auth.identity(repo).await;
        let (credential, origin) =
            found.map_err(|failure| failure.at("find a credential for", inner.name.as_str()))?;
        Ok((credential.to_string(), origin))
    }

    /// What the registry said last of how many images may be pulled.
    pub fn quota(&self) -> Option<LastQuota> {
        self.inner.ledger.quota()
    }

    /// What the registry wanted people to be told so far (`Warning` headers),
    /// each text once and safe to print. The first 64 are kept.
    pub fn warnings(&self) -> Vec<String> {
        self.inner.warnings.told()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("name", &self.inner.name)
            .field("base", &self.inner.base.as_str())
            .finish_non_exhaustive()
    }
}

impl Inner {
    pub(super) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The repository by the name that it has on this host.
    pub(super) fn placed(&self, repo: &Repository) -> Result<Repository, StoreError> {
        let Some(prefix) = &self.options.prefix else {
            return Ok(repo.clone());
        };
        prefix.join(repo).map_err(|error| {
            let subject = format!("{}/{repo}", self.name);
            StoreError::new(ErrorKind::Refused, "put the pathPrefix before", subject).because(error)
        })
    }

    /// The name that references have for a repository on this host; `None` for
    /// one that is not below the prefix.
    pub(super) fn unplaced(&self, placed: &Repository) -> Option<Repository> {
        match &self.options.prefix {
            None => Some(placed.clone()),
            Some(prefix) => {
                let rest = placed.as_str().strip_prefix(prefix.as_str())?;
                rest.strip_prefix('/')?.parse().ok()
            }
        }
    }

    /// `host/repo:tag` or `host/repo@digest`, for messages.
    pub(super) fn image(&self, repo: &Repository, reference: &TagOrDigest) -> String {
        let repo = &self.unplaced(repo).unwrap_or_else(|| repo.clone());
        match reference {
            TagOrDigest::Tag(tag) => format!("{}/{repo}:{tag}", self.name),
            TagOrDigest::Digest(digest) => format!("{}/{repo}@{digest}", self.name),
        }
    }

    /// `host/repo`, for messages.
    pub(super) fn repository(&self, repo: &Repository) -> String {
        let repo = self.unplaced(repo).unwrap_or_else(|| repo.clone());
        format!("{}/{repo}", self.name)
    }

    /// The URL of `rest` in a repository. Both are safe in a path: names and
    /// digests were parsed.
    pub(super) fn url(&self, repo: &Repository, rest: &str) -> Result<Url, Failure> {
        if repo.is_unnamed() {
            return Err(Failure::new(
                ErrorKind::Refused,
                "a registry has no unnamed repository",
            ));
        }
        self.url_of(&format!("{repo}/{rest}"))
    }

    /// The URL of `path` below `/v2/`.
    pub(super) fn url_of(&self, path: &str) -> Result<Url, Failure> {
        self.base
            .join(path)
            .map_err(|error| Failure::new(ErrorKind::Malformed, error))
    }

    /// Whether `url` is the registry's own, where credentials may go.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        same_origin(url, &self.base)
    }

    /// Sends a request when it is its turn, signs in if asked to, and follows
    /// redirects if it reads. The permit has to be kept until the body is read.
    pub(super) async fn send(
        &self,
        request: Request,
        scopes: &Scopes,
        redirects: Redirects,
    ) -> Result<(Response, Permit), Failure> {
        let permit = self.http.permit(Class::of(&request.method)).await;
        let response = self.send_with(&permit, request, scopes, redirects).await?;
        Ok((response, permit))
    }

    /// As [`send`](Self::send), under a permit that is held already.
    pub(super) async fn send_with(
        &self,
        _permit: &Permit,
        mut request: Request,
        scopes: &Scopes,
        redirects: Redirects,
    ) -> Result<Response, Failure> {
        // What is read goes on as it is stored.
        let identity = HeaderValue::from_static("identity");
        request.headers.entry(ACCEPT_ENCODING).or_insert(identity);
        if !request.method.is_safe() {
            return self.send_own(&mut request, scopes).await;
        }
        let first = self.follow(&mut request, scopes, redirects).await?;
        // A signed URL may have expired on the way; the registry gives a new
        // one.
        let expired = matches!(first.status().as_u16(), 400 | 403) && !self.is_own(first.url());
        match expired {
            true => self.follow(&mut request, scopes, redirects).await,
            false => Ok(first),
        }
    }

    async fn follow(
        &self,
        request: &mut Request,
        scopes: &Scopes,
        redirects: Redirects,
    ) -> Result<Response, Failure> {
        let start = request.url.clone();
        let mut response = self.send_own(request, scopes).await?;
        let mut own = true;
        for followed in 0..=REDIRECTS {
            if !is_redirect(response.status()) {
                request.url = start;
                return Ok(response);
            }
            if followed == REDIRECTS {
                break;
            }
            let Some(location) = response.text_header(LOCATION.as_str()) else {
                return Err(Failure::of(response)
                    .await
                    .explained("a redirect that leads nowhere"));
            };
            let target = resolve(&request.url, location)?;
            // Once elsewhere, always elsewhere: what leads back may be a trap.
            own = own && self.is_own(&target);
            if !own && redirects == Redirects::Within {
                return Ok(response);
            }
            request.url = target;
            response = match own {
                true => self.send_own(request, scopes).await?,
                false => self.send_elsewhere(request).await?,
            };
        }
        Err(Failure::new(
            ErrorKind::Malformed,
            format!("redirected more than {REDIRECTS} times"),
        ))
    }

    /// Sends a request to another host that the registry named: without
    /// credentials, and whatever it answers.
    pub(super) async fn send_elsewhere(&self, request: &mut Request) -> Result<Response, Failure> {
        request.headers.remove(AUTHORIZATION);
        Ok(self.http.stranger().send(request).await?)
    }

    /// Sends a request to the registry itself, and signs in if asked to.
    pub(super) async fn send_own(
        &self,
        request: &mut Request,
        scopes: &Scopes,
    ) -> Result<Response, Failure> {
        let mut sign_in = self.auth.sign_in(scopes).await?;
        // Ends: without or with what is known, with a remembered token, with a
        // fresh one, with that again when it may have become valid, with
        // another credential, refused.
        loop {
            sign_in.apply(&mut request.headers);
            let response = self.http.send(request).await?;
            self.warnings.note(self.name(), response.headers());
            self.ledger
                .note(self.name(), response.status(), response.headers());
            let judged = sign_in.judge(response).await;
            if let Some(response) = judged.inspect_err(|failure| self.refused(failure, scopes))? {
                let response = self.unless_limited(response).await?;
                if response.status() == StatusCode::FORBIDDEN && !self.is_anonymous() {
                    self.http.meter().note(Traffic::Refused);
                }
                return Ok(response);
            }
            self.http.meter().note(Traffic::Retried(Setback::Auth));
            if !request.is_replayable() {
                // The body has passed. Whoever has it can send it again, and
                // there is a fresh token for that now.
                let mut failure = Failure::new(
                    ErrorKind::Unavailable,
                    "the registry wanted a new token in the middle of an upload",
                );
                failure.status = Some(StatusCode::UNAUTHORIZED);
                return Err(failure);
            }
        }
    }

    /// Counts a credential that was refused. That one does not do for a mount is
    /// found out by asking.
    fn refused(&self, failure: &Failure, scopes: &Scopes) {
        if failure.kind == ErrorKind::Denied && !scopes.is_for_mount() && !self.is_anonymous() {
            self.http.meter().note(Traffic::Refused);
        }
    }

    /// GHCR says that there were too many requests with a 403, which only its
    /// text tells from one that is meant. Source: regclient#902.
    async fn unless_limited(&self, mut response: Response) -> Result<Response, Failure> {
        /// What GitHub wants when it does not say.
        const WAIT: Duration = Duration::from_secs(60);
        const TEXT: usize = 4 << 10;
        if response.status() != StatusCode::FORBIDDEN {
            return Ok(response);
        }
        let text = response.peek(TEXT).await.to_ascii_lowercase();
        if !String::from_utf8_lossy(&text).contains("secondary rate limit") {
            return Ok(response);
        }
        let wait = retry_after(response.headers(), SystemTime::now()).unwrap_or(WAIT);
        self.http.leave_alone(wait);
        let limited = ErrorKind::RateLimited(Some(wait));
        Err(Failure::of(response).await.with_kind(limited))
    }

    /// The registry refuses everybody, or just us?
    pub(super) fn is_anonymous(&self) -> bool {
        self.auth.is_anonymous()
    }
}

/// Whether an answer of this status says where to ask instead.
pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Types of manifests, in one header: some proxies drop all but the first of
/// several. Schema 1 is not among them.
pub(super) fn accept_manifests(request: Request) -> Request {
    const TYPES: &str = "application/vnd.oci.image.index.v1+json, \
                         application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json, \
                         application/vnd.oci.artifact.manifest.v1+json";
    request.header(ACCEPT, HeaderValue::from_static(TYPES))
}
