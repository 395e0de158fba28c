//! `ringseal demo`: a whole cluster on loopback, strangers at its door, and traffic on every link.

mod cluster;
mod link;
mod screen;
mod strangers;
mod table;
mod traffic;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::{Failure, print};
use crate::{logging, units};
use cluster::Cluster;
use screen::Screen;

/// How long the mesh may take to come up.
const MESH_DEADLINE: Duration = Duration::from_secs(20);
/// How long frames that are under way at the end may take.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs `replicas` replicas in this process and carries traffic for `seconds`.
///
/// # Errors
///
/// [`Failure`] when the cluster does not come up, a stranger is not refused, or a frame goes astray.
pub fn run(replicas: u8, seconds: u32) -> Result<(), Failure> {
    logging::start("error")?;
    let interrupted = catch_signals()
        .map_err(|error| Failure::Running(format!("cannot catch signals: {error}")))?;
    let screen = Screen::new();
    print(screen.title(replicas))?;

    let cluster = Cluster::start(replicas)?;
    print(screen.heading("The mesh"))?;
    print(table::replicas(&cluster))?;
    let Some(took) = cluster.wait_for_mesh(MESH_DEADLINE, &interrupted)? else { return Ok(()) };
    print(format_args!(
        "  {} links up, each authenticated at both ends, after {}\n",
        cluster.pairs(),
        units::time(took)
    ))?;

    print(
        screen.heading(&format!("Three strangers at the port of replica {}", cluster.last().id)),
    )?;
    let visits = strangers::visit(&cluster)?;
    print(table::strangers(&visits, cluster.last().id))?;
    print(format_args!("  {}\n", table::unharmed(&cluster)))?;

    print(screen.heading("Traffic on every link"))?;
    let outcome =
        traffic::run(&cluster, &screen, Duration::from_secs(seconds.into()), &interrupted)?;
    print(screen.heading("Round trips under that load"))?;
    print(table::latencies(&cluster))?;
    print(table::totals(&outcome))?;
    cluster.shut_down(DRAIN)?;
    outcome.verdict()?;
    print("\nNext: ringseal keygen --out cluster.key, then ringseal node --config FILE\n")
}

/// The flag that the first SIGINT or SIGTERM sets. The second ends the process at once.
fn catch_signals() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order, so that one signal does not do both.
        signal_hook::flag::register_conditional_shutdown(signal, 1, interrupted.clone())?;
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    Ok(interrupted)
}

fn is_set(interrupted: &AtomicBool) -> bool {
    interrupted.load(SeqCst)
}
