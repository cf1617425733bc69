//! How many images the registry lets us pull.
//!
//! Docker Hub says so with every answer about a manifest, those to HEAD
//! included, which it does not count: `ratelimit-limit: 100;w=21600` and
//! `ratelimit-remaining: 20;w=21600`, the window in seconds. Source: docker/docs,
//! `docker-hub/usage/pulls.md`. A registry that says nothing has no limit.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use tokio::time::Instant;

use crate::http::retry_after;
use crate::store::Pulls;

/// What one registry has said to one credential. A limit belongs to both.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Entry>);

#[derive(Debug, Default)]
struct Entry {
    told: Option<Told>,
    /// A 429 was the last answer, and until when it holds, if it said.
    refused: Option<Option<Instant>>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    remaining: u64,
    limit: Option<u64>,
    window: Option<Duration>,
    /// When it was said.
    at: Instant,
    /// The end of the window at the latest: it was under way when it was first
    /// heard of.
    ends: Option<Instant>,
}

/// What a registry said last of how many images may be pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastQuota {
    /// So many are left.
    pub remaining: u64,
    /// Out of so many, if it said.
    pub limit: Option<u64>,
    /// In so much time, if it said.
    pub window: Option<Duration>,
    /// There are more by then at the latest.
    pub renewed: Option<Instant>,
    /// When it said so.
    pub observed: Instant,
}

/// A number of pulls and the window that it is for: `20;w=21600`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Quota {
    pulls: u64,
    window: Option<Duration>,
}

impl Ledger {
    /// Takes down what an answer says.
    pub(super) fn note(&self, registry: &str, status: StatusCode, headers: &HeaderMap) {
        let now = Instant::now();
        let mut entry = self.lock();
        let before = entry.told.map(|told| told.remaining);
        if let Some(remaining) = quota(headers, "ratelimit-remaining") {
            let limit = quota(headers, "ratelimit-limit").map(|limit| limit.pulls);
            entry.told = Some(told(entry.told, remaining, limit, now));
        }
        entry.refused = None;
        if status == StatusCode::TOO_MANY_REQUESTS {
            let wait = retry_after(headers, SystemTime::now());
            entry.refused = Some(wait.map(|wait| now + wait));
            if let Some(told) = &mut entry.told {
                told.remaining = 0;
            }
        }
        let Some(Told {
            remaining, limit, ..
        }) = entry.told
        else {
            return;
        };
        if before == Some(remaining) {
            return;
        }
        // Once per run and window at this level is enough for people; each
        // step is there for who looks for it.
        let news = before.is_none_or(|before| before < remaining || remaining == 0);
        match news {
            true => tracing::info!(registry, remaining, limit, "pulls left"),
            false => tracing::debug!(registry, remaining, limit, "pulls left"),
        }
    }

    /// What was said last, whether it still holds or not.
    pub(super) fn quota(&self) -> Option<LastQuota> {
        let told = self.lock().told?;
        Some(LastQuota {
            remaining: told.remaining,
            limit: told.limit,
            window: told.window,
            renewed: told.ends,
            observed: told.at,
        })
    }

    /// What is left, as far as that is known and still holds.
    pub(super) fn pulls(&self) -> Option<Pulls> {
        let now = Instant::now();
        let entry = self.lock();
        let ends = entry.told.and_then(|told| told.ends);
        let limit = entry.told.and_then(|told| told.limit);
        let (remaining, renewed) = match (entry.refused, entry.told) {
            (Some(until), _) => (0, [until, ends].into_iter().flatten().min()),
            (None, Some(told)) => (told.remaining, ends),
            (None, None) => return None,
        };
        renewed
            .is_none_or(|renewed| renewed > now)
            .then_some(Pulls {
                remaining,
                limit,
                renewed,
            })
    }

    fn lock(&self) -> MutexGuard<'_, Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn told(before: Option<Told>, seen: Quota, limit: Option<u64>, now: Instant) -> Told {
    // More than before means that another window has begun. A little more only
    // means that this answer was overtaken by the one before.
    let slack = limit.unwrap_or_default() / 10;
    let same = before.filter(|before| {
        before.remaining.saturating_add(slack) >= seen.pulls
            && before.ends.is_none_or(|ends| ends > now)
    });
    let ends = same.and_then(|before| before.ends);
    Told {
        remaining: seen.pulls,
        limit: limit.or(same.and_then(|before| before.limit)),
        window: seen.window.or(same.and_then(|before| before.window)),
        at: now,
        ends: ends.or_else(|| now.checked_add(seen.window?)),
    }
}

