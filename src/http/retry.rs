//! Whether to try again, and when: pure decisions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The longest that a server's `Retry-After` is believed.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// What a failed attempt means for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It would fail again.
    Fatal,
    /// It may work later.
    Transient,
    /// It may work after this wait, says the server.
    After(Duration),
}

/// How often and how patiently a request is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// The longest wait before the second attempt; it doubles each time.
    pub base: Duration,
    /// What the doubling stops at.
    pub cap: Duration,
    /// The longest wait that a server can ask for and that is kept while the
    /// request holds its places. When it asks for more, the request fails at
    /// once and says so: whoever made it gives its places back and waits.
    pub patience: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(60),
            patience: Duration::from_secs(10),
        }
    }
}

impl RetryPolicy {
    /// One attempt.
    pub fn none() -> Self {
        Self {
            attempts: 1,
            ..Self::default()
        }
    }

    /// How long to wait after failed attempt number `attempt` (from 1), or
    /// `None` to give up. `jitter` is uniform in `0.0..1.0`; the caller draws
    /// it.
    pub fn next_delay(&self, attempt: u32, verdict: Verdict, jitter: f64) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let doublings = 2u32.saturating_pow(attempt.saturating_sub(1));
        let ceiling = self.base.saturating_mul(doublings).min(self.cap);
        let backoff = ceiling.mul_f64(0.5 + jitter / 2.0);
        match verdict {
            Verdict::Fatal => None,
            // One that asks for no wait, or by a clock that is behind, must not
            // use up all attempts at once.
            Verdict::After(wait) => (wait <= self.patience).then_some(wait.max(backoff)),
            Verdict::Transient => Some(backoff),
        }
    }
}

/// What an answer means for another attempt at the same request.
///
/// The statuses are those that registries and what stands before them send for
/// failures that pass: 499 is nginx's, 520 to 524 are Cloudflare's.
pub fn verdict_of_status(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Verdict {
    match status.as_u16() {
        408 | 429 | 499 | 500 | 502 | 503 | 504 | 520..=524 => {
            retry_after(headers, now).map_or(Verdict::Transient, Verdict::After)
        }
        _ => Verdict::Fatal,
    }
}

/// The wait that `Retry-After` asks for: seconds, an HTTP date, or an epoch
/// time as Docker Hub has sent it. At most 15 minutes; nonsense is `None`.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    /// No server means 30 years: from here on it is a date.
    const EPOCH: u64 = 1_000_000_000;
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse::<u64>() {
        let seconds = match seconds {
            EPOCH.. => seconds.saturating_sub(now.duration_since(UNIX_EPOCH).ok()?.as_secs()),
            _ => seconds,
        };
        Duration::from_secs(seconds)
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        date.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> SystemTime {
        // Thu, 01 May 2025 22:15:00 GMT
        UNIX_EPOCH + Duration::from_secs(1_746_137_700)
    }

    fn headers(retry_after: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry_after.parse().unwrap());
        headers
    }

    #[test]
    fn passing_failures_are_tried_again() {
        let again = [408, 429, 499, 500, 502, 503, 504, 520, 521, 522, 523, 524];
        for status in 400..600 {
            let status = StatusCode::from_u16(status).unwrap();
            let verdict = verdict_of_status(status, &HeaderMap::new(), now());
            let want = match again.contains(&status.as_u16()) {
                true => Verdict::Transient,
                false => Verdict::Fatal,
            };
            assert_eq!(verdict, want, "{status}");
        }
    }

    #[test]
    fn retry_after_is_understood_in_every_form_and_bounded() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("60", Some(60)),
            (" 7 ", Some(7)),
            ("86400", Some(900)),
            ("18446744073709551615", Some(900)),
            // Epochs: in 12 s, in the past, far in the future.
            ("1746137712", Some(12)),
            ("1746136938", Some(0)),
            ("9999999999", Some(900)),
            ("Thu, 01 May 2025 22:15:30 GMT", Some(30)),
            ("Thu, 01 May 2025 22:14:30 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(900)),
            ("985.86µs", None),
            ("soon", None),
            ("-1", None),
            ("", None),
            ("18446744073709551616", None),
        ] {
            let value = reqwest::header::HeaderValue::from_bytes(text.as_bytes()).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value);
            let wait = retry_after(&headers, now());
            assert_eq!(wait, seconds.map(Duration::from_secs), "{text}");
        }
        let busy = verdict_of_status(StatusCode::TOO_MANY_REQUESTS, &headers("3"), now());
        assert_eq!(busy, Verdict::After(Duration::from_secs(3)));
        let gone = verdict_of_status(StatusCode::NOT_FOUND, &headers("3"), now());
        assert_eq!(gone, Verdict::Fatal);
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let policy = RetryPolicy {
            attempts: 10,
            ..RetryPolicy::default()
        };
        let waits: Vec<_> = (1..=10)
            .map(|attempt| policy.next_delay(attempt, Verdict::Transient, 1.0))
            .map(|wait| wait.map(|wait| wait.as_millis()))
            .collect();
        let want = [500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000];
        let want: Vec<_> = want.into_iter().map(Some).chain([None]).collect();
        assert_eq!(waits, want);
        let half = policy.next_delay(1, Verdict::Transient, 0.0);
        assert_eq!(half, Some(Duration::from_millis(250)));
    }

    #[test]
    fn the_server_is_obeyed_within_patience() {
        let policy = RetryPolicy::default();
        let wait = |seconds| Verdict::After(Duration::from_secs(seconds));
        let delay = |verdict| policy.next_delay(1, verdict, 0.5);
        assert_eq!(delay(wait(10)), Some(Duration::from_secs(10)));
        assert_eq!(delay(wait(11)), None);
        assert_eq!(delay(wait(0)), Some(Duration::from_millis(375)));
        assert_eq!(delay(Verdict::Fatal), None);
        assert_eq!(
            RetryPolicy::none().next_delay(1, Verdict::Transient, 0.5),
            None
        );
    }

    proptest! {
        #[test]
        fn no_header_panics_or_waits_longer_than_the_bound(bytes: Vec<u8>, attempt: u32) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = reqwest::header::HeaderValue::from_bytes(&bytes) {
                headers.insert(RETRY_AFTER, value);
            }
            let wait = retry_after(&headers, now());
            prop_assert!(wait.unwrap_or_default() <= LONGEST_WAIT);
            let policy = RetryPolicy { attempts: u32::MAX, ..RetryPolicy::default() };
            let wait = policy.next_delay(attempt, Verdict::Transient, 0.9);
            prop_assert!(wait.unwrap_or_default() <= policy.cap);
        }
    }
}
