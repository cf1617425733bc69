//! What is attached to a manifest: end-12 of the distribution-spec, and the
//! tag that stands in for it ("Referrers Tag Schema").

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;
use tokio::time::Instant;

use super::auth::Scopes;
use super::client::{Inner, Redirects, is_redirect};
use super::failure::Failure;
use super::links::next_page;
use super::listing::PAGES;
use super::manifests::content_type;
use super::operation::REFERRERS;
use crate::http::Request;
use crate::oci::{
    Descriptor, Digest, MAX_MANIFEST_SIZE, Manifest, MediaType, Repository, fallback_tag,
    with_referrer, without_referrer,
};
use crate::store::ErrorKind;

/// How often a list is written that others write at the same time.
const WRITES: usize = 5;

/// How many repositories are remembered to have no referrers API.
const REMEMBERED: usize = 10_000;

/// How many bytes the pages of one list may have in all: more than a hundred
/// thousand referrers.
const LIST: usize = 64 << 20;

/// When it is forgotten that there is no referrers API: a proxy's error page
/// looks just like that, and must not hide signatures for long.
const FORGOTTEN: Duration = Duration::from_secs(5 * 60);

/// What is known of a registry that does not list referrers by itself.
#[derive(Debug, Default)]
pub(super) struct Fallbacks(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Repositories where the API was missing, and when.
    without_api: HashMap<Repository, Instant>,
    /// Lists that are being written. The registry does not protect them.
    writing: HashMap<(Repository, Digest), Arc<tokio::sync::Mutex<()>>>,
}

impl Fallbacks {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_no_api(&self, repo: &Repository) -> bool {
        let known = self.lock();
        let seen = known.without_api.get(repo);
        seen.is_some_and(|seen| seen.elapsed() < FORGOTTEN)
    }

    fn remember_no_api(&self, repo: &Repository) {
        let mut known = self.lock();
        if known.without_api.len() >= REMEMBERED {
            known.without_api.clear();
        }
        known.without_api.insert(repo.clone(), Instant::now());
    }

    fn writing(&self, repo: &Repository, subject: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut known = self.lock();
        known.writing.retain(|_, lock| Arc::strong_count(lock) > 1);
        let key = (repo.clone(), subject.clone());
        Arc::clone(known.writing.entry(key).or_default())
    }
}

