//! Every way in which a configuration can be wrong, by name, and what a right one becomes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ringseal::RetiredLinks;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NO_ENVIRONMENT: [(&str, &str); 0] = [];

/// A right configuration, with `cluster`, `auth` and `rest` put into it.
fn text(cluster: &str, auth: &str, rest: &str) -> String {
    format!(
        "[cluster]\nname = \"orders\"\nreplica = 1\n{cluster}\n\
         [[cluster.replicas]]\nid = 0\naddress = \"127.0.0.1:7000\"\n\
         [[cluster.replicas]]\nid = 1\naddress = \"127.0.0.1:7001\"\n\
         [cluster.auth]\n{auth}\n{rest}\n"
    )
}

fn with_auth(auth: &str) -> String {
    text("", auth, "")
}

fn with_rest(rest: &str) -> String {
    text("", &format!("shared_secret = \"{SECRET}\""), rest)
}

/// Without the table [cluster.auth].
fn bare(replicas: &str) -> String {
    format!("[cluster]\nname = \"orders\"\nreplica = 1\n{replicas}\nauth.enabled = false\n")
}

fn complete(text: &str, environment: &[(&str, &str)]) -> Settings {
    let draft = parse(text, environment.iter().copied()).expect("a right configuration");
    draft.complete(Path::new("")).expect("no file needed")
}

fn error_of(text: &str) -> ConfigError {
    parse(text, NO_ENVIRONMENT).expect_err(text)
}

