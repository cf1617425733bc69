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
    /// 4: something was copied, or would be, and the code was to tell.
    Changes,
    /// 5: told to stop by the time limit, or by registries that allow no more.
    Unfinished,
    /// 128 and the signal's number: interrupted.
    Signal(u8),
}

impl Exit {
    /// The code.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::Changes => 4,
            Self::Unfinished => 5,
            Self::Signal(number) => 128 + number,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
