//! Where the demo writes: a terminal that can be redrawn, or plain lines.

use std::io::{self, IsTerminal};

use crossterm::style::Stylize;
use crossterm::terminal::{self, Clear, ClearType};
use crossterm::{Command, cursor};

/// What standard output is.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { terminal: io::stdout().is_terminal() }
    }

    /// Whether lines can be drawn over.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Columns and rows of the terminal; 80 by 24 where there is none to ask.
    pub(super) fn size(&self) -> (usize, usize) {
        let (columns, rows) = terminal::size().unwrap_or((80, 24));
        // Some terminals do not know, and say 0.
        let known = |size: u16, default| if size == 0 { default } else { usize::from(size) };
        (known(columns, 80), known(rows, 24))
    }

    pub(super) fn title(&self, replicas: u8) -> String {
        let title = format!("ringseal {}", env!("CARGO_PKG_VERSION"));
        let title = if self.terminal { title.bold().to_string() } else { title };
        format!("{title} · {replicas} replicas in one process, each with its own keys and shard\n")
    }

    pub(super) fn heading(&self, text: &str) -> String {
        if self.terminal { format!("\n{}\n", text.bold().cyan()) } else { format!("\n{text}\n") }
    }

    /// The lines, drawn over the `over` lines that end at the cursor. Each is cut to the terminal's
    /// width, for one that wraps would spoil the count.
    pub(super) fn redraw(&self, lines: &[String], over: usize) -> String {
        let (columns, _) = self.size();
        let mut text = String::new();
        if over > 0 {
            ansi(&mut text, cursor::MoveUp(u16::try_from(over).unwrap_or(u16::MAX)));
        }
        for line in lines {
            text.extend(line.chars().take(columns.saturating_sub(1)));
            ansi(&mut text, Clear(ClearType::UntilNewLine));
            text.push('\n');
        }
        ansi(&mut text, Clear(ClearType::FromCursorDown));
        text
    }
}

/// Appends a terminal command; writing to a string does not fail.
fn ansi(text: &mut String, command: impl Command) {
    let _ = command.write_ansi(text);
}
