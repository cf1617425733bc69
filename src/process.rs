//! Other programs: credential helpers and hooks.

use std::io;

use tokio::process::{Child, Command};

/// A program at work, in a group of its own. When this goes, the program is
/// stopped with all that it has started.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    /// Starts a program.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        Ok(Self(child))
    }

    /// The program.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // There is a number as long as nobody has waited for its end, and so
        // it belongs to nobody else.
        let pid = self.0.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(group) = pid.and_then(rustix::process::Pid::from_raw) {
            // It may have come to its end by itself.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}
