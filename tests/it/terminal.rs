//! What a person at a terminal sees, on a pseudo-terminal.

use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::support::Fault;
use crate::support::bench::Bench;
use crate::support::images::{push_image, repo};
use crate::support::program::Program;

const ALL: &str = "name: app, source: SOURCE/app, target: TARGET/app, type: repository";

/// A terminal and what is on its screen.
struct Terminal {
    screen: vt100::Parser,
    bytes: Receiver<Vec<u8>>,
    child: Child,
}

impl Terminal {
    /// Starts the program with its streams on a terminal of this size.
    fn start(program: &mut Program, rows: u16, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        tcsetwinsize(&slave, size).unwrap();
        let stream = || Stdio::from(OwnedFd::from(slave.try_clone().unwrap()));
        program.command.stdout(stream()).stderr(stream());
        let child = program.start();
        // The command keeps its ends, and the terminal would never end.
        program.command.stdout(Stdio::null()).stderr(Stdio::null());
        drop(slave);
        let (sender, bytes) = channel();
        let mut master = File::from(master);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // It fails when nobody has the other end any more.
            while let Ok(count @ 1..) = master.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            screen: vt100::Parser::new(cells(rows), cells(columns), 1000),
            bytes,
            child,
        }
    }

    fn shown(&self) -> String {
        self.screen.screen().contents()
    }

    /// Waits until the screen shows `part`.
    fn until(&mut self, part: &str) {
        while !self.shown().contains(part) {
            let bytes = self.bytes.recv_timeout(Duration::from_secs(30));
            let bytes = bytes.unwrap_or_else(|_| panic!("no `{part}` in:\n{}", self.shown()));
            self.screen.process(&bytes);
        }
    }

    /// Waits until the screen does not show `part` any more.
    fn until_gone(&mut self, part: &str) {
        while self.shown().contains(part) {
            let bytes = self.bytes.recv_timeout(Duration::from_secs(30));
            let bytes = bytes.unwrap_or_else(|_| panic!("still `{part}` in:\n{}", self.shown()));
            self.screen.process(&bytes);
        }
    }

    /// Waits for the program's end: its exit code and what is left on the screen.
    fn end(mut self) -> (Option<i32>, String) {
        while let Ok(bytes) = self.bytes.recv_timeout(Duration::from_secs(30)) {
            self.screen.process(&bytes);
        }
        (self.child.wait().unwrap().code(), self.shown())
    }
}

/// At least one.
fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap_or(NonZero::<u16>::MIN)
}

/// A source with a large blob that the target does not take yet.
async fn held() -> Bench {
    let bench = Bench::new().await;
    let app = repo("app");
    push_image(
        bench.source.store(),
        &app,
        Some("large"),
        &[&vec![7; 3 << 20]],
    )
    .await;
    push_image(bench.source.store(), &app, Some("small"), &[b"small"]).await;
    bench.target.on("PUT", "/manifests/large", 1, Fault::Hold);
    bench
}

fn terminal(program: Program) -> Program {
    program.env("TERM", "xterm-256color")
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_drawn_kept_apart_from_the_log_and_cleared() {
    let bench = held().await;
    let mut program = terminal(bench.program(&[ALL], &["once"]));
    let mut terminal = Terminal::start(&mut program, 24, 120);
    bench.target.held().await;
    terminal.until("1/2 tags, 3.0 MiB sent");
    terminal.until_gone("under way");
    terminal.until_gone("/3.00 MiB");
    bench.target.release();
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("tags,"), "the bar is still there:\n{shown}");
    // The log line and the table stand alone on their lines.
    let line = shown
        .lines()
        .find(|line| line.contains("job done"))
        .expect(&shown);
    assert!(line.starts_with("20"), "{shown}");
    let row = shown
        .lines()
        .find(|line| line.starts_with("app "))
        .expect(&shown);
    let cells = ["app", "2", "0", "0", "0", "3.0", "MiB"];
    assert!(row.split_whitespace().eq(cells), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_transfers_have_a_bar_of_their_own() {
    let bench = held().await;
    bench.target.heal();
    // Its body has been read when the registry thinks about it.
    bench.target.on("PUT", "/blobs/uploads/", 1, Fault::Hold);
    let text = bench.config(&[ALL]).replace(
        "skipDockerConfig: true",
        "skipDockerConfig: true, parallel: 1",
    );
    let text = text.replace(
        "type: repository",
        "type: repository, tags: {allow: [large]}",
    );
    let mut program = terminal(Program::new(&text, &["once"]));
    let mut terminal = Terminal::start(&mut program, 24, 120);
    bench.target.held().await;
    let name = format!("/3.00 MiB {}/app sha256:", bench.target.address());
    terminal.until(&name);
    terminal.until("under way");
    bench.target.release();
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        !shown.contains("/3.00 MiB"),
        "the bar is still there:\n{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_progress_is_drawn_where_none_is_wanted() {
    for (arguments, variables) in [
        (&["once", "--no-progress"][..], &[("TERM", "xterm")][..]),
        (&["once", "-q"], &[("TERM", "xterm")]),
        (&["once", "-v", "debug"], &[("TERM", "xterm")]),
        (&["once"], &[("TERM", "dumb")]),
    ] {
        let bench = held().await;
        let mut program = bench.program(&[ALL], arguments);
        program.command.envs(variables.iter().copied());
        let mut terminal = Terminal::start(&mut program, 24, 200);
        bench.target.held().await;
        bench.target.release();
        // Whatever was drawn, whether it is still to be seen or not.
        let mut all = Vec::new();
        while let Ok(bytes) = terminal.bytes.recv_timeout(Duration::from_secs(30)) {
            all.extend(bytes);
        }
        assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
        let all = String::from_utf8_lossy(&all);
        assert!(!all.contains(" tags, "), "{arguments:?}: {all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_terminal_or_one_without_a_size_breaks_nothing() {
    for columns in [0, 1, 5, 20] {
        let bench = held().await;
        let arguments = ["once", "--color", "always"];
        let mut program = terminal(bench.program(&[ALL], &arguments));
        let terminal = Terminal::start(&mut program, 24, columns);
        bench.target.held().await;
        bench.target.release();
        let (code, shown) = terminal.end();
        assert_eq!(code, Some(0), "{columns}: {shown}");
        if columns == 20 {
            assert!(shown.contains("app: copied 2, uncha"), "{shown}");
        }
    }
}
