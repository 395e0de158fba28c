//! Draws the model.

use std::collections::BTreeMap;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, RenderDirection, Row, Sparkline, Table};

use super::model::{App, Column, HISTORY, Row as LinkRow, Screen, Watched};
use crate::units;

const HEADING: Style = Style::new().add_modifier(Modifier::BOLD);
const GOOD: Style = Style::new().fg(Color::Green);
const BAD: Style = Style::new().fg(Color::Red);
const CAUTION: Style = Style::new().fg(Color::Yellow);

/// Draws everything. `now_ms` is the time since the Unix epoch, for ages.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App, now_ms: u64) {
    let nodes = u16::try_from(app.nodes.len()).unwrap_or(u16::MAX);
    // Of many nodes those that fit into half of the screen are listed; their links all are.
    let nodes = nodes.min(frame.area().height.saturating_sub(4) / 2).max(1);
    let parts = [
        Constraint::Length(1),
        Constraint::Length(nodes + 2),
        Constraint::Min(3),
        Constraint::Length(1),
    ];
    let [title, summary, body, keys] = Layout::vertical(parts).areas(frame.area());
    draw_title(frame, title, app);
    draw_nodes(frame, summary, app);
    match app.screen {
        Screen::Links => draw_links(frame, body, app, now_ms),
        Screen::Handshakes => draw_handshakes(frame, body, app),
    }
    let hint = "q quit · l links · h handshakes · s sort · r reverse · ↑↓ scroll";
    frame.render_widget(Paragraph::new(hint).style(Style::new().fg(Color::DarkGray)), keys);
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let cluster = app.nodes.iter().find_map(Watched::sample).map(|sample| sample.cluster.as_str());
    let title = Line::from(vec![
        Span::styled("ringseal top", HEADING),
        Span::raw(format!(" · {}", cluster.unwrap_or("no node answers yet"))),
    ]);
    frame.render_widget(Paragraph::new(title), area);
}

fn draw_nodes(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let block = Block::bordered().title(" nodes · frames/s ");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let rows = Layout::vertical(vec![Constraint::Length(1); inner.height.into()]).split(inner);
    for (node, row) in app.nodes.iter().zip(rows.iter()) {
        let spark = Constraint::Max(HISTORY as u16);
        let [text, graph] = Layout::horizontal([Constraint::Length(NODE_LINE), spark]).areas(*row);
        frame.render_widget(Paragraph::new(node_line(node)), text);
        let history = Sparkline::default()
            .data(node.history.iter().rev().copied())
            .direction(RenderDirection::RightToLeft)
            .style(Style::new().fg(Color::Cyan));
        frame.render_widget(history, graph);
    }
}

/// How wide the text about a node is.
const NODE_LINE: u16 = 67;

fn node_line(node: &Watched) -> Line<'_> {
    let name = Span::raw(format!("{:<21} ", node.name));
    let Some(sample) = node.sample() else {
        let error = node.error.as_deref().unwrap_or("has not answered yet");
        return Line::from(vec![Span::raw("    "), name, Span::styled(error, BAD)]);
    };
    let up = sample.links.iter().filter(|link| link.is_up()).count();
    let all = sample.links.len();
    let links = Span::styled(format!("{up}/{all} up  "), if up == all { GOOD } else { BAD });
    let (safe, style) = match sample.safe_to_enforce {
        true => ("safe to enforce    ", GOOD),
        false => ("not safe to enforce", CAUTION),
    };
    let total = units::count(node.total().frames() as u64);
    Line::from(vec![
        Span::styled(format!("{:>3} ", sample.replica), HEADING),
        name,
        links,
        Span::styled(safe, style),
        Span::raw(format!("{total:>12} ")),
    ])
}

