//! Jobs: planning what a sync entry would change, and changing it.
//!
//! Planning reads only and yields a stream of [`Step`]s; the [`Executor`]
//! takes them and writes, the tagged manifest always last. Nothing here knows
//! whether a store is a registry or a directory.

mod admission;
mod backup;
mod check;
mod copy;
mod cost;
mod created;
mod digest_tags;
mod executor;
mod hooks;
mod job;
mod plan;
mod platforms;
mod pool;
mod referrers;
mod report;
mod run_id;
mod step;
mod transfer;
mod watch;

pub use backup::{Backup, BackupFailure, Place};
pub use check::Checker;
pub use cost::Cost;
pub use executor::{Executor, Limits, panic_text};
pub use hooks::{Hook, Hooks};
pub use job::{IndexForm, Job, Open, Platforms, Policy, RateLimit, Readers, Scope, Stores};
pub use plan::{Memory, Planned, plan};
pub use platforms::{Choice, Manifests};
pub use pool::PoolStatus;
pub use referrers::{ReferrerFilter, Referrers};
pub use report::{Outcome, RunReport, TagReport, Tally, Totals};
pub use run_id::RunId;
pub use step::{Decision, Exclusion, Failure, Step, Why, image_name, repository_name};
pub use transfer::Delivery;
pub use watch::{Audience, Event, Kept, Watch};
