//! Jobs: planning what a sync entry would change, and changing it.
//!
//! Planning reads only and yields a stream of [`Step`]s; the [`Executor`]
//! takes them and writes, the tagged manifest always last. Nothing here knows
//! whether a store is a registry or a directory.

mod admission;
mod backup;
mod copy;
mod executor;
mod job;
mod plan;
mod report;
mod step;
mod transfer;

pub use executor::{Executor, Limits};
pub use job::{Backup, Job, Policy, RateLimit, Scope, Stores};
pub use plan::{Planned, plan};
pub use report::{Outcome, RunReport, TagReport, Tally, Totals};
pub use step::{Decision, Exclusion, Failure, Step, Why, image_name, repository_name};
