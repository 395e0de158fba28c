//! The book's page of benchmarks, measured and written in one go.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;
use time::OffsetDateTime;

use crate::compare::{self, Plan};
use crate::report::{Aligned, Report};
use crate::scale::ScaleArgs;
use crate::{contestant, goals, growth, plot, shape};

/// The words around the numbers.
const TEMPLATE: &str = include_str!("page.md");

/// Crates whose versions matter to the numbers.
const CRATES: [&str; 11] = [
    "async-channel",
    "blake3",
    "bytes",
    "compio",
    "crossbeam-channel",
    "io-uring",
    "ring",
    "rustls",
    "snow",
    "tokio",
    "tokio-util",
];

/// The compiler that has built this program.
pub(crate) const RUSTC: &str = env!("BENCH_RUSTC");

/// What to write, and how long to measure.
#[derive(Debug, Args)]
pub struct PageArgs {
    /// The book's folder: the page goes to benchmarks.md, its plots to benchmarks/.
    #[arg(long, value_name = "DIR", default_value = "docs")]
    out: PathBuf,
    /// Rounds of the comparison, in each of which every contestant takes its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Milliseconds that each contestant moves frames in each round of the comparison.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    millis: u64,
    /// One round of 20 ms: shows that everything runs, measures nothing.
    #[arg(long, conflicts_with_all = ["rounds", "millis"])]
    quick: bool,
}

impl PageArgs {
    /// Measures everything and writes the page.
    ///
    /// # Errors
    ///
    /// If a contestant fails or a file cannot be written.
    pub fn run(&self) -> Result<()> {
        let rounds = if self.quick { 1 } else { self.rounds };
        let time = Duration::from_millis(if self.quick { 20 } else { self.millis });
        let shapes = shape::ALL.iter().map(|name| name.parse()).collect::<Result<_>>()?;
        let contestants = contestant::ALL.to_vec();
        let compared = compare::run(&Plan { contestants, shapes, rounds, time, syscalls: true })?;
        let scale = if self.quick { ScaleArgs::QUICK } else { ScaleArgs::DEFAULT };
        let scaled = scale.run()?;

        let plots = self.out.join("benchmarks");
        fs::create_dir_all(&plots).with_context(|| plots.display().to_string())?;
        plot::write(&compared, &plots)?;
        growth::write(&scaled, &plots)?;
        let page = self.page(compared, scaled)?;
        let file = self.out.join("benchmarks.md");
        fs::write(&file, page).with_context(|| file.display().to_string())
    }

    fn page(&self, mut compared: Report, scaled: Report) -> Result<String> {
        let page = TEMPLATE
            .replace("{{settings}}", &self.settings(&compared)?)
            .replace("{{compare}}", compared.tables().trim_start())
            .replace("{{scale}}", scaled.tables().trim_start());
        // Shapes that both have come from the comparison, where all contestants are.
        compared.append(scaled);
        let notes: String = compared.notes.iter().map(|note| format!("- {note}\n")).collect();
        let goals = Aligned(&goals::table(&compared)).to_string();
        Ok(page.replace("{{goals}}", goals.trim_end()).replace("{{notes}}\n", &notes))
    }

    /// Where, when, of what and how long.
    fn settings(&self, report: &Report) -> Result<String> {
        let versions: Vec<_> =
            versions()?.iter().map(|it| format!("{} {}", it.name, it.version)).collect();
        let length = match self.quick {
            true => "Quick: **these numbers mean nothing.**".to_owned(),
            false => format!("{} rounds of {} ms", self.rounds, self.millis),
        };
        let rows = [
            ("date", OffsetDateTime::now_utc().date().to_string()),
            ("machine", report.machine.to_string()),
            ("compiler", RUSTC.to_owned()),
            ("crates", versions.join(", ")),
            ("comparison", length),
        ];
        let rows: Vec<_> = std::iter::once(vec![String::new(), String::new()])
            .chain(rows.map(|(what, is)| vec![what.to_owned(), is]))
            .collect();
        Ok(Aligned(&rows).to_string().trim_end().to_owned())
    }
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
}

/// The versions that this program was built with.
fn versions() -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    let lock: Lock = toml::from_str(include_str!("../../Cargo.lock")).context("Cargo.lock")?;
    let wanted = |package: &Package| CRATES.contains(&package.name.as_str());
    Ok(lock.package.into_iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contestants_crates_have_a_version() {
        let versions = versions().expect("the lock file");
        for name in CRATES {
            assert!(versions.iter().any(|package| package.name == name), "{name}");
        }
    }

    #[test]
    fn every_contestant_is_introduced() {
        for contestant in contestant::ALL {
            assert!(
                TEMPLATE.contains(&format!("`{}`", contestant.name())),
                "{}",
                contestant.name()
            );
        }
    }
}
