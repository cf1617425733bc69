//! In what order a copy is made, and what a second run does.
