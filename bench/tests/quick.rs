//! Every contestant in every shape, for a moment: none may rot.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use ringseal_bench::contestant;
use ringseal_bench::shape::{self, Shape};
use serde_json::Value;

#[test]
fn everyone_runs_everywhere() {
    let directory = std::env::temp_dir().join(format!("ringseal-bench-{}", std::process::id()));
    let json = directory.join("medians.json");
    std::fs::create_dir_all(&directory).expect("a directory for the outcome");
    let status = Command::new(env!("CARGO_BIN_EXE_ringseal-bench"))
        .args(["compare", "--quick", "--plots"])
        .arg(&directory)
        .arg("--json")
        .arg(&json)
        .stdout(Stdio::null())
        .status()
        .expect("the program starts");
    assert!(status.success());

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
