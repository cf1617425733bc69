//! Content discovery: tags, repositories, referrers.

use axum::response::Response;
use futures::TryStreamExt;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LINK};
use serde_json::json;

use super::answer::{Answer, Code, Failure, content, json_answer, value};
use super::query::{Query, encoded};
use super::server::Registry;
use crate::oci::{Digest, MediaType, Repository, referrers_index};
use crate::store::{ErrorKind, Listing, StoreError};

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

impl Registry {
    /// end-8: OCI distribution-spec 1.1, "Listing Tags".
    pub(super) async fn tags(&self, repo: &Repository, query: &Query) -> Answer {
        let slice = Slice::of(query)?;
        let tags = match names(self.store.tags(repo)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let message = format!("no repository {repo}");
                return Err(Failure::missing(Code::NameUnknown, message));
            }
            tags => tags?,
        };
        let (tags, next) = slice.cut(tags);
        let answer = json_answer(&json!({ "name": repo, "tags": tags }));
        Ok(slice.link(answer, &format!("/v2/{repo}/tags/list"), next))
    }

    /// docker/distribution's catalog, with the same paging.
    pub(super) async fn catalog(&self, query: &Query) -> Answer {
        let slice = Slice::of(query)?;
        let mut repositories = names(self.store.repositories()).await?;
        repositories.retain(|name| !name.is_empty());
        let (repositories, next) = slice.cut(repositories);
        let answer = json_answer(&json!({ "repositories": repositories }));
        Ok(slice.link(answer, "/v2/_catalog", next))
    }

    /// end-12: OCI distribution-spec 1.1, "Listing Referrers". Never 404: that
    /// would tell a client that there is no referrers API.
    pub(super) async fn referrers(
        &self,
        repo: &Repository,
        subject: &Digest,
        query: &Query,
    ) -> Answer {
        let mut found = self.store.referrers(repo, subject).await?;
        let filter = query.get("artifactType").filter(|kind| !kind.is_empty());
        if let Some(kind) = filter {
            found.retain(|referrer| referrer.artifact_type.as_deref() == Some(kind));
        }
        let index = referrers_index(&found);
        let size = index.len() as u64;
        let headers = [(CONTENT_TYPE, value(MediaType::OCI_INDEX.as_str()))];
        let mut answer = content(index.into(), size, headers);
        if filter.is_some() {
            let applied = HeaderValue::from_static("artifactType");
            answer.headers_mut().insert(FILTERS_APPLIED, applied);
        }
        Ok(answer)
    }
}

/// Every name of a listing in the order that [`rank`] gives.
async fn names<T: Into<String>>(listing: Listing<'_, T>) -> Result<Vec<String>, StoreError> {
    let mut all = listing
        .try_fold(Vec::new(), |mut all, page| async move {
            all.extend(page.names.into_iter().map(Into::into));
            Ok(all)
        })
        .await?;
    all.sort_by_cached_key(|name| rank(name));
    Ok(all)
}

/// Where a name stands: by its letters whatever their case, and those that
/// differ in nothing else by their case. OCI distribution-spec 1.1, "Listing
/// Tags": "lexical order (i.e. case-insensitive alphanumeric order)".
fn rank(name: &str) -> (String, String) {
    (name.to_ascii_lowercase(), name.to_owned())
}

/// Which part of a listing is asked for: `n` names after `last`.
struct Slice<'a> {
    n: Option<usize>,
    last: Option<&'a str>,
}

impl<'a> Slice<'a> {
    fn of(query: &'a Query) -> Result<Self, Failure> {
        let n = match query.get("n").filter(|n| !n.is_empty()) {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| {
                let message = "n has to be a whole number, not below 0";
                Failure::bad(Code::PaginationNumberInvalid, message)
            })?),
        };
        let last = query.get("last").filter(|last| !last.is_empty());
        Ok(Self { n, last })
    }

    /// The part of `sorted`, and its last name if more follows. With `n=0`
    /// nothing follows: distribution-spec 1.1, "Listing Tags".
    fn cut(&self, mut sorted: Vec<String>) -> (Vec<String>, Option<String>) {
        if let Some(last) = self.last {
            let last = rank(last);
            sorted.retain(|name| rank(name) > last);
        }
        let n = self.n.unwrap_or(usize::MAX);
        let more = sorted.len() > n;
        sorted.truncate(n);
        let next = sorted.last().filter(|_| more).cloned();
        (sorted, next)
    }

    fn link(&self, mut answer: Response, path: &str, next: Option<String>) -> Response {
        if let (Some(last), Some(n)) = (next, self.n) {
            let link = format!("<{path}?n={n}&last={}>; rel=\"next\"", encoded(&last));
            answer.headers_mut().insert(LINK, value(link));
        }
        answer
    }
}
