//! `ringseal demo` where its output is no terminal.

use ringseal_tests::cluster::wait_for;

use crate::child::{ringseal, run};
use crate::node::NO_ROOM;

/// Whether there is a run of hexadecimal digits as long as a secret in hex.
fn has_secret(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_hexdigit()).any(|digits| digits.len() >= 64)
}

fn demo(replicas: &str, links: usize) {
    let ended = wait_for("there is room for the demo's shards", || {
        let ended = run(ringseal().args(["demo", "--replicas", replicas, "--seconds", "1"]));
        Some(ended).filter(|ended| !ended.stderr.contains(NO_ROOM))
    });
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let shown = ended.stdout;
    for line in shown.lines() {
        assert!(line.chars().count() <= 80, "{line:?} is too wide");
        assert!(!line.contains('\u{1b}'), "{line:?} is for a terminal");
        assert!(!line.contains('\r'), "{line:?} is for a terminal");
    }
    for part in [
        format!("{links} links up, each authenticated at both ends"),
        format!("none got in; all {links} links stayed up"),
        format!("{links}/{links} links up"),
        "0 lost, 0 out of order".to_owned(),
    ] {
        assert!(shown.contains(&part), "{part:?} is not in\n{shown}");
    }
    for (stranger, reason) in [
        ("wrong secret", "mac_mismatch"),
        ("no authentication", "auth_required"),
        ("wrong cluster", "cluster_mismatch"),
    ] {
        let line = shown.lines().find(|line| line.trim_start().starts_with(stranger));
        assert!(line.is_some_and(|line| line.contains(reason)), "{reason} is not in\n{shown}");
    }
    latencies(&shown, 2 * links);
    assert!(!has_secret(&shown), "{shown}");
}

/// The table has a row for each link and direction and one for all, whose quantiles rise.
fn latencies(shown: &str, rows: usize) {
    let mut lines = shown.lines().skip_while(|line| !line.contains("p50"));
    let head: Vec<_> = lines.next().expect("a table").split_whitespace().collect();
    assert_eq!(head[head.len() - 5..], ["p50", "p90", "p99", "p99.9", "max"]);
    let table: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
    assert_eq!(table.len(), rows + 1, "{shown}");
    for line in table {
        let times = times(line);
        assert!(times.iter().all(|time| *time > 0.0) && times.is_sorted(), "{line:?}");
    }
}

/// The five times that a row ends with, each a number and its unit.
fn times(row: &str) -> [f64; 5] {
    let words: Vec<_> = row.split_whitespace().collect();
    let [.., a, b, c, d, e] = words.as_chunks::<2>().0 else { panic!("{row:?}") };
    [a, b, c, d, e].map(|[number, unit]| {
        let factor = match *unit {
            "ns" => 1.0,
            "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            _ => panic!("{row:?}"),
        };
        number.parse::<f64>().expect(row) * factor
    })
}

#[test]
fn two_replicas() {
    demo("2", 1);
}

#[test]
fn three_replicas() {
    demo("3", 3);
}
