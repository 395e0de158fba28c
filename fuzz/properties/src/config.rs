//! The configuration of a node.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ringseal_node::config::{Settings, parse};

const SECRET: &str = "RINGSEAL_CLUSTER__AUTH__SHARED_SECRET";
const PREVIOUS: &str = "RINGSEAL_CLUSTER__AUTH__PREVIOUS_SHARED_SECRET";
const MARKER: &str = "0e5c-a-secret-that-is-never-shown-71d2";

/// Any text and any environment make a configuration or an error that says something; neither shows a
/// secret; and the effective configuration, read again, means the same.
///
/// Input: the file's text; then, each after a zero byte, variables as `NAME=value`.
pub fn config(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == 0);
    let Some(text) = parts.next().and_then(|text| str::from_utf8(text).ok()) else { return };
    let environment: Vec<(OsString, OsString)> = parts.map(variable).collect();
    if let Err(error) = parse(text, environment.clone()) {
        assert!(!error.to_string().is_empty());
    }

    if contains(data, MARKER.as_bytes()) {
        return;
    }
    let ours = (OsString::from(SECRET), OsString::from(MARKER));
    let environment = environment.into_iter().chain([ours]).collect::<Vec<_>>();
    match parse(text, environment.clone()) {
        Err(error) => {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(MARKER), "an error shows a secret: {shown}");
        }
        Ok(draft) => {
            let shown = format!("{draft:?}");
            assert!(!shown.contains(MARKER), "a configuration shows a secret: {shown}");
            // No file that an input names is opened.
            if !contains(data, b"file") && !contains(data, b"\\") {
                check_effective(draft.complete(Path::new("")).expect("nothing left to be wrong"));
            }
        }
    }
}

/// What is shown of the first reading differs from the second in where values come from, and nothing
/// differs any more between the second and the third.
fn check_effective(first: Settings) {
    let again = |settings: &Settings| {
        let text = settings.effective.to_string();
        assert!(!text.contains(MARKER), "the effective configuration shows a secret: {text}");
        let secrets = [SECRET, PREVIOUS].into_iter().filter(|name| {
            let key = name.rsplit("__").next().expect("a key").to_lowercase();
            text.lines().any(|line| line.starts_with(&format!("{key} = ")))
        });
        let environment = secrets.map(|name| (name, MARKER));
        let draft = parse(&text, environment).unwrap_or_else(|error| panic!("{error} in:\n{text}"));
        draft.complete(Path::new("")).expect("nothing left to be wrong")
    };
    let second = again(&first);
    let third = again(&second);
    assert_eq!(second.effective.to_string(), third.effective.to_string());
    assert_eq!(first.cluster, second.cluster);
    assert_eq!(first.replicas, second.replicas);
    assert_eq!(first.handler, second.handler);
    assert_eq!(first.http, second.http);
    assert_eq!(first.audit, second.audit);
    assert_eq!(first.bus.retired_links(), second.bus.retired_links());
    assert_eq!(format!("{:?}", first.bus), format!("{:?}", second.bus));
}

fn variable(entry: &[u8]) -> (OsString, OsString) {
    let equals = entry.iter().position(|byte| *byte == b'=').unwrap_or(entry.len());
    let (name, value) = entry.split_at(equals);
    let value = value.get(1..).unwrap_or_default();
    (OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned())
}

fn contains(data: &[u8], wanted: &[u8]) -> bool {
    data.windows(wanted.len()).any(|window| window == wanted)
}