/// Asserts that the text is refused for `key`, and that the message has each of `parts`.
fn refused(text: &str, key: &str, parts: &[&str]) {
    let error = error_of(text);
    let message = error.to_string();
    assert_eq!(error.key(), Some(key), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    assert!(!message.contains('\n'), "{message:?}");
    assert!(!message.contains(SECRET), "{message:?}");
}

#[test]
fn a_small_configuration_has_the_defaults_that_are_documented() {
    let settings = complete(&with_rest(""), &[]);
    assert_eq!(settings.cluster, "orders");
    assert_eq!(settings.handler, HandlerKind::Sink);
    assert_eq!(settings.bus.retired_links(), RetiredLinks::Reconnect);
    assert_eq!((&settings.http, &settings.audit), (&None, &None));
    assert_eq!(settings.warnings.len(), 1);
    assert!(settings.warnings[0].contains("2 replicas"), "{:?}", settings.warnings);
    let shown = settings.effective.to_string();
    for line in [
        "listen = \"127.0.0.1:7001\"         # our own address",
        "enabled = true                    # default",
        "enforcement = \"enforce\"           # default",
        "transcript = \"current\"            # default",
        "max_message_size = \"64MiB\"        # default",
        "outbox_frames = 1024              # default",
        "outbox_bytes = \"64MiB\"            # default",
        "receive_budget = \"256MiB\"         # default",
        "spin = \"0s\"                       # default",
        "handshake_grace = \"10s\"           # default",
        "hello_grace = \"1s\"                # default",
        "reconnect_period = \"5s\"           # default",
        "preauth_connections = 1024        # default",
        "handler = \"sink\"                  # default",
    ] {
        assert!(shown.lines().any(|found| found == line), "{line:?} is not in\n{shown}");
    }
}

#[test]
fn every_key_of_the_file_is_understood() {
    let settings = complete(
        &text(
            "listen = \"0.0.0.0:7001\"",
            &format!(
                "enabled = true\nenforcement = \"soft\"\nshared_secret = \"{SECRET}\"\n\
                 previous_shared_secret = \"{SECRET}\"\ntranscript = \"pr3425\"\n\
                 retired_links = \"keep\"\nsafe_after = \"1h\""
            ),
            "[bus]\nshards = 2\nmax_message_size = \"1MiB\"\noutbox_frames = 9\n\
             outbox_bytes = 2097152\nreceive_budget = \"4 MiB\"\nspin = \"20us\"\n\
             handshake_grace = \"2s\"\nhello_grace = \"500ms\"\nreconnect_period = \"1m\"\n\
             preauth_connections = 7\n[node]\nhandler = \"echo\"\n\
             [http]\nlisten = \"localhost:9600\"\n[audit]\nfile = \"audit.jsonl\"\n\
             max_size = \"1MiB\"",
        ),
        &[],
    );
    assert_eq!(settings.bus.shards(), 2);
    assert_eq!(settings.handler, HandlerKind::Echo);
    assert_eq!(settings.bus.retired_links(), RetiredLinks::Keep);
    assert_eq!(settings.http.map(|address| address.to_string()).as_deref(), Some("localhost:9600"));
    assert_eq!(settings.audit, Some(Audit { file: "audit.jsonl".into(), max_size: 1 << 20 }));
    assert!(!settings.effective.to_string().contains("default"), "{}", settings.effective);
}

#[test]
fn unknown_keys_are_refused_wherever_they_are() {
    for (text, key, allowed) in [
        (format!("colour = 1\n{}", with_rest("")), "colour", "cluster, bus, node, http, audit"),
        (text("nmae = \"x\"", "enabled = false", ""), "cluster.nmae", "name, replica, replicas"),
        (with_auth("enabled = false\nsecret = \"x\""), "cluster.auth.secret", "shared_secret_file"),
        (with_rest("[bus]\nshard = 1"), "bus.shard", "shards, max_message_size"),
        (with_rest("[node]\nhandle = 1"), "node.handle", "handler"),
        (with_rest("[http]\nlisten = \"[::1]:1\"\nport = 1"), "http.port", "listen"),
        (with_rest("[audit]\nfile = \"a\"\nsize = 1"), "audit.size", "file, max_size"),
        (
            bare("replicas = [{ id = 1, address = \"[::1]:1\", port = 4 }]"),
            "cluster.replicas[0].port",
            "id, address",
        ),
    ] {
        refused(&text, key, &["is not a known key", allowed]);
    }
}

#[test]
fn what_must_be_given_is_missed_by_name() {
    let replica = "replicas = [{ id = 1, address = \"[::1]:1\" }]";
    for (text, key, allowed) in [
        ("[cluster]\nreplica = 1".to_owned(), "cluster.name", "a text"),
        ("[cluster]\nname = \"x\"".to_owned(), "cluster.replica", "0 to 255"),
        (bare(""), "cluster.replicas", "[[cluster.replicas]]"),
        (bare("replicas = []"), "cluster.replicas", "[[cluster.replicas]]"),
        (bare("replicas = [{ id = 1 }]"), "cluster.replicas[0].address", "192.0.2.1:7000"),
        (bare("replicas = [{ address = \"[::1]:1\" }]"), "cluster.replicas[0].id", "0 to 255"),
        (
            format!("[cluster]\nname = \"x\"\nreplica = 1\n{replica}"),
            "cluster.auth.enabled",
            "false to run without authentication",
        ),
        (with_auth("enabled = true"), "cluster.auth.shared_secret_file", "ringseal keygen"),
        (with_auth(""), "cluster.auth.shared_secret_file", "cluster.auth.enabled must be false"),
        (with_rest("[http]"), "http.listen", "192.0.2.1:7000"),
        (with_rest("[audit]"), "audit.file", "the path of a file"),
    ] {
        refused(&text, key, &["is missing", allowed]);
    }
}

#[test]
fn values_of_the_wrong_kind_are_shown_with_what_is_right() {
    let replicas = |id: &str, address: &str| {
        bare(&format!("replicas = [{{ id = {id}, address = {address} }}]"))
    };
    let address = "cluster.replicas[0].address";
    for (text, key, found, allowed) in [
        (replicas("256", "\"[::1]:1\""), "cluster.replicas[0].id", "256", "0 to 255"),
        (replicas("-1", "\"[::1]:1\""), "cluster.replicas[0].id", "-1", "0 to 255"),
        (replicas("1", "\"here\""), address, "\"here\"", "name.example:7000"),
        (replicas("1", "7000"), address, "7000", "name.example:7000"),
        (replicas("1", "\"::1:7000\""), address, "\"::1:7000\"", "[2001:db8::1]:7000"),
        (bare("replicas = 3"), "cluster.replicas", "3", "array of tables"),
        (bare("replicas = [3]"), "cluster.replicas[0]", "3", "array of tables"),
        (with_auth("enabled = \"yes\""), "cluster.auth.enabled", "\"yes\"", "true or false"),
        (with_rest("[bus]\nshards = -1"), "bus.shards", "-1", "whole number"),
        (with_rest("[bus]\nshards = 1.5"), "bus.shards", "1.5", "whole number"),
        (with_rest("[bus]\noutbox_bytes = \"64MX\""), "bus.outbox_bytes", "\"64MX\"", "\"64MiB\""),
        (with_rest("[bus]\noutbox_bytes = -1"), "bus.outbox_bytes", "-1", "\"64MiB\""),
        (with_rest("[bus]\nspin = \"soon\""), "bus.spin", "\"soon\"", "\"10s\""),
        (with_rest("[bus]\nspin = 5"), "bus.spin", "5", "\"10s\""),
        (with_rest("[bus]\nhello_grace = \"-1s\""), "bus.hello_grace", "\"-1s\"", "\"10s\""),
        (
            with_rest("[node]\nhandler = \"drop\""),
            "node.handler",
            "\"drop\"",
            "\"sink\" or \"echo\"",
        ),
        (with_rest("[http]\nlisten = \"9600\""), "http.listen", "\"9600\"", "[2001:db8::1]:7000"),
        (with_rest("[audit]\nfile = 1"), "audit.file", "1", "the path of a file"),
        (
            with_rest("[audit]\nfile = \"a\"\nmax_size = 1"),
            "audit.max_size",
            "\"1B\"",
            "\"4KiB\" to \"1TiB\"",
        ),
        ("bus = 1".to_owned() + "\n" + &with_rest(""), "bus", "of type integer", "[bus]"),
    ] {
        refused(&text, key, &[&format!("{key} is {found}"), "it may be", allowed]);
    }
}

#[test]
fn words_that_mean_nothing_are_refused_with_those_that_do() {
    let secret = format!("shared_secret = \"{SECRET}\"\n");
    for (line, allowed) in [
        ("enforcement = \"strict\"", "\"enforce\" or \"soft\""),
        ("enforcement = \"off\"", "\"enforce\" or \"soft\""),
        ("transcript = \"old\"", "\"current\" or \"pr3425\""),
        ("retired_links = \"drop\"", "\"reconnect\" or \"keep\""),
    ] {
        let (key, found) = line.split_once(" = ").expect("a key and a value");
        let (key, found) = (format!("cluster.auth.{key}"), format!("is {found};"));
        refused(&with_auth(&format!("{secret}{line}")), &key, &[&found, allowed]);
    }
}

#[test]
fn limits_out_of_range_are_shown_as_they_were_written() {
    for (line, allowed) in [
        ("max_message_size = \"255B\"", "256 to 1073741824"),
        ("max_message_size = \"8GiB\"", "256 to 1073741824"),
        ("outbox_frames = 0", "1 to 1048575"),
        ("outbox_frames = 5000000000", "1 to 1048575"),
        ("outbox_bytes = \"1MiB\"", "67108864 to"),
        ("receive_budget = \"1MiB\"", "67108864 to"),
        ("handshake_grace = \"1ms\"", "10ms to 3600s"),
        ("hello_grace = \"11s\"", "10ms to 10s"),
        ("reconnect_period = \"2h\"", "10ms to 3600s"),
        ("preauth_connections = 3", "4 to 65536"),
        ("shards = 1025", "0 to 1024"),
        ("spin = \"2s\"", "0ns to 1s"),
    ] {
        let (key, found) = line.split_once(" = ").expect("a key and a value");
        let parts = [&format!("is {found};"), allowed];
        refused(&with_rest(&format!("[bus]\n{line}")), &format!("bus.{key}"), &parts);
    }
}

#[test]
fn a_roster_must_list_us_and_everyone_once() {
    let others =
        bare("replicas = [{ id = 0, address = \"[::1]:1\" }, { id = 7, address = \"[::1]:2\" }]");
    refused(&others, "cluster.replica", &["is 1;", "0, 7"]);
    let twice =
        bare("replicas = [{ id = 1, address = \"[::1]:1\" }, { id = 1, address = \"[::1]:2\" }]");
    refused(&twice, "cluster.replicas", &["id 1 in it twice", "every id stands once"]);
}

#[test]
fn secrets_are_given_in_one_form_and_are_long_enough() {
    let inline = format!("shared_secret = \"{SECRET}\"\n");
    refused(
        &with_auth(&format!("{inline}shared_secret_file = \"a.key\"")),
        "cluster.auth.shared_secret",
        &["cluster.auth.shared_secret_file", "only one"],
    );
    refused(
        &with_auth(&format!(
            "{inline}previous_shared_secret = \"{SECRET}\"\nprevious_shared_secret_file = \"a\""
        )),
        "cluster.auth.previous_shared_secret",
        &["cluster.auth.previous_shared_secret_file", "only one"],
    );
    let short = with_auth("shared_secret = \"hunter2hunter2\"");
    refused(&short, "cluster.auth.shared_secret", &["14 bytes", "32 or more"]);
    assert!(!error_of(&short).to_string().contains("hunter2"));
    let number = with_auth("shared_secret = 271828182845904523");
    refused(&number, "cluster.auth.shared_secret", &["is no text", "at least 32 bytes"]);
    assert!(!error_of(&number).to_string().contains("2718"));
}

#[test]
fn text_that_is_no_toml_is_located_and_never_quoted() {
    let broken = with_auth(&format!("shared_secret = \"{SECRET}\nenabled = true"));
    let message = error_of(&broken).to_string();
    assert!(message.starts_with("line 12, column "), "{message}");
    assert!(!message.contains(SECRET) && !message.contains('\n'), "{message}");
    for value in ["0x0123abcXYZ", "hunter2", "'hunter2", "[hunter2", "{ hunter2", "\"\\hunter2\""] {
        let message = error_of(&with_auth(&format!("shared_secret = {value}"))).to_string();
        assert!(!message.contains("hunter2") && !message.contains("XYZ"), "{message}");
    }
    assert!(matches!(error_of("[cluster"), ConfigError::Syntax { line: 1, .. }));
    assert!(matches!(error_of("a = 1\na = 2"), ConfigError::Syntax { line: 2, .. }));
}

#[test]
fn every_key_can_come_from_the_environment() {
    let replicas = "[{ id = 3, address = \"[::1]:7003\" }]";
    let json = "[{\"id\": 3, \"address\": \"[::1]:7003\"}]";
    for replicas in [replicas, json] {
        let environment = [
            ("PATH", "/bin"),
            ("RINGSEAL_CLUSTER__NAME", "payments"),
            ("RINGSEAL_CLUSTER__REPLICA", "3"),
            ("RINGSEAL_CLUSTER__LISTEN", "0.0.0.0:7003"),
            ("RINGSEAL_CLUSTER__REPLICAS", replicas),
            ("RINGSEAL_CLUSTER__AUTH__ENABLED", "true"),
            ("RINGSEAL_CLUSTER__AUTH__ENFORCEMENT", "soft"),
            ("RINGSEAL_CLUSTER__AUTH__SHARED_SECRET", SECRET),
            ("RINGSEAL_CLUSTER__AUTH__PREVIOUS_SHARED_SECRET", SECRET),
            ("RINGSEAL_CLUSTER__AUTH__TRANSCRIPT", "pr3425"),
            ("RINGSEAL_CLUSTER__AUTH__RETIRED_LINKS", "keep"),
            ("RINGSEAL_BUS__SHARDS", "2"),
            ("RINGSEAL_BUS__MAX_MESSAGE_SIZE", "1MiB"),
            ("RINGSEAL_BUS__OUTBOX_FRAMES", "9"),
            ("RINGSEAL_BUS__OUTBOX_BYTES", "2097152"),
            ("RINGSEAL_BUS__RECEIVE_BUDGET", "4MiB"),
            ("RINGSEAL_BUS__SPIN", "20us"),
            ("RINGSEAL_BUS__HANDSHAKE_GRACE", "2s"),
            ("RINGSEAL_BUS__HELLO_GRACE", "500ms"),
            ("RINGSEAL_BUS__RECONNECT_PERIOD", "1m"),
            ("RINGSEAL_BUS__PREAUTH_CONNECTIONS", "7"),
            ("RINGSEAL_NODE__HANDLER", "echo"),
            ("RINGSEAL_HTTP__LISTEN", "[::1]:9600"),
            ("RINGSEAL_AUDIT__FILE", "audit.jsonl"),
            ("RINGSEAL_AUDIT__MAX_SIZE", "1MiB"),
        ];
        let settings = complete("", &environment);
        assert_eq!(settings.replicas.len(), 1);
        let shown = settings.effective.to_string();
        for (name, _) in &environment[1..] {
            assert!(shown.contains(&format!("# from {name}")), "{name} is not in\n{shown}");
        }
    }
}

#[test]
fn the_environment_wins_over_the_file_and_its_errors_name_the_variable() {
    let settings = complete(&with_rest("[bus]\nshards = 3"), &[("RINGSEAL_BUS__SHARDS", "2")]);
    assert_eq!(settings.bus.shards(), 2);
    let parts: [(&str, &str, &[&str]); 5] = [
        ("RINGSEAL_BUS__SHARDS", "2000", &["bus.shards (set by", "is 2000;", "0 to 1024"]),
        ("RINGSEAL_CLUSTER__REPLICAS", "none", &["cluster.replicas (set by", "\"none\""]),
        ("RINGSEAL_CLUSTER__AUTH__SHARED_SECRET", "short!", &["shared_secret (set by", "6 bytes"]),
        ("RINGSEAL_CLUSTER__AUTH__SHARED_SECRET_FILE", "f", &["only one of the two"]),
        ("RINGSEAL_BUS__SHARD", "2", &["names no key", "RINGSEAL_BUS__SHARDS"]),
    ];
    for (name, value, parts) in parts {
        let error = parse(&with_rest(""), [(name, value)]).expect_err(name).to_string();
        for part in [name].iter().chain(parts) {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
        assert!(!error.contains("short!"), "{error}");
    }
    let bytes = std::os::unix::ffi::OsStringExt::from_vec(vec![0xff]);
    let environment: [(OsString, OsString); 1] = [("RINGSEAL_BUS__SHARDS".into(), bytes)];
    let error = parse(&with_rest(""), environment).expect_err("not UTF-8").to_string();
    assert!(error.contains("RINGSEAL_BUS__SHARDS is not UTF-8"), "{error}");
}

#[test]
fn a_secret_file_lies_beside_the_configuration_and_loses_one_newline() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let mut with_newline = SECRET.to_owned();
    with_newline.push('\n');
    fs::write(at("cluster.key"), with_newline).expect("written");
    fs::set_permissions(at("cluster.key"), fs::Permissions::from_mode(0o600)).expect("private");
    fs::write(at("node.toml"), with_auth("shared_secret_file = \"cluster.key\"")).expect("written");

    let settings = load(&at("node.toml"), NO_ENVIRONMENT).expect("right");
    assert_eq!(settings.warnings.len(), 1);
    assert!(settings.warnings[0].contains("2 replicas"), "{:?}", settings.warnings);
    let shown = settings.effective.to_string();
    assert!(shown.contains("shared_secret_file = \"cluster.key\" # 32 bytes"), "{shown}");

    fs::set_permissions(at("cluster.key"), fs::Permissions::from_mode(0o644)).expect("open");
    let settings = load(&at("node.toml"), NO_ENVIRONMENT).expect("still right");
    assert!(settings.warnings[0].contains("cluster.key is open to every user"));

    fs::write(at("cluster.key"), "too short\n").expect("written");
    let error = load(&at("node.toml"), NO_ENVIRONMENT).expect_err("short").to_string();
    assert!(error.contains("cluster.auth.shared_secret_file holds 9 bytes"), "{error}");
    fs::write(at("cluster.key"), vec![b'x'; 70_000]).expect("written");
    let error = load(&at("node.toml"), NO_ENVIRONMENT).expect_err("long").to_string();
    assert!(error.contains("32 to 65536 bytes"), "{error}");
}

#[test]
fn files_that_are_not_there_are_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("node.toml");
    let error = load(&file, NO_ENVIRONMENT).expect_err("nothing there").to_string();
    assert!(error.starts_with(&format!("{}: cannot be read: ", file.display())), "{error}");

    fs::write(&file, with_auth("shared_secret_file = \"gone.key\"")).expect("written");
    let error = load(&file, NO_ENVIRONMENT).expect_err("no key").to_string();
    let gone = directory.path().join("gone.key");
    let expected = format!("cluster.auth.shared_secret_file names {}", gone.display());
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn nothing_that_can_be_printed_shows_a_secret() {
    let auth = format!("shared_secret = \"{SECRET}\"\nprevious_shared_secret = \"{SECRET}!\"");
    let draft = parse(&with_auth(&auth), NO_ENVIRONMENT).expect("right");
    assert!(!format!("{draft:?}").contains(SECRET), "{draft:?}");
    let settings = draft.complete(Path::new("")).expect("right");
    assert!(!format!("{settings:?}").contains(SECRET), "{settings:?}");
    let shown = settings.effective.to_string();
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(shown.contains("shared_secret = \"(redacted, 32 bytes)\"\n"), "{shown}");
    assert!(shown.contains("previous_shared_secret = \"(redacted, 33 bytes)\"\n"), "{shown}");
}

#[test]
fn what_is_shown_is_toml_again() {
    let settings = complete(
        &text("", &format!("shared_secret = \"{SECRET}\""), "[audit]\nfile = \"a\\\"\\u0007b\""),
        &[("RINGSEAL_HTTP__LISTEN", "[::1]:9600")],
    );
    let shown = settings.effective.to_string();
    // All but the secret, which is the one thing left out, reads back as it was.
    let shown = shown.replace("(redacted, 32 bytes)", SECRET);
    let again = complete(&shown, &[]);
    assert_eq!(again.audit, settings.audit);
    assert_eq!((again.http, again.replicas), (settings.http, settings.replicas));
}

#[test]
fn without_authentication_there_is_a_warning() {
    let settings = complete(&with_auth("enabled = false"), &[]);
    assert!(settings.warnings[0].contains("authentication is off"));
}
