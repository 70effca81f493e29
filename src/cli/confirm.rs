// SPDX-License-Identifier: MIT OR Apache-2.0
//! Destruction wants the drive's serial typed.

use std::io::{BufRead, IsTerminal, Write};

use super::exit::{Exit, Failure};

/// Asks for `serial` before data is lost, unless `--yes-erase` already named it.
///
/// # Errors
/// Something else was typed, `--yes-erase` names another drive, or there is no terminal to ask on.
pub(crate) fn destruction(
    serial: &str,
    losses: &[String],
    yes_erase: Option<&str>,
) -> Result<(), Failure> {
    match yes_erase.map(str::trim) {
        Some(given) if given == serial.trim() => return Ok(()),
        Some(given) => {
            return Err(Failure::new(
                Exit::NotConfirmed,
                format!("--yes-erase names {given}, but this drive is {}", serial.trim()),
            )
            .advise("check that this is the drive you mean"));
        }
        None => {}
    }
    let mut words = std::io::stderr();
    writeln!(words, "This destroys data on the drive with serial {}:", serial.trim())?;
    for loss in losses {
        writeln!(words, "  - {loss}")?;
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::new(
            Exit::NotConfirmed,
            "destruction was not confirmed: there is no terminal to ask on",
        )
        .advise(format!("run it with --yes-erase {}", serial.trim())));
    }
    write!(words, "Type the serial to go on: ")?;
    words.flush()?;
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    if line.trim() == serial.trim() {
        Ok(())
    } else {
        Err(Failure::new(Exit::NotConfirmed, "that is not the serial; nothing was changed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_serial_counts() {
        assert!(destruction("S1", &[], Some("S1")).is_ok());
        let wrong = destruction("S1", &[], Some("S2")).unwrap_err();
        assert_eq!(wrong.exit, Exit::NotConfirmed);
    }
}