impl Inner {
    pub(super) async fn referrers(
        &self,
        repo: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Failure> {
        if let Some(referrers) = self.cache.referrers(repo, subject) {
            return Ok(referrers);
        }
        let found = match self.referrers_by_api(repo, subject).await? {
            Some(found) => found,
            None => match self.referrers_list(repo, subject).await? {
                List::Index(list) => list.children().to_vec(),
                List::None | List::Other => Vec::new(),
            },
        };
        let mut seen = HashSet::new();
        let found: Vec<Descriptor> = found
            .into_iter()
            .filter(|referrer| seen.insert(referrer.digest.clone()))
            .collect();
        self.cache.keep_referrers(repo, subject, &found);
        Ok(found)
    }

    /// What the referrers API lists, all pages; `None` when there is no such
    /// API. Only certain answers mean that: a listing that failed must not
    /// pass for one without signatures.
    async fn referrers_by_api(
        &self,
        repo: &Repository,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, Failure> {
        if self.fallbacks.has_no_api(repo) {
            return Ok(None);
        }
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut seen: HashSet<Url> = HashSet::new();
        let mut next = Some(self.url(repo, &format!("referrers/{subject}"))?);
        while let Some(url) = next {
            let endless = |text: String| Failure::new(ErrorKind::Malformed, text);
            if !seen.insert(url.clone()) {
                return Err(endless("its pages lead in a circle".to_owned()));
            }
            if seen.len() > PAGES {
                return Err(endless(format!("it has more than {PAGES} pages")));
            }
            let request = Request::new(REFERRERS, Method::GET, url.clone())
                .whole(MAX_MANIFEST_SIZE)
                .header(
                    ACCEPT,
                    HeaderValue::from_static("application/vnd.oci.image.index.v1+json"),
                );
            let (response, _permit) = self
                .send(request, &Scopes::pull(repo), Redirects::Within)
                .await?;
            let status = response.status();
            let kind = content_type(&response);
            let is_list = status == 200 && kind.as_ref() == Some(&MediaType::OCI_INDEX);
            if !is_list {
                // A redirect that comes through leads out of the registry: GHCR's
                // way of not having it.
                let missing = is_redirect(status)
                    || matches!(status.as_u16(), 200 | 400 | 404 | 405 | 406 | 501);
                let failure = Failure::of(response).await;
                if !missing || seen.len() > 1 {
                    return Err(failure);
                }
                // Without the repository nothing is known about the API.
                if !failure.has_code("NAME_UNKNOWN") {
                    self.fallbacks.remember_no_api(repo);
                }
                return Ok(None);
            }
            next = next_page(&url, response.headers())?;
            let page = response.bytes(MAX_MANIFEST_SIZE).await?;
            bytes += page.len();
            if bytes > LIST {
                return Err(endless(format!("it is longer than {LIST} bytes")));
            }
            found.extend_from_slice(read_list(page, kind.as_ref())?.children());
        }
        Ok(Some(found))
    }

    /// Puts `added` on the list that the client keeps for `subject`.
    pub(super) async fn add_referrer(
        &self,
        repo: &Repository,
        subject: &Digest,
        added: &Descriptor,
    ) -> Result<(), Failure> {
        self.edit_list(repo, subject, |list| with_referrer(list, added))
            .await
    }

    /// Takes `removed` off the list that the client keeps for `subject`, if it
    /// keeps one.
    pub(super) async fn remove_referrer(
        &self,
        repo: &Repository,
        subject: &Digest,
        removed: &Digest,
    ) -> Result<(), Failure> {
        if self.referrers_by_api(repo, subject).await?.is_some() {
            return Ok(());
        }
        self.edit_list(repo, subject, |list| without_referrer(list?, removed))
            .await
    }

    /// Writes the list until `change` has nothing to change in what is read
    /// back: another client may have written at the same moment.
    async fn edit_list(
        &self,
        repo: &Repository,
        subject: &Digest,
        change: impl Fn(Option<&Manifest>) -> Option<Bytes>,
    ) -> Result<(), Failure> {
        let lock = self.fallbacks.writing(repo, subject);
        let _alone = lock.lock().await;
        let tag = fallback_tag(subject);
        for _ in 0..=WRITES {
            let list = match self.referrers_list(repo, subject).await? {
                List::Index(list) => Some(*list),
                List::None => None,
                List::Other => {
                    let text = format!(
                        "the tag {tag} should hold the list of referrers, and is something else"
                    );
                    return Err(Failure::new(ErrorKind::Refused, text));
                }
            };
            let Some(bytes) = change(list.as_ref()) else {
                return Ok(());
            };
            let changed = Manifest::parse(bytes, None)?;
            self.put(repo, &tag.clone().into(), &changed).await?;
        }
        let text = format!("somebody else keeps overwriting the list of referrers, tag {tag}");
        Err(Failure::new(ErrorKind::Unavailable, text))
    }

    async fn referrers_list(&self, repo: &Repository, subject: &Digest) -> Result<List, Failure> {
        let Some((bytes, kind)) = self.tagged(repo, &fallback_tag(subject)).await? else {
            return Ok(List::None);
        };
        // GitLab answers this tag with the subject itself.
        if subject.matches(&bytes) {
            return Ok(List::None);
        }
        // What cannot be read is no empty list: the signatures on it would be
        // left behind without a word.
        let list = read_list(bytes, kind.as_ref())?;
        Ok(match list.media_type().is_index() {
            true => List::Index(Box::new(list)),
            false => List::Other,
        })
    }
}

/// Reads what should be a list. One that does not say what is on it is not
/// empty, for signatures may hang on that.
fn read_list(bytes: Bytes, kind: Option<&MediaType>) -> Result<Manifest, Failure> {
    let list = Manifest::parse(bytes, kind)?;
    if list.media_type().is_index() && list.children().is_empty() {
        let document: Value = serde_json::from_slice(list.bytes())
            .map_err(|error| Failure::new(ErrorKind::Malformed, error))?;
        if document.get("manifests").is_none() {
            let text = "it should be a list of referrers and has no manifests";
            return Err(Failure::new(ErrorKind::Malformed, text));
        }
    }
    Ok(list)
}

/// What a fallback tag points at.
enum List {
    None,
    Index(Box<Manifest>),
    /// Something that somebody tagged so.
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j14_only_so_many_repositories_and_lists_are_remembered() {
        let fallbacks = Fallbacks::default();
        let subject = Digest::sha256(b"x");
        let held = fallbacks.writing(&"held".parse().unwrap(), &subject);
        for number in 0..2 * REMEMBERED + 1 {
            let repo = format!("a{number}").parse().unwrap();
            fallbacks.remember_no_api(&repo);
            assert!(fallbacks.has_no_api(&repo));
            if number % 100 == 0 {
                drop(fallbacks.writing(&repo, &subject));
            }
        }
        let known = fallbacks.lock();
        assert!(known.without_api.len() <= REMEMBERED);
        assert!(known.writing.len() <= 2);
        drop(known);
        let again = fallbacks.writing(&"held".parse().unwrap(), &subject);
        assert!(Arc::ptr_eq(&held, &again), "what is being written is kept");
    }
}
