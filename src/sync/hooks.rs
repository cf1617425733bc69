//! Hooks: programs that are run around a copy.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How much of what a program says is kept, in bytes.
const SAID: u64 = 64 << 10;

/// The programs of a job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hooks {
    /// Before a tag is copied. If it fails, the tag is not.
    pub pre: Option<Hook>,
    /// After a tag was copied.
    pub post: Option<Hook>,
    /// When a tag is up to date.
    pub unchanged: Option<Hook>,
}

/// A program to run. There is no shell: nothing in its arguments has a meaning
/// but to the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The program, looked for on the `PATH` if it has no slash.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// How long it may take. It is ended then, with all that it has started.
    pub limit: Duration,
}

impl Hook {
    /// How long a program may take unless a configuration says.
    pub const LIMIT: Duration = Duration::from_secs(60);

    /// Runs the program with these environment variables beside our own.
    ///
    /// # Errors
    ///
    /// Why it failed, and the end of what it said, in one line.
    pub(super) async fn run(&self, facts: &[(&str, String)]) -> Result<(), String> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(facts.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .map_err(|error| format!("{} cannot be run: {error}", self.program))?;
        let mut running = Running(child);
        let ended = timeout(self.limit, running.end()).await;
        let (status, said) = ended
            .map_err(|_| {
                let seconds = self.limit.as_secs_f64();
                format!(
                    "{} was not done in {seconds} s, and was stopped",
                    self.program
                )
            })?
            .map_err(|error| format!("{} cannot be waited for: {error}", self.program))?;
        tracing::debug!(program = self.program, %status, said, "a hook is done");
        match status.success() {
            true => Ok(()),
            false => {
                let last = said.lines().rev().find(|line| !line.trim().is_empty());
                let last: String = last
                    .unwrap_or("it said nothing")
                    .chars()
                    .take(300)
                    .collect();
                Err(format!(
                    "{} ended with {status}: {}",
                    self.program,
                    last.trim()
                ))
            }
        }
    }
}

/// A program at work. It is stopped with all that it has started.
struct Running(Child);

impl Running {
    /// Waits for its end, and reads what it says meanwhile.
    async fn end(&mut self) -> std::io::Result<(std::process::ExitStatus, String)> {
        let (out, err) = (self.0.stdout.take(), self.0.stderr.take());
        let read = async |stream: Option<&mut (dyn tokio::io::AsyncRead + Send + Unpin)>| {
            let mut said = Vec::new();
            if let Some(stream) = stream {
                let _ = (&mut *stream).take(SAID).read_to_end(&mut said).await;
                // What is more is thrown away: nobody may wait at a full pipe.
                let _ = tokio::io::copy(stream, &mut tokio::io::sink()).await;
            }
            String::from_utf8_lossy(&said).into_owned()
        };
        let (mut out, mut err) = (out, err);
        let (out, err, status) = tokio::join!(
            read(out.as_mut().map(|stream| stream as _)),
            read(err.as_mut().map(|stream| stream as _)),
            self.0.wait(),
        );
        Ok((status?, out + &err))
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
