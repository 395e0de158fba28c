//! Every seed of the fuzz targets holds what its target checks, and the seeds that stand for the
//! protocol's vectors are up to date.
//!
//! `UPDATE_SEEDS=1 cargo test -p ringseal-tests --test fuzz_corpus` writes the latter anew. All other
//! files in `fuzz/seeds` were put there by hand, found by a fuzzer or made up.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ringseal_properties::ALL;
use serde_json::Value;

/// Flags of the handshake targets' inputs.
const SOFT: u8 = 1;
const ENFORCE: u8 = 2;
const PR3425: u8 = 1 << 2;
const TLS: u8 = 1 << 3;
const EDITED: u8 = 1 << 4;
const ROTATING: u8 = 1 << 5;
const TAGGED: u8 = 1 << 6;
const STRANGER: u8 = 1 << 7;

fn seeds_of(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target)
}

#[test]
fn every_seed_holds_what_its_target_checks() {
    let mut broken = Vec::new();
    for (target, property) in ALL {
        let mut seeds = 0;
        for entry in fs::read_dir(seeds_of(target)).expect("a directory of seeds") {
            let path = entry.expect("an entry").path();
            let seed = fs::read(&path).expect("a seed");
            if std::panic::catch_unwind(|| property(&seed)).is_err() {
                broken.push(format!("{target}: {}", path.display()));
            }
            seeds += 1;
        }
        assert!(seeds >= 5, "only {seeds} seeds for {target}");
    }
    assert!(broken.is_empty(), "these seeds break the property of their target: {broken:#?}");
}

/// A cheap stand-in for the fuzzer where none runs: every seed cut short and changed at some places,
/// other ones in every seed.
#[test]
fn neighbours_of_the_seeds_hold_as_well() {
    const STEP: usize = 17;
    for (target, property) in ALL {
        let seeds = fs::read_dir(seeds_of(target)).expect("a directory of seeds");
        for (number, entry) in seeds.enumerate() {
            let seed = fs::read(entry.expect("an entry").path()).expect("a seed");
            for at in (number % STEP..seed.len()).step_by(STEP) {
                property(&seed[..at]);
                let mut changed = seed.clone();
                changed[at] ^= 1 << (at % 8);
                property(&changed);
            }
        }
    }
}

#[test]
fn the_seeds_of_the_vectors_are_up_to_date() {
    let update = std::env::var_os("UPDATE_SEEDS").is_some();
    let mut stale = Vec::new();
    for (target, seeds) in seeds() {
        let directory = seeds_of(target);
        if update {
            fs::create_dir_all(&directory).expect("a directory of seeds");
        }
        for (name, seed) in seeds {
            let path = directory.join(name);
            if update {
                fs::write(&path, seed).expect("a seed is written");
            } else if fs::read(&path).ok() != Some(seed) {
                stale.push(path);
            }
        }
    }
    assert!(stale.is_empty(), "run this test with UPDATE_SEEDS=1 to write {stale:#?}");
}

type Seeds = BTreeMap<String, Vec<u8>>;

/// The seeds that are made of the vectors.
fn seeds() -> [(&'static str, Seeds); 4] {
    let file: Value =
        serde_json::from_str(include_str!("../vectors/handshake.json")).expect("valid JSON");
    let (mut headers, mut streams) = (Seeds::new(), Seeds::new());
    let (mut dialers, mut acceptors) = (Seeds::new(), Seeds::new());

    for entry in list(&file["frames"]) {
        headers.insert(name(entry), hex(&entry["frame"]));
    }
    for (at, entry) in list(&file["macs"]).iter().enumerate() {
        let name = format!("vector-{at:02}-{}", text(&entry["name"]).to_lowercase());
        let frames = ["hello", "challenge", "finish"].map(|frame| hex(&entry[frame]));
        let [hello, challenge, finish] = &frames;

        let mut stream = vec![8, 3, 1, 200, 255];
        stream.extend(frames.concat());
        streams.insert(name.clone(), stream);

        let settings = |flags| settings(entry, flags);
        dialers.insert(name.clone(), [&settings(ENFORCE)[..], &[0], challenge].concat());
        let both = [&settings(ENFORCE)[..], &[0], hello, &[0], finish].concat();
        acceptors.insert(name, both);
    }

    let entry = &list(&file["macs"])[2];
    for (name, flags) in [
        ("off", 0),
        ("soft", SOFT),
        ("enforce", ENFORCE),
        ("rotating", ENFORCE | ROTATING),
        ("tagged", SOFT | TAGGED),
        ("stranger", ENFORCE | STRANGER),
        ("rotating-tagged", ENFORCE | ROTATING | TAGGED),
    ] {
        let settings = settings(entry, flags | EDITED);
        let seed = |rest: &[u8]| [&settings[..], rest].concat();
        dialers.insert(format!("genuine-{name}"), seed(&[0]));
        dialers.insert(format!("silent-{name}"), seed(&[]));
        acceptors.insert(format!("genuine-{name}"), seed(&[0, 0]));
        acceptors.insert(format!("closed-{name}"), seed(&[0]));
        if !["soft", "enforce"].contains(&name) {
            continue;
        }
        // One byte of each field, changed in the first frame and in the second.
        for field in [32, 48, 60, 61, 128, 160, 192, 200, 208] {
            let first = seed(&[1, field, 1, 0]);
            dialers.insert(format!("changed-{name}-{field}"), first.clone());
            acceptors.insert(format!("changed-{name}-hello-{field}"), first);
            let second = seed(&[0, 1, field, 1]);
            acceptors.insert(format!("changed-{name}-finish-{field}"), second);
        }
    }
    [("header", headers), ("deframer", streams), ("dialer", dialers), ("acceptor", acceptors)]
}

/// The settings of one entry, as the handshake targets read them.
fn settings(entry: &Value, flags: u8) -> Vec<u8> {
    let form = if entry["transcript"] == "pr3425" { PR3425 } else { 0 };
    let tls = if entry["binding"] == "tls-exporter" { TLS } else { 0 };
    let mut bytes =
        vec![flags | form | tls, byte(&entry["dialer_id"]), byte(&entry["acceptor_id"])];
    bytes.extend(hex(&entry["cluster_id"]));
    bytes.extend(hex(&entry["nonce_d"]));
    bytes.extend(hex(&entry["nonce_a"]));
    bytes.extend(if tls == 0 { vec![0; 32] } else { hex(&entry["exporter"]) });
    let secret = hex(&entry["secret"]);
    bytes.push(secret.len().try_into().expect("a short secret"));
    bytes.extend(secret);
    bytes
}

fn name(entry: &Value) -> String {
    text(&entry["name"]).replace('_', "-")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn byte(value: &Value) -> u8 {
    value.as_u64().and_then(|byte| byte.try_into().ok()).expect("a byte")
}

fn hex(value: &Value) -> Vec<u8> {
    let (pairs, []) = text(value).as_bytes().as_chunks::<2>() else {
        panic!("an odd number of digits");
    };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(|pair| byte(pair).expect("hex")).collect()
}
