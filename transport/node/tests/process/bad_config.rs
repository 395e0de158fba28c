//! Everything that can be wrong with a configuration, by name, through the real binary: exit status 2
//! and one line that names the key, what it holds and what it may hold.

use std::fs;

use crate::child::{Ended, ringseal, run, run_with};
use crate::node::Written;

/// What no message may show.
const SECRET: &str = "correct horse battery staple, and then some";

/// A configuration with nothing wrong in it.
const GOOD: &str = r#"
[cluster]
name = "orders"
replica = 1

[[cluster.replicas]]
id = 0
address = "127.0.0.1:7000"

[[cluster.replicas]]
id = 1
address = "127.0.0.1:7001"

[cluster.auth]
shared_secret = "correct horse battery staple, and then some"
enforcement = "enforce"
transcript = "current"
retired_links = "keep"

[bus]
shards = 1
outbox_frames = 16
max_message_size = "1MiB"
outbox_bytes = "2MiB"
receive_budget = "4MiB"
spin = "0us"
hello_grace = "1s"

[node]
handler = "sink"

[http]
listen = "127.0.0.1:9600"
"#;

const INLINE: &str = "shared_secret = \"correct horse battery staple, and then some\"";

/// Both commands that read a configuration refuse it alike.
fn expect(written: &Written, environment: &[(&str, &str)], parts: &[&str]) {
    for subcommand in ["check", "node"] {
        let mut command = ringseal();
        command.arg(subcommand).arg("--config").arg(written.file());
        let ended = run(command.envs(environment.iter().copied()));
        ended.failed(2, parts);
        assert_eq!(ended.stdout, "");
        secretive(&ended);
    }
}

fn secretive(ended: &Ended) {
    for secret in [SECRET, "hunter2"] {
        assert!(!ended.stderr.contains(secret), "{ended:?}");
    }
}

/// Expects a refusal of [`GOOD`] with one text put in another's place.
fn refused(text: &str, instead: &str, parts: &[&str]) {
    assert_eq!(GOOD.matches(text).count(), 1, "{text:?} stands in the good configuration once");
    expect(&Written::new(&GOOD.replace(text, instead)), &[], parts);
}

