// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table, the JSON file, and the numbers the project promises.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::measure::{Case, Row};

pub fn header() -> String {
    format!(
        "{:>4} {:>6} {:>8} {:>4} {:>3} {:>5} {:>7} {:>8} {:>7}   cycles a byte",
        "bits", "sector", "buffer", "", "thr", "GHz", "of lim", "vs peer", "GB/s"
    )
}

pub fn line(row: &Row) -> String {
    let Case { key_bits, sector, buffer, cold, threads, .. } = row.case;
    let temperature = if cold { "cold" } else { "warm" };
    let mut line = format!(
        "{key_bits:>4} {sector:>6} {:>5}KiB {temperature} {threads:>3} {:>5.2} {:>7.3} {:>8.2} {:>7.1}   limit {:.4}",
        buffer >> 10,
        row.gigahertz,
        row.of_limit(),
        row.vs_best_peer(),
        row.gigahertz / row.best() * threads as f64,
        row.limit,
    );
    for (name, cycles) in row.ours.iter().chain(&row.peers) {
        line += &format!("  {name} {cycles:.4}");
    }
    line
}

pub fn write_json(rows: &[Row]) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    std::fs::create_dir_all(&folder)?;
    let map = |list: &[(&'static str, f64)]| -> Value {
        list.iter().map(|(name, cycles)| (name.to_string(), json!(cycles))).collect()
    };
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "key_bits": row.case.key_bits,
                "sector": row.case.sector,
                "buffer": row.case.buffer,
                "cold": row.case.cold,
                "threads": row.case.threads,
                "ours": row.best(),
                "backends": map(&row.ours),
                "peers": map(&row.peers),
                "limit": row.limit,
                "of_limit": row.of_limit(),
                "vs_best_peer": row.vs_best_peer(),
                "ghz": row.gigahertz,
            })
        })
        .collect();
    let report = json!({ "version": 1, "unit": "core cycles a byte, each thread", "rows": rows });
    std::fs::write(folder.join("xts.json"), format!("{report:#}\n"))
}

/// What is below the promise. Promises hold where an AVX-512 round of AES takes about a cycle;
/// elsewhere nothing is promised.
pub fn missed(rows: &[Row]) -> Vec<String> {
    let mut missed = Vec::new();
    for row in rows {
        let Case { key_bits, sector, buffer, cold, threads, .. } = row.case;
        let fastest = row.ours.first().map_or("", |it| it.0);
        let cycles_a_round = row.limit / ((key_bits / 32 + 6) as f64 / 64.0);
        if fastest != "vaes-512" || threads != 1 || cycles_a_round > 1.15 {
            continue;
        }
        let mut want = |what: &str, value: f64, least: f64| {
            if value.is_nan() || value < least {
                let temperature = if cold { "cold" } else { "warm" };
                missed.push(format!(
                    "AES-{key_bits} {sector}-byte sectors, {} KiB {temperature}: {what} is {value:.3}, promised {least}",
                    buffer >> 10
                ));
            }
        };
        if cold {
            match buffer {
                1048576 => want("ratio to the fastest library", row.vs_best_peer(), 1.6),
                4096 => want("ratio to the fastest library", row.vs_best_peer(), 1.0),
                _ => {}
            }
            continue;
        }
        want("share of the limit", row.of_limit(), if buffer == 4096 { 0.92 } else { 0.97 });
        let least = if sector == 512 { 1.6 } else { 1.03 };
        want("ratio to the fastest library", row.vs_best_peer(), least);
        if buffer == 4096 {
            continue;
        }
        let cycles = |name: &str| {
            row.ours.iter().chain(&row.peers).find(|it| it.0 == name).map_or(f64::NAN, |it| it.1)
        };
        want("1.25 x VAES-512 over VAES-256", 1.25 * row.best() / cycles("vaes-256"), 1.0);
        want("2.4 x VAES-512 over AES-NI", 2.4 * row.best() / cycles("aes-ni"), 1.0);
        want("xts-mode over portable", cycles("xts-mode") / cycles("portable"), 7.0);
    }
    missed
}