/// A quota; `None` when the header is missing or holds no number, as in
/// `;w=21600`.
fn quota(headers: &HeaderMap, name: &str) -> Option<Quota> {
    let text = headers.get(name)?.to_str().ok()?;
    let (pulls, parameters) = text.split_once(';').unwrap_or((text, ""));
    let mut parameters = parameters.split(';');
    let window = parameters.find_map(|parameter| parameter.trim().strip_prefix("w="));
    Some(Quota {
        pulls: pulls.trim().parse().ok()?,
        window: window
            .and_then(|seconds| seconds.parse().ok())
            .map(Duration::from_secs),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(remaining: &str, limit: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("ratelimit-remaining", remaining),
            ("ratelimit-limit", limit),
        ] {
            if !value.is_empty() {
                headers.insert(name, value.parse().unwrap());
            }
        }
        headers
    }

    fn after(seconds: u64) -> Option<Instant> {
        Some(Instant::now() + Duration::from_secs(seconds))
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[test]
    fn g5_every_form_of_the_headers_is_read() {
        let window = Some(Duration::from_secs(21600));
        for (text, want) in [
            ("20;w=21600", Some((20, window))),
            ("20", Some((20, None))),
            (" 20 ; w=21600", Some((20, window))),
            ("0;w=21600;x=1", Some((0, window))),
            ("20;w=soon", Some((20, None))),
            (";w=21600", None),
            ("many", None),
            ("-1;w=1", None),
            ("99999999999999999999", None),
        ] {
            let want = want.map(|(pulls, window)| Quota { pulls, window });
            let headers = headers(text, "");
            assert_eq!(quota(&headers, "ratelimit-remaining"), want, "{text}");
        }
        assert_eq!(quota(&HeaderMap::new(), "ratelimit-remaining"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn g5_the_window_ends_when_it_was_first_heard_of_plus_its_length() {
        let ledger = Ledger::default();
        let note = |remaining| ledger.note("r", StatusCode::OK, &headers(remaining, "100;w=60"));
        assert_eq!(ledger.pulls(), None);
        note("30;w=60");
        let ends = after(60);
        let left = |remaining, renewed| {
            Some(Pulls {
                remaining,
                limit: Some(100),
                renewed,
            })
        };
        pass(10).await;
        note("28;w=60");
        assert_eq!(ledger.pulls(), left(28, ends));
        // An answer that was overtaken.
        note("29;w=60");
        assert_eq!(ledger.pulls(), left(29, ends));
        // A new window.
        note("100;w=60");
        assert_eq!(ledger.pulls(), left(100, after(60)));
        // What was said of a window that is over says nothing any more.
        pass(60).await;
        assert_eq!(ledger.pulls(), None);
        note("7;w=18446744073709551615");
        assert_eq!(ledger.pulls(), left(7, None));
    }

    #[tokio::test(start_paused = true)]
    async fn g5_a_429_is_none_left_until_it_says_or_somebody_is_served() {
        let ledger = Ledger::default();
        let mut wait = HeaderMap::new();
        let busy = StatusCode::TOO_MANY_REQUESTS;
        let none = |renewed| {
            Some(Pulls {
                remaining: 0,
                limit: None,
                renewed,
            })
        };
        ledger.note("r", busy, &wait);
        assert_eq!(ledger.pulls(), none(None));
        wait.insert("retry-after", "30".parse().unwrap());
        ledger.note("r", busy, &wait);
        assert_eq!(ledger.pulls(), none(after(30)));
        pass(30).await;
        assert_eq!(ledger.pulls(), None);

        ledger.note("r", busy, &HeaderMap::new());
        ledger.note("r", StatusCode::OK, &HeaderMap::new());
        assert_eq!(ledger.pulls(), None);

        // The earlier of two ends counts, and the headers of a 429 do not.
        ledger.note("r", busy, &headers("5;w=20", ""));
        assert_eq!(ledger.pulls(), none(after(20)));
    }
}
