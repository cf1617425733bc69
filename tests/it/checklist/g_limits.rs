//! Trying again, and rate limits.
