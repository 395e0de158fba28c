//! What the binary prints about itself for packages: its man page and completions for shells.

use std::io;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::cli::Arguments;

/// The man page of the command and all its subcommands, as roff.
///
/// # Errors
///
/// None in practice: memory takes every write.
pub fn man() -> io::Result<Vec<u8>> {
    let command = Arguments::command();
    let mut page = Vec::new();
    let manual = clap_mangen::Man::new(command.clone()).manual("ringseal");
    manual.render_title(&mut page)?;
    manual.render_name_section(&mut page)?;
    manual.render_synopsis_section(&mut page)?;
    manual.render_description_section(&mut page)?;
    manual.render_options_section(&mut page)?;
    for subcommand in visible(&command) {
        let name = format!("ringseal {}", subcommand.get_name());
        page.extend_from_slice(format!(".SH \"{}\"\n", name.to_uppercase()).as_bytes());
        let manual = clap_mangen::Man::new(subcommand.clone().display_name(&name));
        for nested in visible(subcommand) {
            let about = nested.get_about().map(ToString::to_string).unwrap_or_default();
            page.extend_from_slice(
                format!("{name} {}: {about}\n.br\n", nested.get_name()).as_bytes(),
            );
        }
        let mut section = Vec::new();
        manual.render_description_section(&mut section)?;
        manual.render_options_section(&mut section)?;
        let section = String::from_utf8_lossy(&section).replace(".SH ", ".SS ");
        page.extend_from_slice(section.as_bytes());
    }
    page.extend_from_slice(EXIT_STATUS.as_bytes());
    Ok(page)
}

const EXIT_STATUS: &str = ".SH \"EXIT STATUS\"\n0: done; 1: failed while running; 2: the \
                           configuration or the command line is wrong.\n";

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set())
}

/// The completions of a shell.
#[must_use]
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "ringseal", &mut script);
    script
}
