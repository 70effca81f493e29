// SPDX-License-Identifier: MIT OR Apache-2.0
//! XTS of this project against other libraries and against the limit of the AES unit.
//!
//! Everything runs in one process on the same buffers, turn by turn, so that clock changes and
//! neighbours hit all alike; only ratios within one run mean anything. Prints a table and writes
//! `target/bench/xts.json`. With `--check` the numbers the project promises are enforced where
//! the processor is one they are promised for.

mod clock;
mod limit;
mod measure;
mod peers;
mod report;

use std::process::ExitCode;

use measure::Case;

fn main() -> ExitCode {
    let check = std::env::args().any(|argument| argument == "--check");
    let quick = std::env::args().any(|argument| argument == "--quick");
    let mut rows = Vec::new();
    println!("{}", report::header());
    for case in Case::all(quick) {
        let row = measure::run(case);
        println!("{}", report::line(&row));
        rows.push(row);
    }
    if let Err(error) = report::write_json(&rows) {
        eprintln!("target/bench/xts.json was not written: {error}");
        return ExitCode::FAILURE;
    }
    let missed = report::missed(&rows);
    for it in &missed {
        println!("below the promise: {it}");
    }
    if check && !missed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
