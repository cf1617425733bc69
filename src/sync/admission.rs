//! When an image may be begun. Whoever waits for a store to bear more holds no
//! place in the pool meanwhile.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::job::{Job, Policy, RateLimit};
use super::step::image_name;
use super::watch::{Held, Watch};
use crate::oci::{Digest, Repository, TagOrDigest};
use crate::store::{Allowance, ErrorKind, Pulls, Source, StoreError};

/// Why an image is not begun yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// A store asked for silence until then.
    Quiet(Instant),
    /// The source allows too few pulls. It may allow more then.
    Pulls { remaining: u64, until: Instant },
}

impl Hold {
    fn until(self) -> Instant {
        match self {
            Self::Quiet(until) | Self::Pulls { until, .. } => until,
        }
    }
}

/// Whether both stores want an image now.
pub(super) fn is_open(policy: &Policy, source: &dyn Source, target: &dyn Source) -> bool {
    hold_of(policy, source, target).is_none()
}

/// Waits until both stores want `image` of the source to be copied; `watch`
/// is told when it has to wait. Returns what
/// the tag points at if it was looked up again: the wait may have taken hours.
pub(super) async fn admitted<'a>(
    image: (&Repository, &TagOrDigest),
    job: &'a Job,
    source: &'a dyn Source,
    target: &'a dyn Source,
    watch: &'a dyn Watch,
) -> Option<Digest> {
    let ((repository, reference), policy) = (image, &job.policy);
    let mut found = None;
    loop {
        let Some(hold) = hold_of(policy, source, target) else {
            return found;
        };
        let store = match hold {
            Hold::Quiet(until) if target.allowance().quiet_until == Some(until) => target,
            Hold::Quiet(_) | Hold::Pulls { .. } => source,
        };
        let wait = hold.until().saturating_duration_since(Instant::now());
        let _held = Held::begin(watch, &job.name, store.name(), wait);
        match hold {
            Hold::Quiet(until) => sleep_until(until).await,
            Hold::Pulls { remaining, until } => {
                tracing::info!(
                    image = image_name(source.name(), repository, reference),
                    remaining,
                    wait_s = until.saturating_duration_since(Instant::now()).as_secs(),
                    "waiting for more pulls",
                );
                sleep_until(until).await;
                // Looking at a tag is no pull, and the answer says how many
                // are left. Somebody else may have had it already.
                if let Some(Hold::Pulls { .. }) = hold_of(policy, source, target) {
                    match source.resolve(repository, reference).await {
                        Ok(now) => found = now.or(found),
                        Err(error) => tracing::warn!(%error, "could not ask for the pulls left"),
                    }
                }
            }
        }
    }
}

/// How long to leave the stores alone, one of which failed with `error`, if
/// that is all it wants. Without a word of when, it is until there may be pulls
/// again, for those who have a reserve of them.
pub(super) fn pause(
    error: &StoreError,
    source: Allowance,
    target: Allowance,
    reserve: Option<RateLimit>,
) -> Option<Duration> {
    match error.kind() {
        ErrorKind::RateLimited(Some(wait)) => Some(wait),
        ErrorKind::RateLimited(None) => {
            let now = Instant::now();
            Some(hold(source, target, reserve, now)?.until() - now)
        }
        _ => None,
    }
}

fn hold_of(policy: &Policy, source: &dyn Source, target: &dyn Source) -> Option<Hold> {
    hold(
        source.allowance(),
        target.allowance(),
        policy.rate_limit,
        Instant::now(),
    )
}

fn hold(
    source: Allowance,
    target: Allowance,
    reserve: Option<RateLimit>,
    now: Instant,
) -> Option<Hold> {
    let quiet = source.quiet_until.max(target.quiet_until);
    if let Some(until) = quiet.filter(|until| *until > now) {
        return Some(Hold::Quiet(until));
    }
    let (
        RateLimit { min, retry },
        Pulls {
            remaining, renewed, ..
        },
    ) = reserve.zip(source.pulls)?;
    let again = now + retry;
    (remaining < min).then(|| Hold::Pulls {
        remaining,
        until: renewed.map_or(again, |renewed| renewed.min(again)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESERVE: RateLimit = RateLimit {
        min: 20,
        retry: Duration::from_secs(300),
    };

    fn pulls(remaining: u64, renewed: Option<Instant>) -> Allowance {
        Allowance {
            quiet_until: None,
            pulls: Some(Pulls {
                remaining,
                limit: Some(100),
                renewed,
            }),
        }
    }

    #[test]
    fn g5_below_the_reserve_the_earlier_of_two_times_is_waited_for() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let hold = |source, reserve| hold(source, Allowance::default(), reserve, now);
        let held = |remaining, until| Some(Hold::Pulls { remaining, until });

        assert_eq!(hold(pulls(20, None), Some(RESERVE)), None);
        assert_eq!(hold(pulls(19, None), Some(RESERVE)), held(19, at(300)));
        let soon = pulls(0, Some(at(60)));
        assert_eq!(hold(soon, Some(RESERVE)), held(0, at(60)));
        let late = pulls(0, Some(at(6000)));
        assert_eq!(hold(late, Some(RESERVE)), held(0, at(300)));
        // Nobody asked for a reserve, or the source has no limit.
        assert_eq!(hold(soon, None), None);
        assert_eq!(hold(Allowance::default(), Some(RESERVE)), None);
    }

    #[test]
    fn g5_a_429_without_a_word_is_waited_out_by_those_who_have_a_reserve() {
        let limited = |wait| StoreError::new(ErrorKind::RateLimited(wait), "read", "x");
        let minute = Duration::from_secs(60);
        let none = pulls(0, Some(Instant::now() + minute));
        let pause = |error: &StoreError, source, reserve| {
            pause(error, source, Allowance::default(), reserve)
                .map(|wait| wait.as_secs_f64().round())
        };
        assert_eq!(pause(&limited(None), none, Some(RESERVE)), Some(60.0));
        assert_eq!(
            pause(&limited(None), pulls(0, None), Some(RESERVE)),
            Some(300.0)
        );
        assert_eq!(pause(&limited(None), none, None), None);
        // It was the target that said so.
        let plenty = pulls(50, None);
        assert_eq!(pause(&limited(None), plenty, Some(RESERVE)), None);
        assert_eq!(pause(&limited(Some(minute)), plenty, None), Some(60.0));
        let missing = StoreError::new(ErrorKind::NotFound, "read", "x");
        assert_eq!(pause(&missing, none, Some(RESERVE)), None);
    }

    #[test]
    fn silence_at_either_end_is_kept() {
        let now = Instant::now();
        let at = |seconds| Allowance {
            quiet_until: Some(now + Duration::from_secs(seconds)),
            pulls: None,
        };
        let quiet = |seconds| Some(Hold::Quiet(now + Duration::from_secs(seconds)));
        assert_eq!(hold(at(5), at(9), None, now), quiet(9));
        assert_eq!(hold(at(5), Allowance::default(), None, now), quiet(5));
        assert_eq!(hold(at(0), Allowance::default(), None, now), None);
    }
}
