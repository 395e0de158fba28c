//! A headless Chromium, told what to do through a pipe.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use ringseal_tests::cluster::{PATIENCE, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The names that distributions give it.
const NAMES: [&str; 5] =
    ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome"];

/// A browser with one page. It ends with its test.
pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    answers: Receiver<Value>,
    events: VecDeque<Value>,
    sent: u64,
    session: Option<Value>,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser, or says on standard error that there is none.
    pub(crate) fn start() -> Option<Self> {
        let runs = |name: &&&str| {
            let version = Command::new(name).arg("--version").stdout(Stdio::null()).status();
            version.is_ok_and(|status| status.success())
        };
        let Some(name) = NAMES.iter().find(runs) else {
            eprintln!("SKIPPED: this test needs Chromium, as in Debian's chromium-headless-shell");
            return None;
        };
        let profile = tempfile::tempdir().expect("a directory");
        // The browser reads from descriptor 3 and writes to descriptor 4.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh", name]);
        command.args(["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"]);
        command.arg("--disable-dev-shm-usage").arg("--window-size=1200,900");
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let to = child.stdin.take().expect("piped");
        let from = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || {
            let whole = from.split(0).map_while(Result::ok);
            let values = whole.map(|message| serde_json::from_slice(&message).expect("JSON"));
            for value in values {
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let (events, _profile) = (VecDeque::new(), profile);
        Some(Self { child, to, answers, events, sent: 0, session: None, _profile })
    }

    /// Has the browser do something and returns its answer.
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.clone();
        }
        let mut bytes = serde_json::to_vec(&message).expect("JSON");
        bytes.push(0);
        self.to.write_all(&bytes).expect("the browser runs");
        loop {
            let answer = self.answers.recv_timeout(PATIENCE).expect("the browser answers");
            if answer["id"] == self.sent {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push_back(answer);
        }
    }

    /// Opens a page and listens to what happens there.
    pub(crate) fn open(&mut self, url: &str) {
        let target = self.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.ask("Target.attachToTarget", target);
        self.session = Some(attached["sessionId"].clone());
        for domain in ["Page", "Runtime", "Network", "Log"] {
            self.ask(&format!("{domain}.enable"), json!({}));
        }
        self.ask("Page.navigate", json!({ "url": url }));
    }

    /// The value of an expression.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let result = self.ask("Runtime.evaluate", params);
        result["result"]["value"].clone()
    }

    /// Waits until an expression has a value. One that cannot be evaluated yet has none.
    pub(crate) fn wait(&mut self, expression: &str, value: &Value) {
        wait_until(expression, || self.evaluate(expression) == *value);
    }

    /// Clicks at the middle of an element, with the mouse.
    pub(crate) fn click(&mut self, selector: &str) {
        let place = self.evaluate(&format!(
            "(() => {{ const e = document.querySelector('{selector}'); e.scrollIntoView(); \
             const r = e.getBoundingClientRect(); \
             return {{ x: r.x + r.width / 2, y: r.y + r.height / 2 }}; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let (x, y) = (&place["x"], &place["y"]);
            let params = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.ask("Input.dispatchMouseEvent", params);
        }
    }

    /// A picture of the page, as PNG.
    pub(crate) fn photograph(&mut self) -> Vec<u8> {
        let picture = self.ask("Page.captureScreenshot", json!({ "format": "png" }));
        base64(picture["data"].as_str().expect("text"))
    }

    /// The addresses that the page has asked for.
    pub(crate) fn requests(&self) -> Vec<&Value> {
        let sent =
            self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.map(|event| &event["params"]["request"]["url"]).collect()
    }

    /// Errors of the page's script and breaches of its policy.
    pub(crate) fn complaints(&self) -> Vec<&Value> {
        let is_one = |event: &&Value| {
            event["method"] == "Runtime.exceptionThrown"
                || event["method"] == "Log.entryAdded"
                    && event["params"]["entry"]["level"] == "error"
        };
        self.events.iter().filter(is_one).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Decodes base64, of which the browser makes no mistakes.
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte: &u8| DIGITS.iter().position(|digit| digit == byte).map(|at| at as u32);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.as_bytes().chunks(4) {
        let digits: Vec<u32> = group.iter().filter_map(digit).collect();
        let word = digits.iter().fold(0, |word, digit| word << 6 | digit);
        let word = word << (6 * (4 - digits.len()));
        bytes.extend(&word.to_be_bytes()[1..digits.len()]);
    }
    bytes
}
