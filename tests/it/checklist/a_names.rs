//! Names, parsing, bounds.
