//! Instruction counts: what the bus's smallest pieces of work cost, exactly, under callgrind.
//!
//! A piece is done N times in one run and 2 N times in another, and everything else in both alike, so
//! the difference between the two runs is N of them, and the same on every run. The figures that are
//! committed hold for one compiler and one set of instructions; elsewhere there is nothing to compare.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use ringseal_auth::{Binding, Direction, Exchange, LinkIds, Transcript, cluster_id};
use ringseal_wire::HeaderView;
use serde::{Deserialize, Serialize};

use crate::fixture::{self, ACCEPTOR, Cluster, DIALER, NONCES};
use crate::frame::{self, HEADER, REQUEST};
use crate::page::RUSTC;

/// How often a piece is done in the shorter run.
const TIMES: usize = 64;

/// How far a count may be from the committed figure, as a part of it.
const SLACK: f64 = 0.02;

/// A piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Piece {
    /// Reading size and command of a header in place.
    Parse,
    /// Cutting a full buffer of 64 KiB into frames of 256 bytes, per frame.
    Deframe,
    /// One MAC.
    Mac,
    /// A whole handshake in memory, both sides.
    Handshake,
}

impl Piece {
    /// How many operations one of these is.
    fn operations(self) -> f64 {
        match self {
            Self::Deframe => (fixture::full_buffer(HEADER).len() / HEADER) as f64,
            Self::Parse | Self::Mac | Self::Handshake => 1.0,
        }
    }
}

/// Does a piece so many times, for callgrind to watch. What it needs is prepared for the longest run.
///
/// # Errors
///
/// If the piece fails.
pub fn work(piece: Piece, times: usize) -> Result<()> {
    ensure!(times <= 2 * TIMES, "at most {} times", 2 * TIMES);
    let cluster = Cluster::new(&[0x5a; 32])?;
    let header = frame::build(HEADER, REQUEST);
    let exchange = Exchange {
        ids: LinkIds { cluster: cluster_id("bench"), dialer: DIALER, acceptor: ACCEPTOR },
        dialer_nonce: NONCES[0],
        acceptor_nonce: NONCES[1],
        binding: Binding::Plaintext,
    };
    let received = fixture::full_buffer(HEADER);
    let mut buffers: Vec<_> = (0..2 * TIMES).map(|_| fixture::filled(&received)).collect();
    for buffer in &mut buffers[..times] {
        match piece {
            Piece::Parse => {
                let view = HeaderView::from_slice(black_box(&header)).context("a header")?;
                black_box((view.size(), view.command()));
            }
            Piece::Deframe => fixture::cut(black_box(buffer))?,
            Piece::Mac => {
                let (exchange, direction) = (black_box(&exchange), Direction::Dialer);
                black_box(cluster.keys.mac(Transcript::Current, exchange, direction));
            }
            Piece::Handshake => {
                black_box(black_box(&cluster).shake_hands_with(black_box(NONCES))?);
            }
        }
    }
    // Giving back the buffers would count too, and not in both runs alike.
    std::process::exit(0)
}

/// What the counts depend on, and the counts.
#[derive(Debug, Serialize, Deserialize)]
struct Figures {
    built: Built,
    instructions: BTreeMap<Piece, f64>,
}

/// The figures of one of these say nothing about another.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Built {
    /// The compiler.
    rustc: String,
    /// Valgrind's version, without its last number.
    valgrind: String,
    /// The instruction sets that BLAKE3 and the C library choose from, as valgrind shows them.
    cpu: String,
}

/// Counts every piece and compares with the figures in `file`, or writes them there.
///
/// Where the figures say nothing about this build, that is printed and nothing is compared.
///
/// # Errors
///
/// If a count is off, or cannot be had although valgrind is here.
pub fn check(file: &Path, write: bool) -> Result<()> {
    let Some(built) = Built::this()? else {
        println!("skipped: valgrind is not installed");
        return Ok(());
    };
    ensure!(!cfg!(debug_assertions), "a debug build has no figures: run it with --release");
    if !write {
        let committed = read(file)?;
        if committed.built != built {
            println!("skipped: the figures are of {:?}, and this is {built:?}", committed.built);
            return Ok(());
        }
        return compare(&committed.instructions, &count_all()?);
    }
    let figures = Figures { built, instructions: count_all()? };
    let heading =
        "# Instructions per operation. `ringseal-bench instructions --write` writes this file.\n";
    let text = heading.to_owned() + &toml::to_string(&figures)?;
    std::fs::write(file, text).with_context(|| file.display().to_string())
}

fn read(file: &Path) -> Result<Figures> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    toml::from_str(&text).with_context(|| file.display().to_string())
}

