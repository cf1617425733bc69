//! Which repositories and tags are taken.

mod filter;
mod range;
mod selection;
mod version;

pub use filter::{Filter, FilterError, Verdict};
pub use range::{Range, RangeError};
pub use selection::{Latest, Reason, Selection, Sort, TagSet, newest};
pub use version::Version;
