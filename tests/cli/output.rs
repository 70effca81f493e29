// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots of everything that the command prints.

use crate::machine::{Machine, Run, opalbox};

/// Every command's help, short and long.
#[test]
fn help() {
    let mut text = String::new();
    let mut todo = vec![Vec::new()];
    while let Some(command) = todo.pop() {
        let output = opalbox().args(&command).arg("-h").output().unwrap();
        assert!(output.status.success(), "{command:?}");
        let page = String::from_utf8(output.stdout).unwrap();
        text.push_str(&format!("$ opalbox {} -h\n{page}\n", command.join(" ")));
        let mut below: Vec<Vec<String>> = subcommands(&page)
            .map(|name| command.iter().cloned().chain([name.to_owned()]).collect())
            .collect();
        below.reverse();
        todo.extend(below);
    }
    insta::assert_snapshot!("help", text);
    let long = opalbox().arg("--help").output().unwrap();
    insta::assert_snapshot!("help-long", String::from_utf8(long.stdout).unwrap());
}

fn subcommands(page: &str) -> impl Iterator<Item = &str> {
    page.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
}

/// A drive's life, as tables and as JSON.
#[test]
fn tables_and_json() {
    let Some(machine) = Machine::without_lockbox() else { return };
    let drive = machine.drive("SNAP0001");
    let device = drive.device();
    let tcti = machine.tpm.tcti();
    let mut transcript = Transcript::new(&machine);
    transcript.run(&["lockbox", "init", "--pcrs", "7", "--tcti", &tcti]);
    transcript.both(&["lockbox", "status"]);
    transcript.both(&["lockbox", "check"]);
    transcript.both(&["drive", "list", &device]);
    transcript.both(&["drive", "show", &device]);
    transcript.both(&["drive", "doctor", &device]);
    let provision = ["drive", "provision", &device, "--range", "0+8M"];
    transcript.both(&[&provision[..], &["--plan"]].concat());
    transcript.both(&[&provision[..], &["--yes-erase", "SNAP0001"]].concat());
    transcript.both(&["drive", "doctor", &device]);
    transcript.both(&["drive", "verify", &device]);
    let create = ["range", "create", &device, "2", "8M+8M"];
    transcript.both(&[&create[..], &["--plan"]].concat());
    transcript.run(&[&create[..], &["--yes-erase", "SNAP0001"]].concat());
    transcript.both(&["range", "list", &device]);
    drive.power_cycle();
    transcript.both(&["drive", "list"]);
    transcript.both(&["unlock"]);
    transcript.both(&["range", "lock", &device, "1"]);
    transcript.both(&["range", "unlock", &device]);
    let erase = ["range", "erase", &device, "2"];
    transcript.both(&[&erase[..], &["--plan"]].concat());
    transcript.both(&[&erase[..], &["--yes-erase", "SNAP0001"]].concat());
    transcript.both(&["key", "show"]);
    let keys = machine.json(&["key", "show"]);
    let key = keys["keys"][0]["key_id"].as_str().unwrap()[..12].to_owned();
    transcript.both(&["key", "show", &key]);
    transcript.both(&["lockbox", "status"]);
    transcript.both(&["lockbox", "check"]);
    transcript.run(&["-v", "drive", "verify", &device]);
    transcript.run(&["-vv", "unlock"]);
    let revert = ["drive", "revert", &device];
    transcript.both(&[&revert[..], &["--plan"]].concat());
    transcript.run(&[&revert[..], &["--yes-erase", "SNAP0001"]].concat());
    transcript.both(&["key", "show"]);
    transcript.both(&["unlock"]);
    insta::assert_snapshot!("life", transcript.text);
}