/// The columns of the table of links: the name, the width, and whether numbers stand in it.
const COLUMNS: [(&str, u16, bool); 14] = [
    ("node", 4, true),
    ("peer", 4, true),
    ("state", 5, false),
    ("direction", 9, false),
    ("shard", 5, true),
    ("auth", 4, false),
    ("in/s", 9, true),
    ("out/s", 9, true),
    ("in MiB/s", 8, true),
    ("out MiB/s", 9, true),
    ("outbox", 6, true),
    ("rtt", 7, true),
    ("age", 6, true),
    ("last reason", 19, false),
];

/// Those that a narrow screen has no room for.
const WIDE: [usize; 4] = [3, 8, 9, 11];

fn draw_links(frame: &mut Frame<'_>, area: Rect, app: &App, now_ms: u64) {
    let all: u16 = COLUMNS.iter().map(|(_, width, _)| width + 1).sum();
    let columns: Vec<usize> =
        (0..COLUMNS.len()).filter(|at| area.width > all || !WIDE.contains(at)).collect();
    let rows = app.links();
    let reversed = if app.reversed { ", reversed" } else { "" };
    let title = format!(" links by {}{reversed} ", app.sort.as_str());
    let header = Row::new(columns.iter().map(|at| {
        let sorted = sorted_column(app.sort) == *at;
        let style = if sorted { HEADING.add_modifier(Modifier::UNDERLINED) } else { HEADING };
        cell(*at, COLUMNS[*at].0.to_owned()).style(style)
    }));
    let shown = rows.iter().skip(app.scrolled).map(|row| link_row(row, &columns, now_ms));
    let widths = columns.iter().map(|at| match COLUMNS[*at] {
        ("last reason", ..) => Constraint::Fill(1),
        (_, width, _) => Constraint::Length(width),
    });
    let table = Table::new(shown, widths).header(header).block(Block::bordered().title(title));
    frame.render_widget(table, area);
}

/// Where the column stands that the links are sorted by.
fn sorted_column(column: Column) -> usize {
    match column {
        Column::Node => 0,
        Column::Peer => 1,
        Column::State => 2,
        Column::Rate => 6,
        Column::Outbox => 10,
        Column::Age => 12,
    }
}

/// Numbers stand to the right of their column, words to the left.
fn cell(column: usize, text: String) -> Cell<'static> {
    let side = if COLUMNS[column].2 { Alignment::Right } else { Alignment::Left };
    Cell::from(Line::from(text).alignment(side))
}

