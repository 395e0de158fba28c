//! The rules of the house that no compiler checks.
//!
//! Each test is one rule and lists every place that breaks it. The sources are read with comments and
//! literals blanked out, so that only code counts.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What is shipped, as opposed to what tests and measures it.
const PRODUCT: [&str; 4] =
    ["transport/wire/src/", "auth/src/", "transport/bus/src/", "transport/node/src/"];

/// The crates that know no runtime, no socket, no clock and no randomness.
const SANS_IO: [&str; 2] = ["transport/wire/src/", "auth/src/"];

const RUNTIME: &str = "transport/bus/src/runtime/";

/// The only code of tests that sleeps, how often it does, and why.
const SLEEPS: [(&str, usize, &str); 7] = [
    ("tests/src/target.rs", 2, "asks again, until a deadline, whether what is expected is there"),
    ("tests/tests/connector.rs", 1, "a link that has been up for a time is what is tested"),
    ("tests/tests/deadlines.rs", 3, "a peer that sends too slowly is what is tested"),
    ("tests/tests/policies.rs", 1, "a frame that arrives in pieces is what is tested"),
    ("tests/tests/power_loss.rs", 1, "an outage of a certain length is what is tested"),
    ("tests/tests/rotation.rs", 1, "paces the traffic that runs meanwhile"),
    ("transport/node/tests/echo.rs", 3, "asks again, until a deadline"),
];

#[test]
fn unsafe_lives_where_the_design_says() {
    const ALLOWED: [&str; 3] = [RUNTIME, "bench/src/contestant/ring_echo.rs", "tests/src/alloc.rs"];
    let outside = |source: &&Source| !ALLOWED.iter().any(|path| source.path.starts_with(path));
    report(
        "`unsafe` belongs to the bus's runtime module, its plain rival and the tests' counting \
         allocator",
        sources().iter().filter(outside).flat_map(|source| source.lines_with("unsafe")),
    );
}

#[test]
fn every_unsafe_block_says_why_it_is_safe() {
    let sources = sources();
    let unjustified = sources.iter().flat_map(|source| {
        let blocks = source.lines_with("unsafe").into_iter().filter(|place| {
            let code = source.code_line(place.line);
            let after = code.split("unsafe").nth(1).unwrap_or_default().trim_start();
            (after.starts_with('{') || after.starts_with("impl"))
                && !source.is_justified(place.line)
        });
        blocks.collect::<Vec<_>>()
    });
    report("every unsafe block stands under a `// SAFETY:` comment", unjustified);
}

#[test]
fn crates_that_need_no_unsafe_forbid_it() {
    let roots = [
        "transport/wire/src/lib.rs",
        "auth/src/lib.rs",
        "transport/node/src/lib.rs",
        "transport/node/src/main.rs",
        "fuzz/properties/src/lib.rs",
    ];
    let sources = sources();
    let missing = roots.into_iter().filter(|root| {
        let source = sources.iter().find(|source| source.path == *root).expect("a crate's root");
        !source.code.contains("#![forbid(unsafe_code)]")
    });
    report(
        "`#![forbid(unsafe_code)]` stands at the top of these crates",
        missing.map(|root| Place { path: root.to_owned(), line: 1, text: String::new() }),
    );
}

#[test]
fn crates_depend_on_lower_layers_only() {
    const LAYERS: [(&str, &[&str]); 4] = [
        ("ringseal-wire", &[]),
        ("ringseal-auth", &["ringseal-wire"]),
        ("ringseal", &["ringseal-auth", "ringseal-wire"]),
        ("ringseal-node", &["ringseal", "ringseal-auth", "ringseal-wire"]),
    ];
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"]))
            .expect("cargo's metadata");
    let packages = metadata["packages"].as_array().expect("packages");
    for (name, allowed) in LAYERS {
        let package = packages.iter().find(|package| package["name"] == name).expect("a package");
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        // What only its tests use is no part of what it is built on.
        let ours: BTreeSet<&str> = dependencies
            .iter()
            .filter(|dependency| dependency["kind"] != "dev")
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|name| name.starts_with("ringseal"))
            .collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(
            ours.is_subset(&allowed),
            "{name} may depend on {allowed:?}, and depends on {ours:?}"
        );
    }
}