/// Errors and what to do next.
#[test]
fn errors() {
    let Some(machine) = Machine::without_lockbox() else { return };
    let drive = machine.drive("SNAP0002");
    let device = drive.device();
    let tcti = machine.tpm.tcti();
    let mut transcript = Transcript::new(&machine);
    transcript.both(&["lockbox", "status"]);
    transcript.run(&["unlock"]);
    transcript.run(&["drive", "provision", &device, "--yes-erase", "SNAP0002"]);
    transcript.run(&["key", "show"]);
    machine.opalbox(&["lockbox", "init", "--pcrs", "7", "--tcti", &tcti]).ok();
    transcript.both(&["lockbox", "init", "--pcrs", "7", "--tcti", &tcti]);
    transcript.run(&["lockbox", "status", "--tcti", "nonsense"]);
    transcript.run(&["lockbox", "check", "--tcti", "swtpm:host=127.0.0.1,port=1"]);
    transcript.both(&["unlock"]);
    for device in ["sda", "sim:", "sim:gone", "/dev/null", "/dev/opalbox-gone", "/dev"] {
        transcript.run(&["drive", "show", device]);
    }
    transcript.both(&["drive", "list", "sim:gone"]);
    transcript.both(&["unlock", "sim:gone"]);
    transcript.run(&["drive", "verify", &device]);
    transcript.run(&["range", "list", &device]);
    transcript.run(&["range", "unlock", &device]);
    transcript.run(&["unlock", &device]);
    for extent in ["", "1", "1+1", "8+8", "0+128M", "9M", "0+0", "0+x"] {
        transcript.run(&["drive", "provision", &device, "--range", extent]);
    }
    transcript.run(&["drive", "provision", &device, "--user", "99"]);
    transcript.run(&["drive", "provision", &device, "--no-range", "--user", "1"]);
    transcript.run(&["range", "create", &device, "0", "0+8M"]);
    transcript.both(&["drive", "provision", &device]);
    transcript.run(&["drive", "provision", &device, "--yes-erase", "ANOTHER"]);
    let provision = ["drive", "provision", &device, "--range", "0+8M", "--yes-erase", "SNAP0002"];
    machine.opalbox(&provision).ok();
    transcript.run(&["drive", "provision", &device, "--range", "0+16M"]);
    transcript.run(&["range", "create", &device, "2", "4M+8M"]);
    transcript.run(&[
        "range",
        "create",
        &device,
        "99",
        "8M+8M",
        "--user",
        "1",
        "--yes-erase",
        "SNAP0002",
    ]);
    transcript.run(&["range", "unlock", &device, "7"]);
    transcript.run(&["key", "show", "zz"]);
    transcript.both(&["drive", "revert", &device, "--psid"]);
    transcript.run(&["drive", "revert", &device, "--psid", "--yes-erase", "SNAP0002"]);
    transcript.run(&["drive"]);
    transcript.run(&["drive", "format"]);
    transcript.run(&["unlock", "--trace-wire", "/nonexistent/trace", &device]);
    insta::assert_snapshot!("errors", transcript.text);
}

#[test]
fn no_colours_and_no_control_characters_without_a_terminal() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("SNAP0003");
    let device = drive.device();
    let plain = |text: &str| text.chars().all(|c| c == '\n' || !c.is_control());
    let run = machine.opalbox(&["-vv", "drive", "provision", &device, "--yes-erase", "SNAP0003"]);
    assert!(run.err.contains("INFO") && run.err.contains("Activate"), "{}", run.err);
    assert!(plain(&run.err) && plain(&run.out), "{run:?}");
    let run = machine.opalbox(&["-v", "--color", "always", "drive", "provision", &device]).ok();
    assert!(run.err.contains("\u{1b}["), "{:?}", run.err);
    let run = machine.opalbox(&["-v", "--color", "never", "drive", "provision", &device]).ok();
    assert!(plain(&run.err), "{:?}", run.err);
}

/// Commands with what they said, in words that are the same on every machine.
struct Transcript<'a> {
    machine: &'a Machine,
    text: String,
}

impl<'a> Transcript<'a> {
    fn new(machine: &'a Machine) -> Self {
        Self { machine, text: String::new() }
    }

    /// Both forms; the second time everything is done already.
    fn both(&mut self, arguments: &[&str]) {
        self.run(arguments);
        let document = self.run(&[arguments, &["-o", "json"]].concat()).document();
        assert_eq!(document["version"], 1);
    }

    fn run(&mut self, arguments: &[&str]) -> Run {
        let run = self.machine.opalbox(arguments);
        self.text.push_str(&format!("$ opalbox {}\n", self.tidy(&arguments.join(" "))));
        self.text.push_str(&self.tidy(&run.out));
        for line in self.tidy(&run.err).lines() {
            self.text.push_str(&format!("! {line}\n"));
        }
        let code = run.code.unwrap();
        self.text.push_str(&if code == 0 { "\n".into() } else { format!("exit {code}\n\n") });
        run
    }

    /// Replaces what differs from run to run by something of the same length.
    fn tidy(&self, text: &str) -> String {
        let folder = self.machine.path().to_str().unwrap();
        let (stable, _) = folder.split_at(folder.len() - 6);
        let text = text.replace(folder, &format!("{stable}XXXXXX"));
        let port = self.machine.tpm.tcti();
        let port = port.rsplit('=').next().unwrap();
        let text =
            text.replace(&format!("port={port}"), &format!("port={}", "9".repeat(port.len())));
        hide_hex(&text)
    }
}

/// Key IDs, tags and node IDs: runs of 12 and more hexadecimal digits with a digit and a letter. The
/// TPM's handles, which are chosen at random.
fn hide_hex(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_hexdigit() && !c.is_ascii_uppercase() {
            word.push(c);
            continue;
        }
        let random = word.len() >= 12
            && word.len() <= 64
            && word.bytes().any(|b| b.is_ascii_digit())
            && word.bytes().any(|b| b.is_ascii_lowercase());
        out.push_str(&if random { "x".repeat(word.len()) } else { std::mem::take(&mut word) });
        word.clear();
        out.push(c);
    }
    out.pop();
    for marker in ["\"0x01"] {
        let places: Vec<usize> =
            out.match_indices(marker).map(|(at, _)| at + marker.len()).collect();
        for at in places {
            out.replace_range(at..at + 6, "xxxxxx");
        }
    }
    out
}