fn link_row(row: &LinkRow<'_>, columns: &[usize], now_ms: u64) -> Row<'static> {
    let (link, rate) = (row.link, row.rate);
    let age = Duration::from_millis(now_ms.saturating_sub(link.since_ms));
    let texts = [
        row.node.to_string(),
        link.id.to_string(),
        link.state.clone(),
        link.direction.clone(),
        link.shard.map_or_else(|| "-".to_owned(), |shard| shard.to_string()),
        if link.authenticated { "yes" } else { "no" }.to_owned(),
        units::count(rate.frames_in as u64),
        units::count(rate.frames_out as u64),
        units::mib(rate.bytes_in),
        units::mib(rate.bytes_out),
        link.outbox.to_string(),
        link.rtt_us.map_or_else(|| "-".to_owned(), |us| units::time(Duration::from_micros(us))),
        units::age(age),
        link.last_reason.clone().unwrap_or_default(),
    ];
    let colour = match (link.is_up(), link.authenticated) {
        (false, _) => BAD,
        (true, false) => CAUTION,
        (true, true) => GOOD,
    };
    let cells = columns.iter().map(|at| {
        let telling = ["state", "auth"].contains(&COLUMNS[*at].0);
        cell(*at, texts[*at].clone()).style(if telling { colour } else { Style::new() })
    });
    Row::new(cells)
}

fn draw_handshakes(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let answering: Vec<_> = app.nodes.iter().filter_map(Watched::sample).collect();
    let mut counts: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
    for (at, sample) in answering.iter().enumerate() {
        for ((role, result), count) in &sample.handshakes {
            let row = counts.entry((result, role)).or_insert_with(|| vec![0; answering.len()]);
            row[at] = *count;
        }
    }
    let right = |text: String| Cell::from(Line::from(text).alignment(Alignment::Right));
    let nodes = answering.iter().map(|sample| right(format!("node {}", sample.replica)));
    let words = ["result", "role"].map(Cell::from);
    let header = Row::new(words.into_iter().chain(nodes)).style(HEADING);
    // What never happened says nothing.
    let happened = counts.into_iter().filter(|(_, counts)| counts.iter().any(|count| *count > 0));
    let rows = happened.skip(app.scrolled).map(|((result, role), counts)| {
        let style = if result == "ok" { GOOD } else { BAD };
        let words = [Cell::from(result.to_owned()).style(style), Cell::from(role.to_owned())];
        let counts = counts.into_iter().map(|count| right(units::count(count)));
        Row::new(words.into_iter().chain(counts))
    });
    let mut widths = vec![Constraint::Length(20), Constraint::Length(10)];
    widths.extend(answering.iter().map(|_| Constraint::Length(12)));
    let block = Block::bordered().title(" handshakes by result, since each node's start ");
    frame.render_widget(Table::new(rows, widths).header(header).block(block), area);
}

#[cfg(test)]
mod tests {
    use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::top::model::tests::app;

    fn terminal(app: &App, width: u16, height: u16) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("no device");
        terminal.draw(|frame| draw(frame, app, 1_005_000)).expect("drawn");
        terminal
    }

    /// The screen as text, without the quotes around each line and the space at its end.
    fn shown(app: &App, width: u16, height: u16) -> String {
        let screen = terminal(app, width, height).backend().to_string();
        let lines = screen.lines().map(|line| line.trim_matches('"').trim_end());
        lines.map(|line| line.to_owned() + "\n").collect()
    }

    fn press(app: &mut App, key: char) {
        app.press(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE));
    }

    #[test]
    fn the_screen_of_links_is_as_its_snapshot() {
        let mut app = app();
        assert_eq!(shown(&app, 140, 14), include_str!("snapshots/links.txt"));
        press(&mut app, 's');
        press(&mut app, 's');
        press(&mut app, 'r');
        assert_eq!(shown(&app, 80, 12), include_str!("snapshots/links_narrow.txt"));
    }

    #[test]
    fn the_screen_of_handshakes_is_as_its_snapshot() {
        let mut app = app();
        press(&mut app, 'h');
        assert_eq!(shown(&app, 100, 14), include_str!("snapshots/handshakes.txt"));
    }

    #[test]
    fn before_the_first_answer_the_screen_says_so() {
        let app = App::new(["127.0.0.1:9600".to_owned()]);
        assert_eq!(shown(&app, 100, 10), include_str!("snapshots/nothing.txt"));
    }

    #[test]
    fn colours_tell_what_is_down_and_what_is_not_authenticated() {
        let app = app();
        let terminal = terminal(&app, 140, 14);
        let buffer = terminal.backend().buffer();
        let colour = |text: &str, row: u16| {
            let line: String = (0..140).map(|x| buffer[(x, row)].symbol()).collect();
            let at = line.find(text).unwrap_or_else(|| panic!("{text} is not in {line}"));
            let at = line[..at].chars().count();
            buffer[(u16::try_from(at).expect("narrow"), row)].fg
        };
        assert_eq!([colour("up", 8), colour("no", 9)], [Color::Green, Color::Yellow]);
        assert_eq!(colour("down", 11), Color::Red);
        assert_eq!(colour("nobody listens", 4), Color::Red);
    }

    #[test]
    fn no_size_of_the_terminal_is_too_small() {
        let app = app();
        for (width, height) in [(1, 1), (5, 3), (20, 5), (300, 2), (2, 100)] {
            terminal(&app, width, height);
        }
    }
}
