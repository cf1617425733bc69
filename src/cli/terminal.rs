//! The terminal: colours, its width, and lines that do not break the progress
//! bars.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use clap::ValueEnum;
use indicatif::MultiProgress;

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    /// On a terminal, unless the environment says otherwise.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What was asked for on the command line.
static COLOUR: OnceLock<When> = OnceLock::new();

/// The bars that are drawn, once there are any.
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// Has colours used as the command line asks for.
pub(super) fn set_colour(when: When) {
    let _ = COLOUR.set(when);
}

/// Has everything else that is printed from now on keep clear of `bars`.
pub(super) fn draw(bars: MultiProgress) {
    let _ = BARS.set(bars);
}

/// Does something to the terminal while no bars are there.
pub(super) fn undisturbed<T>(act: impl FnOnce() -> T) -> T {
    match BARS.get() {
        Some(bars) => bars.suspend(act),
        None => act(),
    }
}

/// Whether to use colours on `stream`.
pub(super) fn colour(stream: &impl IsTerminal) -> bool {
    let when = COLOUR.get().copied().unwrap_or(When::Auto);
    decide(when, |name| std::env::var(name).ok(), stream.is_terminal())
}

/// Whether to use colours before the command line is known.
pub(super) fn colour_of_help() -> clap::ColorChoice {
    match decide(
        When::Auto,
        |name| std::env::var(name).ok(),
        io::stdout().is_terminal(),
    ) {
        true => clap::ColorChoice::Auto,
        false => clap::ColorChoice::Never,
    }
}

/// The flag first, then NO_COLOR (<https://no-color.org>), FORCE_COLOR
/// (<https://force-color.org>), CLICOLOR_FORCE and CLICOLOR
/// (<https://bixense.com/clicolors>), then whether it is a terminal that can.
/// Empty variables say nothing.
fn decide(when: When, variable: impl Fn(&str) -> Option<String>, terminal: bool) -> bool {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    let on = |name: &str| given(name).is_some_and(|value| value != "0");
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto if given("NO_COLOR").is_some() => false,
        When::Auto if on("FORCE_COLOR") || on("CLICOLOR_FORCE") => true,
        When::Auto => {
            let off = given("CLICOLOR").as_deref() == Some("0");
            terminal && !off && given("TERM").as_deref() != Some("dumb")
        }
    }
}

/// How many columns standard output has, when it is a terminal.
pub(super) fn width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Standard error, written to while no bars are there.
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        undisturbed(|| io::stderr().lock().write_all(text))?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_comes_before_the_variables_and_they_before_the_terminal() {
        type Case = (When, &'static [(&'static str, &'static str)], bool, bool);
        const CASES: [Case; 14] = [
            (When::Auto, &[], true, true),
            (When::Auto, &[], false, false),
            (When::Always, &[("NO_COLOR", "1")], false, true),
            (When::Never, &[("FORCE_COLOR", "1")], true, false),
            (
                When::Auto,
                &[("NO_COLOR", "1"), ("FORCE_COLOR", "1")],
                true,
                false,
            ),
            (When::Auto, &[("NO_COLOR", "")], true, true),
            (When::Auto, &[("FORCE_COLOR", "1")], false, true),
            (When::Auto, &[("FORCE_COLOR", "0")], false, false),
            (When::Auto, &[("FORCE_COLOR", "")], false, false),
            (When::Auto, &[("CLICOLOR_FORCE", "1")], false, true),
            (When::Auto, &[("CLICOLOR", "0")], true, false),
            (When::Auto, &[("CLICOLOR", "1")], false, false),
            (When::Auto, &[("TERM", "dumb")], true, false),
            (
                When::Auto,
                &[("TERM", "dumb"), ("FORCE_COLOR", "3")],
                true,
                true,
            ),
        ];
        for (when, variables, terminal, expected) in CASES {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.to_string())
            };
            let got = decide(when, variable, terminal);
            assert_eq!(got, expected, "{when:?} {variables:?} {terminal}");
        }
    }
}
