//! The seam between what copies content and what holds it: [`Source`] reads,
//! [`Sink`] writes, and every byte that passes is verified.

mod allowance;
mod blob;
mod error;
mod memory;
mod seam;

pub use allowance::{Allowance, Pulls};
pub use blob::{Blob, BlobStream, Content};
pub use error::{ErrorKind, StoreError, chain};
pub use memory::MemoryStore;
pub use seam::{Hosted, Listing, Page, Sink, Source, Upload};
