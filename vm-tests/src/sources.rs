// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads this machine's own apt sources, so that no archive is ever named here.
//!
//! Both forms are understood: deb822 (`*.sources`) and one line each (`*.list`). What is wanted from
//! them is only where the Debian archive is and which key signs it; suites are replaced.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// One archive that this machine trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    uris: String,
    suites: Vec<String>,
    components: String,
    signed_by: Option<String>,
}

/// Suites whose archives are Debian's own, by the names a Debian machine may be configured with.
const DEBIAN: [&str; 8] =
    ["bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable"];

impl Source {
    /// Whether this is one of Debian's two archives, and then whether it is the security one.
    fn debian(&self) -> Option<bool> {
        let base = |suite: &String| suite.split(['-', '/']).next().map(str::to_owned);
        let known =
            self.suites.iter().filter_map(base).any(|suite| DEBIAN.contains(&suite.as_str()));
        let main = self.components.split_whitespace().any(|component| component == "main");
        (known && main).then(|| self.suites.iter().any(|suite| suite.contains("-security")))
    }
}

/// Every source configured below `etc` (normally `/etc/apt`).
pub(crate) fn read(etc: &Path) -> Vec<Source> {
    let mut files = vec![etc.join("sources.list")];
    if let Ok(folder) = fs::read_dir(etc.join("sources.list.d")) {
        files.extend(folder.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => sources.extend(deb822(&text)),
            Some("list") => sources.extend(text.lines().filter_map(one_line)),
            _ => {}
        }
    }
    sources
}

/// A deb822 file for `suites` on the Debian archives among `sources`; `None` if there are none.
///
/// Without a security archive the suites that end in `-security` are left out.
pub(crate) fn with_suites(sources: &[Source], suites: &[&str]) -> Option<String> {
    let mut text = String::new();
    for security in [false, true] {
        let Some(source) = sources.iter().find(|source| source.debian() == Some(security)) else {
            continue;
        };
        let wanted: Vec<&str> = suites
            .iter()
            .copied()
            .filter(|suite| suite.ends_with("-security") == security)
            .collect();
        if wanted.is_empty() {
            continue;
        }
        let _ = write!(
            text,
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: main\n",
            source.uris,
            wanted.join(" ")
        );
        if let Some(key) = &source.signed_by {
            let _ = writeln!(text, "Signed-By: {key}");
        }
        text.push('\n');
    }
    text.contains("URIs").then_some(text)
}

fn deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            sources.extend(stanza(&fields));
            fields.clear();
        } else if line.starts_with([' ', '\t']) {
            // A folded value: an inline key, for instance, is kept line by line.
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sources
}

fn stanza(fields: &[(String, String)]) -> Option<Source> {
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, v)| v.clone());
    let enabled = field("enabled").is_none_or(|value| value != "no" && value != "false");
    let binary = field("types").is_none_or(|types| types.split_whitespace().any(|t| t == "deb"));
    (enabled && binary).then_some(())?;
    Some(Source {
        uris: field("uris")?,
        suites: field("suites")?.split_whitespace().map(str::to_owned).collect(),
        components: field("components").unwrap_or_default(),
        signed_by: field("signed-by"),
    })
}

fn one_line(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => ("", rest),
    };
    let signed_by = options
        .split_whitespace()
        .find_map(|option| option.strip_prefix("signed-by="))
        .map(str::to_owned);
    let mut words = rest.split('#').next()?.split_whitespace();
    Some(Source {
        uris: words.next()?.to_owned(),
        suites: vec![words.next()?.to_owned()],
        components: words.collect::<Vec<_>>().join(" "),
        signed_by,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODERN: &str = "\
Types: deb\n# a mirror\nURIs: http://archive.invalid/debian\nSuites: bookworm bookworm-updates\n\
Components: main contrib\nSigned-By: /usr/share/keyrings/key.gpg\n\n\
Types: deb\nURIs: http://archive.invalid/sec\nSuites: bookworm-security\nComponents: main\n\n\
Types: deb\nURIs: http://other.invalid\nSuites: nodistro\nComponents: main\n";

    #[test]
    fn deb822_suites_are_replaced_per_archive() {
        let text = with_suites(&deb822(MODERN), &["trixie", "trixie-security", "trixie-backports"])
            .unwrap();
        assert_eq!(
            text,
            "Types: deb\nURIs: http://archive.invalid/debian\nSuites: trixie trixie-backports\n\
             Components: main\nSigned-By: /usr/share/keyrings/key.gpg\n\n\
             Types: deb\nURIs: http://archive.invalid/sec\nSuites: trixie-security\n\
             Components: main\n\n"
        );
    }

    #[test]
    fn one_line_sources_keep_their_key() {
        let line = "deb [arch=amd64 signed-by=/k.gpg] http://a.invalid/debian trixie main # words";
        let source = one_line(line).unwrap();
        assert_eq!(source.signed_by.as_deref(), Some("/k.gpg"));
        assert_eq!(source.components, "main");
        assert_eq!(source.debian(), Some(false));
        assert_eq!(one_line("deb-src http://a.invalid/debian trixie main"), None);
        assert_eq!(one_line("# deb http://a.invalid/debian trixie main"), None);
    }

    #[test]
    fn foreign_and_disabled_archives_are_not_taken() {
        assert_eq!(with_suites(&[], &["trixie"]), None);
        let disabled = MODERN.replace("Types: deb\n", "Types: deb\nEnabled: no\n");
        assert_eq!(with_suites(&deb822(&disabled), &["trixie"]), None);
        let foreign = deb822(MODERN).pop().unwrap();
        assert_eq!(foreign.debian(), None);
    }
}
