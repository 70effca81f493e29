// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tty-answer FILE COMMAND...`: runs a command on a terminal of its own and answers its prompts
//! with the lines of FILE, for clients that take passwords from a terminal only.
//!
//! A prompt is output that pauses after a colon or a question mark. Exits with the command's code; with 97 when it
//! asked more than FILE answers, 98 when it asked less, 99 when it took too long or did not start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

const LIMIT: Duration = Duration::from_secs(60);
/// A prompt is not followed by more output for so long, in milliseconds.
const PAUSE: u16 = 200;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, command @ ..] = arguments.as_slice() else {
        eprintln!("usage: tty-answer FILE COMMAND...");
        return ExitCode::from(99);
    };
    match run(file, command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("tty-answer: {error}");
            ExitCode::from(99)
        }
    }
}

fn run(file: &str, command: &[String]) -> io::Result<u8> {
    let text = fs::read_to_string(file)?;
    let mut answers = text.lines();
    let (mut terminal, mut child) = start(command)?;
    let from = Instant::now();
    let mut unanswered = Vec::new();
    let code = loop {
        if from.elapsed() > LIMIT {
            stop(&mut child);
            eprintln!("tty-answer: the command did not end within {LIMIT:?}");
            return Ok(99);
        }
        let mut ready = [PollFd::new(terminal.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(PAUSE))? > 0 {
            let mut buffer = [0; 1024];
            // EIO: nobody has the terminal open any more.
            let count = terminal.read(&mut buffer).unwrap_or(0);
            let output = buffer.get(..count).unwrap_or_default();
            io::stdout().write_all(output)?;
            unanswered.extend_from_slice(output);
            if count > 0 {
                continue;
            }
        }
        if let Some(status) = child.try_wait()? {
            let signal = status.signal().map(|signal| signal + 128);
            break status.code().or(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(99);
        }
        if matches!(unanswered.trim_ascii_end().last(), Some(b':' | b'?')) {
            unanswered.clear();
            let Some(answer) = answers.next() else {
                stop(&mut child);
                eprintln!("tty-answer: the command asks more than {file} answers");
                return Ok(97);
            };
            terminal.write_all(format!("{answer}\n").as_bytes())?;
        } else {
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    io::stdout().flush()?;
    if code == 0 && answers.next().is_some() {
        eprintln!("tty-answer: the command asked less than {file} answers");
        return Ok(98);
    }
    Ok(code)
}

/// Starts the command on a new terminal, which controls its session.
fn start(command: &[String]) -> io::Result<(File, Child)> {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let open = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlag::O_NOCTTY.bits())
            .open(ptsname_r(&master)?)
    };
    let child = Command::new("setsid")
        .arg("-c")
        .args(command)
        .stdin(Stdio::from(open()?))
        .stdout(Stdio::from(open()?))
        .stderr(Stdio::from(open()?))
        .spawn()?;
    let terminal = File::from(master.as_fd().try_clone_to_owned()?);
    Ok((terminal, child))
}

fn stop(child: &mut Child) {
    // Both fail only when it has ended already.
    let _ = child.kill();
    let _ = child.wait();
}
