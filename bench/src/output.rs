//! Where a report goes beside standard output.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::report::Report;

/// Files to write.
#[derive(Debug, Args)]
pub struct Output {
    /// Write the medians to this file as a JSON array.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write SVG plots to this directory.
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
}

impl Output {
    /// Prints `report` and writes what else was asked for, the plots with `plot`.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn write(&self, report: &Report, plot: fn(&Report, &Path) -> Result<()>) -> Result<()> {
        print!("{report}");
        if let Some(file) = &self.json {
            let text = serde_json::to_string_pretty(&report.cells)?;
            std::fs::write(file, text + "\n").with_context(|| file.display().to_string())?;
        }
        if let Some(directory) = &self.plots {
            std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
            plot(report, directory)?;
        }
        Ok(())
    }
}