/// One test for each case: what stands in whose place, and the parts of the message.
macro_rules! refused {
    ($($name:ident: $text:expr => $instead:expr, $parts:expr;)*) => {
        $(#[test] fn $name() { refused($text, $instead, &$parts); })*
    };
}

refused! {
    an_unknown_key: "shards = 1" => "shard = 1",
        ["bus.shard is not a known key", "shards, max_message_size"];
    an_unknown_table: "[node]\nhandler = \"sink\"" => "[nodes]\nhandler = \"sink\"",
        ["nodes is not a known key", "cluster, bus, node, http, audit"];
    a_missing_key: "name = \"orders\"\n" => "",
        ["cluster.name is missing", "it may be a text"];
    an_id_of_256: "id = 0" => "id = 256",
        ["cluster.replicas[0].id is 256;", "a whole number from 0 to 255"];
    a_replica_of_256: "replica = 1" => "replica = 256",
        ["cluster.replica is 256;", "a whole number from 0 to 255"];
    a_replica_that_is_not_listed: "replica = 1" => "replica = 7",
        ["cluster.replica is 7;", "0, 1"];
    a_duplicate_id: "id = 0" => "id = 1",
        ["cluster.replicas is a list with id 1 in it twice", "every id stands once"];
    an_address_without_a_port: "127.0.0.1:7000" => "127.0.0.1",
        ["cluster.replicas[0].address is \"127.0.0.1\"", "\"192.0.2.1:7000\""];
    a_bare_ipv6_address: "127.0.0.1:7000" => "::1:7000",
        ["cluster.replicas[0].address is \"::1:7000\"", "[2001:db8::1]:7000"];
    an_http_address_that_is_a_port: "127.0.0.1:9600" => "9600",
        ["http.listen is \"9600\"", "\"192.0.2.1:7000\""];
    a_short_secret: INLINE => "shared_secret = \"hunter2hunter2hunter2hunter2hun\"",
        ["cluster.auth.shared_secret holds 31 bytes", "32 or more", "keygen"];
    a_short_previous_secret: "transcript = \"current\"" => "previous_shared_secret = \"hunter2\"",
        ["cluster.auth.previous_shared_secret holds 7 bytes", "32 or more"];
    both_forms_of_a_secret: "transcript = \"current\"" => "shared_secret_file = \"cluster.key\"",
        ["cluster.auth.shared_secret and cluster.auth.shared_secret_file are both given"];
    no_secret: INLINE => "enabled = true",
        ["cluster.auth.shared_secret_file is missing", "keygen", "enabled must be false"];
    no_word_on_authentication: "[cluster.auth]\n" => "[cluster.author]\n",
        ["cluster.auth.enabled is missing", "false to run without authentication"];
    a_secret_file_that_is_missing: INLINE => "shared_secret_file = \"gone.key\"",
        ["cluster.auth.shared_secret_file names ", "gone.key", "No such file", "32 to 65536 bytes"];
    a_secret_that_is_no_text: INLINE => "shared_secret = 271828182845904523",
        ["cluster.auth.shared_secret is no text", "at least 32 bytes"];
    a_bad_enforcement: "\"enforce\"" => "\"strict\"",
        ["cluster.auth.enforcement is \"strict\"", "\"enforce\" or \"soft\""];
    a_bad_transcript: "\"current\"" => "\"pr3426\"",
        ["cluster.auth.transcript is \"pr3426\"", "\"current\" or \"pr3425\""];
    a_bad_word_for_retired_links: "\"keep\"" => "\"drop\"",
        ["cluster.auth.retired_links is \"drop\"", "\"reconnect\" or \"keep\""];
    a_bad_handler: "\"sink\"" => "\"drain\"",
        ["node.handler is \"drain\"", "\"sink\" or \"echo\""];
    a_bad_size: "\"2MiB\"" => "\"2MX\"",
        ["bus.outbox_bytes is \"2MX\"", "\"64MiB\", or a number of bytes"];
    a_bad_duration: "\"1s\"" => "\"soon\"",
        ["bus.hello_grace is \"soon\"", "\"10s\", \"500ms\" or \"20us\""];
    a_duration_without_a_unit: "spin = \"0us\"" => "spin = 20",
        ["bus.spin is 20;", "\"10s\", \"500ms\" or \"20us\""];
    a_bad_flag: INLINE => "enabled = \"no\"",
        ["cluster.auth.enabled is \"no\"", "true or false"];
    a_bad_number: "outbox_frames = 16" => "outbox_frames = 1.5",
        ["bus.outbox_frames is 1.5;", "whole number"];
    a_count_out_of_range: "outbox_frames = 16" => "outbox_frames = 0",
        ["bus.outbox_frames is 0;", "1 to 1048575"];
    a_size_out_of_range: "\"1MiB\"" => "\"8GiB\"",
        ["bus.max_message_size is \"8GiB\"", "256 to 1073741824"];
    a_duration_out_of_range: "\"1s\"" => "\"11s\"",
        ["bus.hello_grace is \"11s\"", "10ms to 10s"];
    shards_out_of_range: "shards = 1" => "shards = 1025",
        ["bus.shards is 1025;", "0 to 1024"];
    an_outbox_below_the_largest_message: "\"2MiB\"" => "\"512KiB\"",
        ["bus.outbox_bytes is \"512KiB\"", "1048576"];
    two_replicas_at_one_address: "127.0.0.1:7000" => "127.0.0.1:7001",
        ["cluster.replicas[1].address is \"127.0.0.1:7001\"", "no other replica has; replica 0 does"];
    a_peer_at_port_0: "127.0.0.1:7000" => "127.0.0.1:0",
        ["cluster.replicas[0].address is \"127.0.0.1:0\"", "a port that is not 0"];
    http_on_the_replica_port: "127.0.0.1:9600" => "127.0.0.1:7001",
        ["http.listen is \"127.0.0.1:7001\"", "apart from the replica port's"];
    http_on_the_replica_port_of_every_interface: "127.0.0.1:9600" => "0.0.0.0:7001",
        ["http.listen is \"0.0.0.0:7001\"", "apart from the replica port's"];
    text_that_is_no_toml: "name = \"orders\"" => "name = orders",
        ["node.toml: line 3, column 8: "];
    a_key_given_twice: "replica = 1" => "replica = 1\nreplica = 1",
        ["node.toml: line 5, column 1: ", "duplicate"];
    an_unfinished_secret: INLINE => "shared_secret = \"hunter2hunter2",
        ["node.toml: line 15, column "];
}

#[test]
fn the_good_configuration_is_good() {
    let shown = run_with("check", &Written::new(GOOD).file()).succeeded();
    assert!(!shown.contains(SECRET), "{shown}");
}

#[test]
fn a_file_that_is_missing() {
    let written = Written::new(GOOD);
    fs::remove_file(written.file()).expect("it was written");
    expect(&written, &[], &["node.toml: cannot be read: No such file"]);
}

#[test]
fn a_file_that_is_no_text() {
    let written = Written::new(GOOD);
    fs::write(written.file(), [0xff; 300]).expect("it is ours");
    expect(&written, &[], &["node.toml: cannot be read: ", "UTF-8"]);
}

#[test]
fn an_unknown_variable() {
    let environment = [("RINGSEAL_BUS__SHARD", "2")];
    let parts = ["RINGSEAL_BUS__SHARD names no key", "RINGSEAL_BUS__SHARDS"];
    expect(&Written::new(GOOD), &environment, &parts);
}

#[test]
fn a_bad_value_from_the_environment() {
    for (name, value, parts) in [
        ("RINGSEAL_BUS__SHARDS", "many", ["bus.shards (set by", "is \"many\"", "whole number"]),
        ("RINGSEAL_CLUSTER__REPLICA", "256", ["cluster.replica (set by", "is \"256\"", "0 to 255"]),
        ("RINGSEAL_BUS__HELLO_GRACE", "1h", ["bus.hello_grace (set by", "is \"1h\"", "10ms to"]),
        ("RINGSEAL_CLUSTER__REPLICAS", "none", ["cluster.replicas (set by", "\"none\"", "array"]),
        (
            "RINGSEAL_CLUSTER__AUTH__SHARED_SECRET",
            "hunter2",
            ["cluster.auth.shared_secret (set by", "holds 7 bytes", "32 or more"],
        ),
        (
            "RINGSEAL_CLUSTER__AUTH__SHARED_SECRET_FILE",
            "cluster.key",
            ["cluster.auth.shared_secret and", "(set by", "both given"],
        ),
    ] {
        let named = [name, parts[0], parts[1], parts[2]];
        expect(&Written::new(GOOD), &[(name, value)], &named);
    }
}

#[test]
fn a_log_filter_that_is_none() {
    let written = Written::new(GOOD);
    let mut command = ringseal();
    command.arg("node").arg("--config").arg(written.file()).env("RUST_LOG", "ringseal=loud");
    run(&mut command).failed(2, &["RUST_LOG is \"ringseal=loud\"", "it may be a level"]);
}
