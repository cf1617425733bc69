//! What runs and tags tell, in the schema's words.

use super::{Job, Reason, RunResult, Tag, TagResult, milliseconds, timestamp};
use crate::oci::Digest;
use crate::select::Reason as Unselected;
use crate::store::ErrorKind;
use crate::sync::{Exclusion, Outcome, RunReport, TagReport, Why};

impl From<&RunReport> for Job {
    fn from(run: &RunReport) -> Self {
        let RunReport {
            job,
            id,
            started,
            took,
            totals,
            tags,
            interrupted,
        } = run;
        Self {
            sync_job: job.clone(),
            run_id: id.to_string(),
            result: RunResult::of(totals, *interrupted),
            started: timestamp(*started),
            duration_ms: milliseconds(*took),
            totals: *totals,
            tags: tags.iter().map(|tag| Tag::of(job, tag)).collect(),
        }
    }
}

impl Tag {
    /// What a report of the job `name` says of a tag.
    pub fn of(name: &str, report: &TagReport) -> Self {
        let mut tag = Self {
            sync_job: name.to_owned(),
            source: report.source.clone(),
            target: Some(report.target.clone()).filter(|target| !target.is_empty()),
            result: TagResult::Unchanged,
            reason: None,
            detail: None,
            digest: None,
            previous: None,
            cost: None,
        };
        let digest = |digest: &Digest| Some(digest.to_string());
        match &report.outcome {
            Outcome::Copied { digest: now, why } => {
                tag.result = TagResult::Copied;
                tag.digest = digest(now);
                tag.because(why);
            }
            Outcome::Pending {
                digest: now,
                why,
                cost,
            } => {
                tag.result = TagResult::Pending;
                tag.digest = digest(now);
                tag.cost = Some(*cost);
                tag.because(why);
            }
            Outcome::Unchanged { digest: now } => tag.digest = digest(now),
            Outcome::Excluded(exclusion) => {
                tag.result = TagResult::Excluded;
                tag.reason = Some(excluded(exclusion));
                tag.detail = Some(exclusion.to_string());
            }
            Outcome::Failed { error, kind } => {
                tag.result = TagResult::Failed;
                tag.reason = Some(kind.map_or(Reason::Fault, failed));
                tag.detail = Some(error.clone());
            }
        }
        tag
    }

    fn because(&mut self, why: &Why) {
        self.detail = Some(why.to_string());
        self.reason = Some(match why {
            Why::Missing => Reason::Missing,
            Why::Changed { from } => {
                self.previous = Some(from.to_string());
                Reason::Changed
            }
            Why::Referrers { .. } => Reason::Referrers,
            Why::DigestTags { .. } => Reason::DigestTags,
            Why::Forced => Reason::Forced,
        });
    }
}

fn excluded(exclusion: &Exclusion) -> Reason {
    match exclusion {
        Exclusion::NotSelected(reason) => match reason {
            Unselected::NoVersion => Reason::NoVersion,
            Unselected::OutOfRange(_) => Reason::OutOfRange,
            Unselected::NotAllowed => Reason::NotAllowed,
            Unselected::Denied(_) => Reason::Denied,
            Unselected::Older(_) => Reason::Older,
        },
        Exclusion::MediaType(_) => Reason::MediaType,
        Exclusion::Present => Reason::Present,
        Exclusion::ReferrersTag => Reason::ReferrersTag,
        Exclusion::AboutImage => Reason::AboutImage,
    }
}

fn failed(kind: ErrorKind) -> Reason {
    match kind {
        ErrorKind::NotFound => Reason::NotFound,
        ErrorKind::Denied => Reason::AccessDenied,
        ErrorKind::RateLimited(_) => Reason::RateLimited,
        ErrorKind::Corrupt => Reason::Corrupt,
        ErrorKind::Schema1 => Reason::Schema1,
        ErrorKind::Unavailable => Reason::Unavailable,
        ErrorKind::Refused => Reason::Refused,
        ErrorKind::MissingContent => Reason::MissingContent,
        ErrorKind::Unsupported => Reason::Unsupported,
        ErrorKind::Malformed => Reason::Malformed,
        ErrorKind::Storage => Reason::Storage,
    }
}
