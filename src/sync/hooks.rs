//! Hooks: programs that are run around a copy.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::process::Running;

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
            .stderr(Stdio::piped());
        let mut running = Running::start(&mut command)
            .map_err(|error| format!("{} cannot be run: {error}", self.program))?;
        let ended = timeout(self.limit, end(running.child())).await;
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
                    .filter(|character| !character.is_control())
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

/// Waits for a program's end, and reads what it says meanwhile.
async fn end(child: &mut Child) -> std::io::Result<(std::process::ExitStatus, String)> {
    let (out, err) = (child.stdout.take(), child.stderr.take());
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
        child.wait(),
    );
    Ok((status?, out + &err))
}
