//! Lists of names: end-8 of the distribution-spec, and distribution's
//! `_catalog`.

use std::collections::HashSet;
use std::hash::Hash;
use std::str::FromStr;
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::time::sleep;

use super::auth::Scopes;
use super::client::{Inner, Redirects};
use super::failure::Failure;
use super::links::next_page;
use super::operation::{CATALOG, TAGS};
use super::seam::driven;
use crate::http::{Request, Response, printable};
use crate::oci::{Repository, Tag};
use crate::store::{ErrorKind, Listing, Page, StoreError};

/// How many names are asked for at once: ECR refuses more.
const PAGE: usize = 1000;

/// How many pages a list may have.
pub(super) const PAGES: usize = 10_000;

/// How many names a list may have.
const NAMES: usize = 1_000_000;

/// How often a page is asked for from a registry that wants to be left alone.
const ASKED: u32 = 3;

/// How much of a page is read, in bytes.
const BODY: usize = 8 << 20;

/// How much is kept of what is no name, in bytes: longer than any name.
const REFUSED: usize = 300;

/// A list, read up to some page.
struct Reading<T> {
    registry: Arc<Inner>,
    scopes: Scopes,
    member: &'static str,
    operation: &'static str,
    /// The next page, if there is one.
    next: Option<Url>,
    /// Whether `next` is a guess, made from the last name.
    guessed: bool,
    pages: HashSet<Url>,
    names: HashSet<T>,
}

#[derive(Deserialize)]
struct RawPage {
    #[serde(default)]
    tags: Option<Vec<Value>>,
    #[serde(default)]
    repositories: Option<Vec<Value>>,
    #[serde(default)]
    errors: Option<IgnoredAny>,
}

impl Inner {
    pub(super) fn tags(self: Arc<Self>, repo: &Repository) -> Listing<'static, Tag> {
        let first = self.url(repo, &format!("tags/list?n={PAGE}"));
        let subject = self.repository(repo);
        let error = move |failure: Failure| failure.at("list the tags of", subject.clone());
        self.list(first, ("tags", TAGS), Scopes::pull(repo), error)
    }

    pub(super) fn repositories(self: Arc<Self>) -> Listing<'static, Repository> {
        let first = self.url_of(&format!("_catalog?n={PAGE}"));
        let inner = Arc::clone(&self);
        let error = move |failure: Failure| {
            let failure = match failure.status.map(|status| status.as_u16()) {
                Some(404 | 405) => failure
                    .with_kind(ErrorKind::Unsupported)
                    .explained("the registry does not list its repositories"),
                Some(401 | 403) if inner.is_anonymous() => {
                    failure.explained("the registry does not list its repositories to everybody")
                }
                _ => failure,
            };
            failure.at("list the repositories of", inner.name())
        };
        self.list(first, ("repositories", CATALOG), Scopes::catalog(), error)
    }

    fn list<T>(
        self: Arc<Self>,
        first: Result<Url, Failure>,
        (member, operation): (&'static str, &'static str),
        scopes: Scopes,
        error: impl Fn(Failure) -> StoreError + Send + Sync + Clone + 'static,
    ) -> Listing<'static, T>
    where
        T: FromStr + Clone + Eq + Hash + Send + 'static,
    {
        let first = match first {
            Ok(first) => first,
            Err(failure) => return stream::iter([Err(error(failure))]).boxed(),
        };
        let reading = Reading {
            registry: self,
            scopes,
            member,
            operation,
            next: Some(first),
            guessed: false,
            pages: HashSet::new(),
            names: HashSet::new(),
        };
        stream::try_unfold(reading, move |mut reading| {
            let error = error.clone();
            async move {
                let (page, reading) = driven(async move { (reading.page().await, reading) }).await;
                match page {
                    Ok(Some(page)) => Ok(Some((page, reading))),
                    Ok(None) => Ok(None),
                    Err(failure) => Err(error(failure)),
                }
            }
        })
        .boxed()
    }
}

impl<T: FromStr + Clone + Eq + Hash> Reading<T> {
    /// Asks for a page, and again when the registry only wants to be left alone
    /// for a while. Nothing is held meanwhile.
    async fn ask(&mut self, url: &Url) -> Result<Response, Failure> {
        let mut asked = 1;
        loop {
            // No Accept for manifests here: Artifactory answers 406.
            let request = Request::new(self.operation, Method::GET, url.clone()).whole(BODY);
            let sent = self.registry.send(request, &self.scopes, Redirects::Within);
            let failure = match sent.await {
                // Its body has been read: it gives its place back.
                Ok((response, _)) if response.status() == 200 => return Ok(response),
                Ok((response, _permit)) => Failure::of(response).await,
                Err(failure) => failure,
            };
            match failure.kind {
                ErrorKind::RateLimited(Some(wait)) if asked < ASKED => {
                    asked += 1;
                    sleep(wait).await;
                }
                _ => return Err(failure),
            }
        }
    }

    async fn page(&mut self) -> Result<Option<Page<T>>, Failure> {
        let Some(url) = self.next.take() else {
            return Ok(None);
        };
        let endless = |text: String| Failure::new(ErrorKind::Malformed, text);
        if !self.pages.insert(url.clone()) {
            return Err(endless("its pages lead in a circle".to_owned()));
        }
        if self.pages.len() > PAGES {
            return Err(endless(format!("it has more than {PAGES} pages")));
        }
        let response = self.ask(&url).await?;
        let link = next_page(&url, response.headers())?;
        let body = response.bytes(BODY).await?;
        let raw: RawPage = serde_json::from_slice(&body)
            .map_err(|error| Failure::new(ErrorKind::Malformed, error))?;
        // serde takes an array for a structure as well. Neither that nor errors
        // in a success are a list that happens to be empty.
        if body.trim_ascii_start().first() != Some(&b'{') || raw.errors.is_some() {
            let text = format!("the answer is no list of {}", self.member);
            return Err(Failure::new(ErrorKind::Malformed, text));
        }
        let listed = match self.member {
            "tags" => raw.tags,
            _ => raw.repositories,
        };
        let listed = listed.unwrap_or_default();
        let last = listed
            .last()
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let full = listed.len() == PAGE && !last.is_empty();
        let page = self.sort(listed);
        if self.names.len() > NAMES {
            return Err(endless(format!("it has more than {NAMES} names")));
        }
        self.next = match link {
            Some(link) => {
                self.guessed = false;
                Some(link)
            }
            // A registry that does not page gives the same names again: then
            // this was all.
            None if full && !(self.guessed && page.names.is_empty()) => {
                self.guessed = true;
                Some(after(&url, &last))
            }
            None => None,
        };
        Ok(Some(page))
    }

    /// The names that are new, and what is none. Nexus lists `null` and empty
    /// names, Artifactory digests.
    fn sort(&mut self, listed: Vec<Value>) -> Page<T> {
        let mut page = Page {
            names: Vec::new(),
            refused: Vec::new(),
        };
        for entry in listed {
            let Value::String(text) = entry else { continue };
            match text.parse::<T>() {
                Ok(name) => {
                    if self.names.insert(name.clone()) {
                        page.names.push(name);
                    }
                }
                Err(_) if text.is_empty() => {}
                Err(_) => page.refused.push(printable(&text, REFUSED)),
            }
        }
        page
    }
}

/// The page after `last`, where the registry does not say itself.
fn after(url: &Url, last: &str) -> Url {
    let mut next = url.clone();
    next.query_pairs_mut()
        .clear()
        .append_pair("n", &PAGE.to_string())
        .append_pair("last", last);
    next
}
