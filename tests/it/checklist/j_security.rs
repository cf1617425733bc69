//! Security and operations.
