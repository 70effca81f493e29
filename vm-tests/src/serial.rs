// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's second serial line: the script's output, and marks by which it is told apart.
//!
//! A mark is the RS character (1Eh), a word and its arguments up to the end of the line:
//! `up KERNEL`, `step EXPECTATION NAME`, `done CODE FROM TO`, `host WORDS`, `exit CODE`.

use std::io::{Read, Write};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use crate::guest::{Expectation, HostCalls, Step};

/// Output beyond this is dropped, and said so: a runaway script must not fill the host's memory.
const LOG_LIMIT: usize = 16 << 20;
const MARK: char = '\u{1e}';

/// What the main thread waits for.
#[derive(Debug)]
pub(crate) enum Event {
    Up,
    Exit(i32),
    Closed,
}

/// Everything said so far; readable while the guest runs.
#[derive(Debug, Default, Clone)]
pub(crate) struct Transcript {
    pub(crate) kernel: String,
    pub(crate) log: String,
    pub(crate) steps: Vec<Step>,
    open: bool,
}

pub(crate) type Shared = Arc<Mutex<Transcript>>;

/// A copy of what is shared; a panicking reader does not lose the log.
pub(crate) fn snapshot(shared: &Shared) -> Transcript {
    shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Follows the line until it closes, answering calls to the host.
pub(crate) fn follow<S: Read + Write>(
    mut line: S,
    shared: &Shared,
    events: &Sender<Event>,
    calls: &mut HostCalls,
) {
    let mut pending: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = match line.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        pending.extend(buffer.iter().take(count));
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let text: Vec<u8> = pending.drain(..=end).collect();
            let text = String::from_utf8_lossy(&text).trim_end_matches(['\n', '\r']).to_owned();
            if let Some(call) = take(&text, shared, events) {
                let answer = match calls(&call) {
                    Ok(words) => format!("0 {}\n", words.replace('\n', " ")),
                    Err(words) => format!("1 {}\n", words.replace('\n', " ")),
                };
                append(shared, &format!("   host: {call} -> {answer}"));
                if line.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
        if pending.len() > 1 << 16 {
            append(shared, &String::from_utf8_lossy(&pending));
            pending.clear();
        }
    }
    append(shared, &String::from_utf8_lossy(&pending));
    // Nobody may be waiting any more.
    let _ = events.send(Event::Closed);
}

/// Files one line; returns a call to the host if it is one.
fn take(text: &str, shared: &Shared, events: &Sender<Event>) -> Option<String> {
    let Some((before, mark)) = text.split_once(MARK) else {
        append(shared, &format!("{text}\n"));
        return None;
    };
    if !before.is_empty() {
        append(shared, &format!("{before}\n"));
    }
    let (word, rest) = mark.split_once(' ').unwrap_or((mark, ""));
    match word {
        "host" => return Some(rest.to_owned()),
        "up" => {
            shared.lock().unwrap_or_else(PoisonError::into_inner).kernel = rest.to_owned();
            let _ = events.send(Event::Up);
        }
        "exit" => {
            let _ = events.send(Event::Exit(rest.trim().parse().unwrap_or(-1)));
        }
        "step" => begin(shared, rest),
        "done" => end(shared, rest),
        _ => append(shared, &format!("(unknown mark) {mark}\n")),
    }
    None
}

fn begin(shared: &Shared, rest: &str) {
    let (expectation, name) = rest.split_once(' ').unwrap_or(("any", rest));
    let expectation = match expectation {
        "passes" => Expectation::Passes,
        "fails" => Expectation::Fails,
        _ => Expectation::Any,
    };
    let mut transcript = shared.lock().unwrap_or_else(PoisonError::into_inner);
    transcript.log.push_str(&format!("== {name}\n"));
    transcript.open = true;
    transcript.steps.push(Step {
        name: name.to_owned(),
        expectation,
        exit: None,
        output: String::new(),
        seconds: 0.0,
    });
}

fn end(shared: &Shared, rest: &str) {
    let mut words = rest.split_whitespace();
    let code = words.next().and_then(|word| word.parse().ok()).unwrap_or(-1);
    let mut time = || words.next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
    let from = time();
    let seconds = time() - from;
    let mut transcript = shared.lock().unwrap_or_else(PoisonError::into_inner);
    transcript.open = false;
    if let Some(step) = transcript.steps.last_mut() {
        step.exit = Some(code);
        step.seconds = seconds;
        let verdict = if step.passed() { "ok" } else { "NOT AS EXPECTED" };
        let line = format!("-- {verdict}, exit {code}, {seconds:.2} s\n");
        transcript.log.push_str(&line);
    }
}

fn append(shared: &Shared, text: &str) {
    let mut transcript = shared.lock().unwrap_or_else(PoisonError::into_inner);
    if transcript.log.len() > LOG_LIMIT {
        return;
    }
    transcript.log.push_str(text);
    if transcript.log.len() > LOG_LIMIT {
        transcript.log.push_str("\n(the rest of the output is dropped)\n");
    }
    if transcript.open
        && let Some(step) = transcript.steps.last_mut()
    {
        step.output.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::mpsc;

    /// Reads from a script, keeps what is written.
    struct Line(io::Cursor<Vec<u8>>, Vec<u8>);

    impl Read for Line {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            // Small pieces, as a serial line gives them.
            let end = buffer.len().min(3);
            self.0.read(&mut buffer[..end])
        }
    }

    impl Write for Line {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.1.extend_from_slice(data);
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn output_is_divided_into_steps_and_calls_are_answered() {
        let said = "\u{1e}up 6.12\nhello\n\u{1e}step passes a b\nout\nno newline\u{1e}done 0 1.5 2.0\n\
                    \u{1e}host power-cycle now\n\u{1e}step fails c\n\u{1e}done 0 2 2\n\u{1e}exit 99\n";
        let shared = Shared::default();
        let (sender, events) = mpsc::channel();
        let mut line = Line(io::Cursor::new(said.as_bytes().to_vec()), Vec::new());
        let mut calls: HostCalls = Box::new(|call| {
            assert_eq!(call, "power-cycle now");
            Err("refused".to_owned())
        });
        follow(&mut line, &shared, &sender, &mut calls);
        let transcript = snapshot(&shared);
        assert_eq!(transcript.kernel, "6.12");
        assert_eq!(line.1, b"1 refused\n");
        let [first, second] = transcript.steps.as_slice() else { panic!("two steps") };
        assert_eq!((first.name.as_str(), first.output.as_str()), ("a b", "out\nno newline\n"));
        assert!(first.passed() && (first.seconds - 0.5).abs() < 1e-9);
        assert!(!second.passed(), "a refusal that was expected did not come");
        let events: Vec<String> = events.try_iter().map(|event| format!("{event:?}")).collect();
        assert_eq!(events, ["Up", "Exit(99)", "Closed"]);
    }
}
