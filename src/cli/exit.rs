//! Exit codes. They are an interface: scripts and pod failure policies act on
//! them.

use std::process::ExitCode;

/// How the program ends. What is not listed is a failure, whatever its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// 0: everything was done.
    Success,
    /// 1: at least one job or tag failed.
    Failed,
    /// 2: the command line makes no sense.
    Usage,
    /// 3: the configuration is invalid or cannot be read.
    Config,
    /// 128 and the signal's number: interrupted.
    Signal(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Config => 3,
            Exit::Signal(number) => 128 + number,
        })
    }
}
