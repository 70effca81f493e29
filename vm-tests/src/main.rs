// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vm`: obtains what the VM tests need, and runs a script in a guest by hand.

use std::process::ExitCode;
use std::time::Instant;
use std::{env, fs};

use vm_tests::{Artifacts, Guest, Kernel, Program, QemuRelease};

const USAGE: &str = "\
usage: vm fetch
       vm report
       vm run [--kernel 6.1|6.12|newest] [--qemu stable|backports] [--with PROGRAM]... SCRIPT

fetch obtains kernels, clients and QEMU into target/vm. report writes docs/interoperability.md from
the results of the last runs, and fails where a test failed or was not run. run boots a guest, runs the shell script and
ends with its exit code; `step NAME COMMAND...` and its siblings are in vm-tests/guest/lib.";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["fetch"] => fetch(),
        ["report"] => report(),
        ["run", rest @ ..] => run(rest),
        _ => Err(USAGE.to_owned()),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

fn fetch() -> Result<ExitCode, String> {
    let artifacts = Artifacts::of_workspace();
    let from = Instant::now();
    artifacts.fetch_all(|part| println!("{part}")).map_err(|error| error.to_string())?;
    println!("all in {} after {:.1} s", artifacts.folder().display(), from.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

fn report() -> Result<ExitCode, String> {
    let artifacts = Artifacts::of_workspace();
    let (page, passed) = vm_tests::page(artifacts.folder()).map_err(|error| error.to_string())?;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/interoperability.md");
    fs::write(path, &page).map_err(|error| format!("{path}: {error}"))?;
    let table = page.lines().filter(|line| line.starts_with('|'));
    table.for_each(|line| println!("{line}"));
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(words: &[&str]) -> Result<ExitCode, String> {
    let mut guest = Guest::builder("by-hand");
    let mut words = words.iter();
    let mut script = None;
    while let Some(word) = words.next() {
        let mut value = || words.next().copied().ok_or_else(|| format!("{word} needs a value"));
        match *word {
            "--kernel" => {
                guest = guest.kernel(match value()? {
                    "6.1" => Kernel::V6_1,
                    "6.12" => Kernel::V6_12,
                    "newest" => Kernel::Newest,
                    other => return Err(format!("no kernel {other}\n{USAGE}")),
                });
            }
            "--qemu" => {
                guest = guest.qemu(match value()? {
                    "stable" => QemuRelease::Stable,
                    "backports" => QemuRelease::Backports,
                    other => return Err(format!("no QEMU {other}\n{USAGE}")),
                });
            }
            "--with" => {
                let program = Program::find(value()?).map_err(|error| error.to_string())?;
                guest = guest.program(program.path());
            }
            file => script = Some(file),
        }
    }
    let file = script.ok_or(USAGE)?;
    let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let outcome = guest.script(&text).run().map_err(|error| error.to_string())?;
    print!("{}", outcome.log);
    println!("(exit {} after {:.1} s)", outcome.exit, outcome.elapsed.as_secs_f64());
    Ok(ExitCode::from(u8::try_from(outcome.exit).unwrap_or(1)))
}