#[test]
fn the_protocol_crates_are_built_on_no_runtime() {
    const WORLD: [&str; 12] = [
        "async-std",
        "core_affinity",
        "getrandom",
        "glommio",
        "io-uring",
        "mio",
        "rand",
        "rustix",
        "smol",
        "socket2",
        "tokio",
        "tracing",
    ];
    for package in ["ringseal-wire", "ringseal-auth"] {
        let tree = cargo(&["tree", "-p", package, "-e", "normal", "--prefix", "none"]);
        let names = tree.lines().filter_map(|line| line.split(' ').next());
        let world: BTreeSet<&str> = names.filter(|name| WORLD.contains(name)).collect();
        assert!(world.is_empty(), "{package} depends on {world:?}");
    }
}

#[test]
fn the_protocol_crates_see_neither_socket_nor_clock_nor_randomness() {
    const WORLD: [&str; 13] = [
        "std::env",
        "std::fs",
        "std::io",
        "std::net",
        "std::os",
        "std::process",
        "std::thread",
        "Instant",
        "SystemTime",
        "getrandom",
        "glommio",
        "libc",
        "tokio",
    ];
    report(
        "`wire` and `auth` are handed their bytes, nonces and times",
        lines_with_any(&SANS_IO, &WORLD),
    );
}

#[test]
fn only_the_runtime_module_names_a_runtime() {
    let places = lines_with_any(&PRODUCT, &["async_task", "glommio", "io_uring"]);
    report(
        "another io_uring driver must be able to stand beside the runtime module",
        places.into_iter().filter(|place| !place.path.starts_with(RUNTIME)),
    );
}

#[test]
fn the_vectors_are_as_they_were_taken() {
    const DIGEST: &str = "e7321d0e4890c30d55d20c00edcc668f445216aa141bf1302c80ce49305accc6";
    let digest = blake3::hash(include_bytes!("../vectors/handshake.json"));
    assert_eq!(digest.to_string(), DIGEST, "tests/vectors/handshake.json has been changed");
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    let sources = sources();
    let places = sources.iter().flat_map(|source| {
        let silenced = source.attributes().into_iter().filter(|attribute| {
            let code = &source.code[attribute.clone()];
            let has = |name| words(code, name).any(|at| code[at + name.len()..].starts_with('('));
            has("allow") || (has("expect") && words(code, "reason").next().is_none())
        });
        silenced.map(|attribute| source.place_at(attribute.start)).collect::<Vec<_>>()
    });
    report("a lint is silenced by `#[expect(.., reason = \"..\")]` and by nothing else", places);
}

#[test]
fn nothing_is_left_for_later() {
    const MACROS: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];
    let sources = sources();
    let places = sources.iter().flat_map(|source| MACROS.map(|name| source.lines_with(name)));
    report("no `todo!`, no `unimplemented!`, no `dbg!`", places.flatten());
}

#[test]
fn product_files_are_short() {
    const MOST: usize = 400;
    let sources = sources();
    let long = sources.iter().filter(|source| source.is_in(&PRODUCT)).filter_map(|source| {
        let lines = source.product_code().lines().filter(|line| !line.trim().is_empty()).count();
        let text = format!("{lines} lines of code");
        (lines > MOST).then(|| Place { path: source.path.clone(), line: 1, text })
    });
    report("a file has at most 400 lines of code before its tests", long);
}

