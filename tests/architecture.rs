// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may use what: the table of `docs/architecture.md`, asserted over the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// One row of the table: files under `who` must not mention any of `forbidden`.
struct Rule {
    who: &'static str,
    forbidden: &'static [&'static str],
    except: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        who: "opal/src",
        forbidden: &["std::", "libc::", "serde", "getrandom", "opalbox::", "Instant", "SystemTime"],
        except: &[],
        why: "vendors embed it: no std, no I/O, no clock, no random source, nothing of src",
    },
    Rule {
        who: "src/transport",
        forbidden: &["crate::manager", "crate::lockbox", "crate::cli", "crate::drive"],
        except: &[],
        why: "a transport carries bytes",
    },
    Rule {
        who: "src/lockbox",
        forbidden: &["crate::drive", "crate::transport", "crate::manager", "crate::cli", "opal::"],
        except: &[],
        why: "the lockbox keeps opaque records",
    },
    Rule {
        who: "src/software",
        forbidden: &["opal::", "crate::lockbox", "crate::manager", "crate::drive", "crate::cli"],
        except: &[],
        why: "plain XTS and LUKS2, tested by public vectors",
    },
    Rule {
        who: "src/emulator",
        forbidden: &[
            "crate::transport",
            "crate::manager",
            "crate::lockbox",
            "crate::drive",
            "opal::host",
            "opal::exchange",
        ],
        except: &[],
        why: "or tests would check code with itself",
    },
    Rule {
        who: "src/rotation/machine.rs",
        forbidden: &["std::time", "std::thread", "std::fs", "std::net", "rusqlite", "etcd"],
        except: &[],
        why: "explored exhaustively by simulation",
    },
    Rule {
        who: "src",
        forbidden: &[
            "println!",
            "eprintln!",
            "print!(",
            "process::exit",
            "env::var",
            "stdin()",
            "stdout()",
            "rpassword",
        ],
        except: &["src/cli", "src/main.rs", "src/bin"],
        why: "only cli and the programs print, read a terminal, exit or read the environment",
    },
    Rule {
        who: "src",
        forbidden: &["unsafe {", "unsafe fn", "unsafe impl"],
        except: UNSAFE_MODULES,
        why: "each module with unsafe code is listed in docs/architecture.md",
    },
    Rule { who: "opal/src", forbidden: &["unsafe "], except: &[], why: "the protocol needs none" },
    Rule {
        who: "vm-tests",
        forbidden: &["use opalbox", "opalbox::", "use opal::"],
        except: &[],
        why: "it runs the built programs",
    },
];

/// The modules that opt in to unsafe code.
const UNSAFE_MODULES: &[&str] = &["src/transport/sys.rs", "src/secret", "src/software/xts"];

#[test]
fn layers_use_only_what_they_may() {
    let mut violations = Vec::new();
    let mut checked = 0;
    for rule in RULES {
        for file in sources(&root().join(rule.who)) {
            let name = relative(&file);
            if rule.except.iter().any(|except| name.starts_with(except)) {
                continue;
            }
            checked += 1;
            let text = fs::read_to_string(&file).expect("a source file is readable");
            for (number, line) in code_lines(&text) {
                for word in rule.forbidden.iter().filter(|word| mentions(line, word)) {
                    violations.push(format!("{name}:{number}: `{word}` ({})", rule.why));
                }
            }
        }
    }
    assert!(checked > 100, "only {checked} files were looked at: has the layout changed?");
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn unsafe_modules_are_listed_in_the_documentation() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).expect("the page is there");
    for module in UNSAFE_MODULES {
        assert!(page.contains(module.trim_start_matches("src/")), "{module} is not listed");
    }
}

#[test]
fn every_source_file_names_its_licence() {
    let mut files = sources(&root().join("src"));
    for folder in ["opal/src", "tests", "vm-tests/src", "examples"] {
        files.extend(sources(&root().join(folder)));
    }
    let without: Vec<_> = files
        .iter()
        .filter(|file| {
            let text = fs::read_to_string(file).expect("a source file is readable");
            !text.starts_with("// SPDX-License-Identifier: MIT OR Apache-2.0\n")
        })
        .map(|file| relative(file))
        .collect();
    assert!(without.is_empty(), "no licence line: {without:?}");
}

#[test]
fn the_checker_sees_a_violation() {
    assert!(mentions("use opal::host;", "opal::"));
    assert!(!mentions("use tcg_opal::x; // fine", "opal::"), "part of another word");
    let text =
        "//! opal:: in a comment\nfn f() {} // opal::\n#[cfg(test)]\nmod t { use std::x; }\n";
    let lines: Vec<_> = code_lines(text).map(|(_, line)| line).collect();
    assert_eq!(lines, ["fn f() {} "]);
}

/// `word` in `line`, not as the tail of a longer path or name.
fn mentions(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// Numbered lines of code: no comments, nothing from the unit tests at a file's end on.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}

fn sources(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // `foo.rs` belongs to the folder `foo`.
    let with_extension = path.with_extension("rs");
    if with_extension.is_file() {
        found.push(with_extension);
    }
    let Ok(entries) = fs::read_dir(path) else { return found };
    for entry in entries {
        let path = entry.expect("a folder entry is readable").path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            found.extend(
                sources(&path).into_iter().filter(|file| *file != path.with_extension("rs")),
            );
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
