//! Every contestant in every shape, and the page of the book, for a moment: none may rot.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ringseal_bench::contestant;
use ringseal_bench::shape::{self, Shape};
use serde_json::Value;

/// A directory of the test's own.
fn directory(name: &str) -> PathBuf {
    let name = format!("ringseal-bench-{name}-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).expect("a directory for the outcome");
    directory
}

/// Runs `arguments`, separated by spaces, and `directory` behind them.
fn run(arguments: &str, directory: &Path) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ringseal-bench"));
    let program = program.args(arguments.split(' ')).arg(directory).current_dir(directory);
    let status = program.stdout(Stdio::null()).status().expect("the program starts");
    assert!(status.success(), "{arguments}");
}

#[test]
fn everyone_runs_everywhere() {
    let directory = directory("compare");
    let json = directory.join("medians.json");
    run("compare --quick --json medians.json --plots", &directory);

    let text = std::fs::read_to_string(&json).expect("the medians are written");
    let cells: Vec<Value> = serde_json::from_str(&text).expect("an array");
    let text_of = |cell: &Value, field: &str| cell[field].as_str().map(str::to_owned);
    let measured: BTreeSet<_> =
        cells.iter().map(|cell| (text_of(cell, "contestant"), text_of(cell, "shape"))).collect();
    for name in shape::ALL {
        let shape: Shape = name.parse().expect("a listed shape");
        for contestant in contestant::ALL.iter().filter(|contestant| contestant.runs(shape)) {
            let pair = (Some(contestant.name().to_owned()), Some((*name).to_owned()));
            assert!(measured.contains(&pair), "{pair:?} is missing");
        }
    }
    for plot in ["throughput", "connect", "handshake", "latency"] {
        assert!(directory.join(plot).with_extension("svg").is_file(), "no plot of {plot}");
    }
    std::fs::remove_dir_all(&directory).expect("the directory is ours");
}

#[test]
fn the_page_of_benchmarks_has_every_part() {
    let directory = directory("page");
    run("page --quick --out", &directory);

    let page = std::fs::read_to_string(directory.join("benchmarks.md")).expect("a page");
    assert!(!page.contains("{{"), "{page}");
    for name in ["echo-256-w256", "links64x2-256-w16", "connect-255", "idle-240"] {
        assert!(page.contains(&format!("### {name}\n")), "no table of {name}");
    }
    let links = page.split("](benchmarks/").skip(1);
    let plots: Vec<_> = links.filter_map(|link| link.split(')').next()).collect();
    assert_eq!(plots.len(), 5);
    for plot in plots {
        assert!(directory.join("benchmarks").join(plot).is_file(), "no plot {plot}");
    }
    // Only system calls are not counted everywhere: perf may be missing.
    let missing = page.lines().filter(|line| line.contains("| not measured |"));
    assert!(missing.filter(|line| !line.contains("syscalls")).count() == 0, "{page}");
    std::fs::remove_dir_all(&directory).expect("the directory is ours");
}