#[test]
fn product_functions_are_short_and_take_few_parameters() {
    const MOST_LINES: usize = 70;
    const MOST_PARAMETERS: usize = 5;
    let sources = sources();
    let product = sources.iter().filter(|source| source.is_in(&PRODUCT));
    let places = product.flat_map(|source| {
        let functions = functions(source.product_code());
        let wrong = functions.into_iter().filter(|function| {
            function.lines > MOST_LINES || function.parameters > MOST_PARAMETERS
        });
        let place = |function: Function| {
            let Function { at, lines, parameters } = function;
            let place = source.place_at(at);
            Place {
                text: format!("{lines} lines, {parameters} parameters: {}", place.text),
                ..place
            }
        };
        wrong.map(place).collect::<Vec<_>>()
    });
    report("a function has at most 70 lines, and 5 parameters besides `self`", places);
}

#[test]
fn tests_wait_for_events_and_not_for_time() {
    let sources = sources();
    let places = sources.iter().flat_map(|source| {
        let tests_begin = match source.path.split('/').any(|part| part == "tests") {
            true => 0,
            false => source.product_code().len(),
        };
        let sleeps = words(&source.code[tests_begin..], "sleep");
        let places = sleeps.map(|at| source.place_at(tests_begin + at));
        let places: Vec<_> = places.filter(|place| !place.text.starts_with("use ")).collect();
        let listed = SLEEPS.iter().find(|(path, ..)| source.path == *path);
        let allowed = listed.map_or(0, |(_, count, _)| *count);
        if places.len() > allowed { places } else { Vec::new() }
    });
    report("a test waits for what it expects, under a deadline, and never sleeps instead", places);
}

/// Scripts and dashboards rely on these names.
#[test]
fn the_node_has_every_documented_name() {
    const METRICS: [&str; 13] = [
        "ringseal_links_up",
        "ringseal_handshakes_total",
        "ringseal_handshake_seconds",
        "ringseal_preauth_connections",
        "ringseal_frames_total",
        "ringseal_bytes_total",
        "ringseal_frames_dropped_total",
        "ringseal_backpressure_total",
        "ringseal_reconnects_total",
        "ringseal_soft_admissions_total",
        "ringseal_safe_to_enforce",
        "ringseal_reads_total",
        "ringseal_paused_links",
    ];
    const PATHS: [&str; 5] = ["/", "/health", "/health/ready", "/metrics", "/peers"];
    const COMMANDS: [&str; 7] = ["Demo", "Node", "Check", "Keygen", "Probe", "Top", "Audit"];
    let sources = sources();
    let code = |path: &str| {
        let source = sources.iter().find(|source| source.path == path).expect("a source");
        let code = source.product_code().len();
        source.text[..code].to_owned()
    };
    let (metrics, http) =
        (code("transport/node/src/metrics.rs"), code("transport/node/src/http.rs"));
    let cli = code("transport/node/src/cli.rs");
    // The prefix is put before every name, and a counter's suffix after it, in one place each.
    assert!(metrics.contains("\"ringseal_{name}\""));
    for name in METRICS {
        let own = name.trim_start_matches("ringseal_").trim_end_matches("_total");
        assert!(metrics.contains(&format!("\"{own}\"")), "no metric {name}");
    }
    for path in PATHS {
        assert!(http.contains(&format!("\"{path}\"")), "no HTTP path {path}");
    }
    for command in COMMANDS {
        assert!(words(&cli, command).next().is_some(), "no command {command}");
    }
}

/// A line that breaks a rule.
struct Place {
    path: String,
    line: usize,
    text: String,
}

fn report(rule: &str, places: impl IntoIterator<Item = Place>) {
    let line = |Place { path, line, text }| format!("\n  {path}:{line}: {text}");
    let places: Vec<String> = places.into_iter().map(line).collect();
    assert!(places.is_empty(), "{rule}; broken by:{}", places.concat());
}

/// A source file, and the same with its comments and literals blanked out, byte for byte.
struct Source {
    path: String,
    text: String,
    code: String,
}

impl Source {
    fn is_in(&self, directories: &[&str]) -> bool {
        directories.iter().any(|directory| self.path.starts_with(directory))
    }

    fn place_at(&self, offset: usize) -> Place {
        let line = self.code[..offset].matches('\n').count() + 1;
        let text = self.text.lines().nth(line - 1).unwrap_or_default().trim().to_owned();
        Place { path: self.path.clone(), line, text }
    }

