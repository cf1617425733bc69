//! regmirror among programs that nobody here wrote: Debian's docker-registry
//! (2.8), skopeo, and umoci where it is installed.
//!
//! Everything runs through the real binary. Where the programs are absent the
//! tests say so and pass, unless `REGMIRROR_REQUIRE_INTEROP=1` is set.

mod content;
mod embedded;
mod layouts;
mod platforms;
mod programs;
mod registries;
mod routes;
