//! Filters on names: which tags and repositories a job takes.

mod filter;

pub use filter::{Filter, FilterError, Verdict};