    /// The lines whose code has `word` in it.
    fn lines_with(&self, word: &str) -> Vec<Place> {
        words(&self.code, word).map(|at| self.place_at(at)).collect()
    }

    fn code_line(&self, line: usize) -> &str {
        self.code.lines().nth(line - 1).unwrap_or_default()
    }

    /// Whether the comments right above this line say `SAFETY:`.
    fn is_justified(&self, line: usize) -> bool {
        let lines: Vec<&str> = self.text.lines().take(line - 1).collect();
        let above = lines.iter().rev().map(|line| line.trim());
        let mut above = above.take_while(|line| line.starts_with("//") || line.starts_with("#["));
        above.any(|line| line.starts_with("// SAFETY:"))
    }

    /// Everything before the unit tests; nothing of a file that is all tests.
    fn product_code(&self) -> &str {
        let is_tests = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        let end = self.code.find("#[cfg(test)]\nmod tests {").unwrap_or(self.code.len());
        if is_tests { "" } else { &self.code[..end] }
    }

    /// Where the attributes stand.
    fn attributes(&self) -> Vec<Range<usize>> {
        let starts = self.code.match_indices('#').filter_map(|(at, _)| {
            let open = at + 1 + usize::from(self.code[at + 1..].starts_with('!'));
            self.code[open..].starts_with('[').then(|| at..closing(&self.code, open))
        });
        starts.collect()
    }
}

/// The lines of code, unit tests apart, that have one of these words in them.
fn lines_with_any(directories: &[&str], wanted: &[&str]) -> Vec<Place> {
    let sources = sources();
    let sources = sources.iter().filter(|source| source.is_in(directories));
    let places = sources.flat_map(|source| {
        let found = wanted.iter().flat_map(|word| words(source.product_code(), word));
        found.map(|at| source.place_at(at)).collect::<Vec<_>>()
    });
    places.collect()
}

/// Every Rust source of the project.
fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    for directory in ["auth", "bench", "fuzz", "tests", "transport"] {
        collect(&root().join(directory), &mut files);
    }
    assert!(files.len() > 40, "the sources were not found");
    let read = |file: PathBuf| {
        let path = file.strip_prefix(root()).expect("within the project");
        let path = path.to_str().expect("a plain name").to_owned();
        let text = fs::read_to_string(&file).expect("a source");
        Source { path, code: blanked(&text), text }
    };
    files.into_iter().map(read).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).arg("--frozen").current_dir(root()).output();
    let output = output.expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Where `word` stands in `code` and is not part of a longer word.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = code[..at].chars().next_back().is_some_and(part);
        let after = code[at + word.len()..].chars().next().is_some_and(part);
        !(before || after && word.ends_with(part))
    })
}

/// The end of the bracket that opens at `open`.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

struct Function {
    at: usize,
    lines: usize,
    parameters: usize,
}

/// The functions that have a body.
fn functions(code: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    for at in words(code, "fn") {
        let name = code[at + 2..].trim_start();
        if !name.starts_with(|first: char| first.is_alphabetic() || first == '_') {
            continue;
        }
        let Some(open) = parameters_of(code, at) else { continue };
        let close = closing(code, open);
        let end = code[close..].find(['{', ';']).map_or(code.len(), |body| close + body);
        if !code[end..].starts_with('{') {
            continue;
        }
        let body_end = closing(code, end);
        functions.push(Function {
            at,
            lines: code[at..body_end].matches('\n').count() + 1,
            parameters: count_parameters(&code[open + 1..close - 1]),
        });
    }
    functions
}

/// Where the parameter list of the function at `at` opens, past its generics.
fn parameters_of(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut previous = b' ';
    for (offset, byte) in code[at..].bytes().enumerate() {
        match byte {
            b'<' => depth += 1,
            b'>' if previous != b'-' => depth = depth.saturating_sub(1),
            b'(' if depth == 0 => return Some(at + offset),
            _ => {}
        }
        previous = byte;
    }
    None
}

