//! The `regmirror` program.

fn main() -> std::process::ExitCode {
    regmirror::cli::run()
}
