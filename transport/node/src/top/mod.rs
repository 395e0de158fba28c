//! `ringseal top`: a live view of one or more nodes in the terminal.

mod fetch;
mod model;
mod view;

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyEventKind};
use ratatui::DefaultTerminal;
use ringseal::{Address, Environment, System};

use crate::cli::Failure;
use fetch::Sample;
use model::{App, Go};

/// How often each node is asked.
const PERIOD: Duration = Duration::from_secs(1);
/// How soon a key that is pressed shows, and an answer that has come.
const LOOK: Duration = Duration::from_millis(50);

/// An answer, or why there is none, of the node with this number.
type News = (usize, Result<Sample, String>);

/// Shows the nodes that serve HTTP at these addresses until a key ends it.
///
/// # Errors
///
/// [`Failure`] when standard output is no terminal, or the terminal fails.
pub fn run(addresses: Vec<Address>) -> Result<(), Failure> {
    let terminal = |error: io::Error| Failure::Running(format!("the terminal fails: {error}"));
    if !io::stdout().is_terminal() {
        let advice = "`ringseal top` draws on a terminal, and standard output is none; scripts read \
                      GET /peers and GET /metrics";
        return Err(Failure::Running(advice.to_owned()));
    }
    let (sender, news) = mpsc::channel();
    let app = App::new(addresses.iter().map(ToString::to_string));
    for (node, address) in addresses.into_iter().enumerate() {
        let sender = sender.clone();
        thread::Builder::new()
            .name(format!("ringseal-top-{node}"))
            .spawn(move || ask_on(node, &address, &sender))
            .map_err(Failure::running)?;
    }
    let screen = ratatui::try_init().map_err(terminal)?;
    let shown = show(screen, app, &news);
    ratatui::try_restore().and(shown).map_err(terminal)
}

/// Asks one node again and again until nobody listens.
fn ask_on(node: usize, address: &Address, sender: &Sender<News>) {
    let mut next = Instant::now();
    while sender.send((node, fetch::sample(address))).is_ok() {
        next = (next + PERIOD).max(Instant::now());
        thread::sleep(next - Instant::now());
    }
}

fn show(mut screen: DefaultTerminal, mut app: App, news: &mpsc::Receiver<News>) -> io::Result<()> {
    let began = Instant::now();
    loop {
        for (node, sample) in news.try_iter() {
            app.take(node, began.elapsed(), sample);
        }
        let now_ms = System.unix_ms();
        screen.draw(|frame| view::draw(frame, &app, now_ms))?;
        if event::poll(LOOK)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
            && app.press(key) == Go::Away
        {
            return Ok(());
        }
    }
}
