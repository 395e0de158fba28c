//! The page at `GET /` in a real browser, which is clicked at and photographed.

use ringseal_tests::address;
use ringseal_tests::cluster::wait_for;
use ringseal_tests::stranger::{Credentials, Stranger, TRUE};
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::node::{Node, Plan};

#[test]
fn the_page_comes_with_a_policy_that_lets_nothing_else_in() {
    let node = Node::start(Plan::for_a_stranger());
    let answer = node.get("/");
    assert_eq!(answer.status, 200);
    for header in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; script-src 'nonce-",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
    ] {
        assert!(answer.head.contains(header), "{header} is not in {}", answer.head);
    }
    node.stop();
}

#[test]
fn a_browser_shows_the_mesh_and_what_is_clicked_at() {
    let Some(mut browser) = Browser::start() else { return };
    let roster: Vec<_> = (0..4).map(|id| (id, address::unused())).collect();
    // Replica 0 is a stranger, 2 runs, 3 does not.
    let node = Node::start(Plan::new(1, &roster));
    let other = Node::start(Plan::new(2, &roster));
    let wrong = Credentials { secret: 1, ..TRUE };
    let mut liar = Stranger::connect(node.plan.address());
    assert!(liar.try_prove(&wrong, 0, 1).is_err(), "the node's proof is not of that secret");
    drop(liar);
    let _stranger = Stranger::join(node.plan.address(), &TRUE, 0, 1);

    let origin = format!("http://{}/", node.plan.http);
    browser.open(&origin);
    browser.wait("document.getElementById('state').textContent", &json!("2 of 3 links up"));
    let title = browser.evaluate("document.getElementById('title').textContent");
    assert_eq!(title, json!("ringseal-tests · replica 1"));
    let moods = "[...document.querySelectorAll('.edge')].map(e => e.getAttribute('class'))";
    browser.wait(moods, &json!(["edge good", "edge good", "edge bad"]));
    let labels = "[...document.querySelectorAll('g[role=button]')].map(g => g.ariaLabel)";
    let said = json!(["replica 0: up", "replica 2: up", "replica 3: down"]);
    assert_eq!(browser.evaluate(labels), said);
    let table = "[...document.querySelectorAll('#links tr')].map(r => \
                 [0, 2, 3, 5].map(c => r.cells[c].textContent).join(' '))";
    let rows = json!(["0 up inbound yes", "2 up outbound yes", "3 down outbound no"]);
    assert_eq!(browser.evaluate(table), rows, "the table says the same as the graph");
    let refusals =
        "[...document.querySelectorAll('#refusals tr')].map(r => r.cells[0].textContent)";
    let refused = wait_for("both refusals show", || {
        let refused = browser.evaluate(refusals);
        let list = refused.as_array().expect("a list").clone();
        (list.len() == 2).then_some(list)
    });
    assert!(refused.contains(&json!("challenge_abandoned")) && refused.contains(&json!("io")));

    browser.click("#replica-3");
    let chosen = "document.getElementById('detail-title').textContent";
    browser.wait(chosen, &json!("Replica 3"));
    let detail = browser.evaluate("document.getElementById('detail').textContent");
    let detail = detail.as_str().expect("text");
    assert!(detail.contains("last_reasonio") && detail.contains("statedown"), "{detail}");
    browser.click("#pause");
    browser.wait("document.getElementById('pause').textContent", &json!("go on"));
    // What has happened since is not shown before the page goes on.
    drop(other.stop());
    assert_eq!(browser.evaluate(moods), json!(["edge good", "edge good", "edge bad"]));
    browser.click("#pause");
    browser.wait(moods, &json!(["edge good", "edge bad", "edge bad"]));

    let picture = browser.photograph();
    assert!(picture.starts_with(b"\x89PNG\r\n\x1a\n") && picture.len() > 10_000);
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("page.png");
    std::fs::write(&file, picture).expect("the directory is there");
    println!("the screenshot is {}", file.display());
    let elsewhere: Vec<&Value> =
        browser.requests().into_iter().filter(|url| !is_within(url, &origin)).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    assert_eq!(browser.complaints(), Vec::<&Value>::new());
    node.stop();
}

fn is_within(url: &Value, origin: &str) -> bool {
    url.as_str().is_some_and(|url| url.starts_with(origin))
}
