//! The `regmirror` program.

fn main() {}