/// How many parameters a list has, its receiver not counted.
fn count_parameters(list: &str) -> usize {
    let (mut depth, mut previous) = (0_usize, b' ');
    let mut parameters = vec![String::new()];
    for byte in list.bytes() {
        match byte {
            b'(' | b'[' | b'<' => depth += 1,
            b')' | b']' => depth -= 1,
            b'>' if previous != b'-' => depth -= 1,
            _ => {}
        }
        previous = byte;
        match (byte, parameters.last_mut()) {
            (b',', _) if depth == 0 => parameters.push(String::new()),
            (_, Some(last)) => last.push(byte.into()),
            (_, None) => {}
        }
    }
    let is_receiver = |parameter: &str| {
        let name = parameter.split(':').next().unwrap_or_default();
        words(name, "self").next().is_some()
    };
    let parameters = parameters.iter().map(|parameter| parameter.trim());
    parameters.filter(|parameter| !parameter.is_empty() && !is_receiver(parameter)).count()
}

/// Replaces what is in comments and literals by spaces; line breaks stay where they are.
fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match literal_or_comment(text, at) {
            Some(len) => at + len,
            None => {
                at += 1;
                continue;
            }
        };
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(code).expect("whole characters are blanked")
}

/// The length of the comment or literal that begins here, if one does.
fn literal_or_comment(text: &str, at: usize) -> Option<usize> {
    let rest = text.as_bytes().get(at..)?;
    let after_word = at > 0 && {
        let before = text.as_bytes()[at - 1];
        before.is_ascii_alphanumeric() || before == b'_'
    };
    match rest {
        [b'/', b'/', ..] => Some(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => {
            let end = rest.windows(2).position(|pair| pair == b"*/");
            Some(end.map_or(rest.len(), |end| end + 2))
        }
        [b'"', ..] => Some(quoted(rest, b'"')),
        [b'r', b'"' | b'#', ..] if !after_word => raw(rest),
        [b'b', b'r', b'"' | b'#', ..] if !after_word => raw(&rest[1..]).map(|len| len + 1),
        // A lifetime has no closing quote after one character.
        [b'\'', b'\\', ..] => Some(quoted(rest, b'\'')),
        [b'\'', ..] => {
            let character = text.get(at + 1..)?.chars().next()?;
            let end = 1 + character.len_utf8();
            (rest.get(end) == Some(&b'\'')).then_some(end + 1)
        }
        _ => None,
    }
}

/// The length of a literal in quotes, with its escapes.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 1,
            byte if byte == quote => return at + 1,
            _ => {}
        }
        at += 1;
    }
    rest.len()
}

/// The length of a raw string, or `None` if this is a raw identifier.
fn raw(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(vec![b'#'; hashes]).collect();
    let body = 2 + hashes;
    let len = rest[body..].windows(end.len()).position(|window| window == end);
    Some(len.map_or(rest.len(), |len| body + len + end.len()))
}

/// The reader of sources is itself worth a test: a rule that sees nothing is never broken.
#[test]
fn comments_and_literals_are_no_code() {
    let text = concat!(
        "let a = \"unsafe // \\\" \"; // unsafe\n",
        "/* unsafe */ fn b<'a>(c: &'a str) {}\n",
        "let d = ['\"', '\\'', 'x']; unsafe {}\n",
        "let e = r#\"unsafe \" \"#; br\"unsafe\";\n",
    );
    let code = blanked(text);
    assert_eq!(code.len(), text.len());
    assert_eq!(words(&code, "unsafe").count(), 1);
    assert!(code.contains("fn b<'a>(c: &'a str) {}"));
    let listed =
        "fn f<T: Fn(u8, u8) -> u8>(&self, a: (u8, u8), b: Map<K, V>, c: fn() -> u8,) {\n}\n";
    let [Function { lines: 2, parameters: 3, at: 0 }] = functions(listed)[..] else {
        panic!("the function was not understood")
    };
}