fn compare(committed: &BTreeMap<Piece, f64>, counted: &BTreeMap<Piece, f64>) -> Result<()> {
    let mut off = Vec::new();
    for (piece, count) in counted {
        let figure = committed.get(piece).with_context(|| format!("no figure for {piece:?}"))?;
        let change = count / figure - 1.0;
        println!("{piece:?}: {count} instructions, {:+.1} % from {figure}", 100.0 * change);
        if (count - figure).abs() > SLACK * figure {
            off.push(format!("{piece:?}"));
        }
    }
    ensure!(
        off.is_empty(),
        "more than {} % off: {}; if that is meant, `instructions --write` takes the new figures",
        100.0 * SLACK,
        off.join(", ")
    );
    Ok(())
}

fn count_all() -> Result<BTreeMap<Piece, f64>> {
    let count = |piece: &Piece| Ok((*piece, count(*piece)?));
    Piece::value_variants().iter().map(count).collect()
}

/// Instructions of one operation, to a hundredth.
fn count(piece: Piece) -> Result<f64> {
    let (once, twice) = (callgrind(piece, TIMES)?, callgrind(piece, 2 * TIMES)?);
    let more = twice.checked_sub(once).context("more work took fewer instructions")?;
    let each = more as f64 / TIMES as f64 / piece.operations();
    Ok((100.0 * each).round() / 100.0)
}

/// Instructions of a whole run.
fn callgrind(piece: Piece, times: usize) -> Result<u64> {
    let name = piece.to_possible_value().context("a piece has a name")?;
    let printed = valgrind(&["count", name.get_name(), "--times", &format!("{times:03}")])?;
    let collected = printed.lines().find_map(|line| line.split_once("Collected :"));
    let (_, count) = collected.with_context(|| format!("callgrind printed {printed:?}"))?;
    count.trim().parse().with_context(|| format!("callgrind collected {count:?}"))
}

/// Runs this program under callgrind and returns what both print.
fn valgrind(arguments: &[&str]) -> Result<String> {
    let program = std::env::current_exe().context("finding this program")?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(arguments)
        .output()
        .context("starting valgrind")?;
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "under valgrind: {printed}");
    Ok(printed)
}

impl Built {
    /// How this program was built and is run under valgrind; `None` without valgrind.
    fn this() -> Result<Option<Self>> {
        let version = match Command::new("valgrind").arg("--version").output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            output => String::from_utf8(output.context("starting valgrind")?.stdout)?,
        };
        let version = version.trim().trim_start_matches("valgrind-");
        let (version, _) = version.rsplit_once('.').context("valgrind's version")?;
        let printed = valgrind(&["count"])?;
        let cpu = printed.lines().find_map(|line| line.strip_prefix("cpu: "));
        let Some(cpu) = cpu else { bail!("under valgrind: {printed}") };
        Ok(Some(Self {
            rustc: RUSTC.to_owned(),
            valgrind: version.to_owned(),
            cpu: cpu.to_owned(),
        }))
    }
}

/// The instruction sets that hashing and copying choose from, as this process sees them.
#[must_use]
pub fn cpu() -> String {
    #[cfg(target_arch = "x86_64")]
    let sets = [
        ("sse4.1", is_x86_feature_detected!("sse4.1")),
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("erms", is_x86_feature_detected!("ermsb")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let sets = [("neon", cfg!(target_feature = "neon"))];
    let present = sets.iter().filter(|(_, present)| *present).map(|(name, _)| *name);
    let names: Vec<_> = std::iter::once(std::env::consts::ARCH).chain(present).collect();
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(parse: f64, mac: f64) -> BTreeMap<Piece, f64> {
        [(Piece::Parse, parse), (Piece::Mac, mac)].into()
    }

    #[test]
    fn a_count_may_be_off_by_two_percent() {
        let committed = counts(100.0, 1000.0);
        assert!(compare(&committed, &counts(102.0, 980.0)).is_ok());
        let error = compare(&committed, &counts(100.0, 1021.0)).expect_err("2.1 %").to_string();
        assert!(error.contains("Mac") && !error.contains("Parse"), "{error}");
        assert!(compare(&committed, &counts(97.9, 1000.0)).is_err(), "less is news too");
        assert!(compare(&counts(1.0, 1.0), &[(Piece::Deframe, 1.0)].into()).is_err(), "no figure");
    }

    #[test]
    fn every_piece_has_a_committed_figure() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.toml");
        let figures = read(&file).expect("the committed figures");
        for piece in Piece::value_variants() {
            assert!(figures.instructions[piece] > 0.0, "{piece:?}");
        }
    }
}
