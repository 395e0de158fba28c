//! `ringseal node`: one replica, until it is told to stop.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use ringseal::{Address, Bus, StartError};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::audit;
use crate::cli::Failure;
use crate::config::{Audit, HandlerKind, Settings};
use crate::echo::{Echo, Sink};
use crate::http::{self, Server, Subject};
use crate::logging;
use crate::status::Live;

/// How long frames that were accepted may take to be written once the node is told to stop. The rest
/// of five seconds is for everything else.
const DRAIN: Duration = Duration::from_secs(4);

/// Runs a replica until SIGINT or SIGTERM. `load` reads its configuration, now and at each SIGHUP.
///
/// # Errors
///
/// [`Failure`] when it cannot start, or does not stop as it should.
pub fn run(load: impl Fn() -> Result<Settings, Failure>) -> Result<(), Failure> {
    let settings = load()?;
    logging::start("info")?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    // Signals are caught before anything runs that would have to be ended in good order.
    let stopping = Arc::new(AtomicBool::new(false));
    let mut signals = catch_signals(&stopping)
        .map_err(|error| Failure::Running(format!("cannot catch signals: {error}")))?;
    let fixed = Fixed::of(&settings);
    let Settings { bus, cluster, replicas, handler, http, audit, .. } = settings;
    let audit = audit.as_ref().map(open_audit).transpose()?;
    let bus = match &audit {
        Some(writer) => bus.with_observer(writer.sink()),
        None => bus,
    };
    let port = http.as_ref().map(|address| {
        http::bind(address).map_err(|error| {
            Failure::Running(format!(
                "cannot listen on {address} for HTTP (http.listen): {error}; is another process \
                 using the port?"
            ))
        })
    });
    let port = port.transpose()?;
    let bus = match handler {
        HandlerKind::Sink => Bus::start(bus, |_| Sink),
        HandlerKind::Echo => Bus::start(bus, |_| Echo::default()),
    };
    let bus = bus.map_err(start_failure)?;
    let sink = audit.as_ref().map(audit::Writer::sink);
    let server = port.map(|port| serve(port, &bus, cluster.clone(), sink)).transpose()?;
    tracing::info!(
        replica = bus.replica().get(),
        cluster,
        replicas = replicas.len(),
        handler = handler.as_str(),
        listen = %bus.local_addr(),
        http = server.as_ref().map(|server| tracing::field::display(server.local_addr())),
        "the node runs"
    );
    tell_supervisor(NotifyState::Ready);
    for signal in signals.forever() {
        if signal != SIGHUP {
            break;
        }
        reload(&bus, &fixed, load());
    }
    stopping.store(true, SeqCst);
    tell_supervisor(NotifyState::Stopping);
    tracing::info!("the node stops; another signal ends it at once");
    let ended = bus.shutdown(DRAIN);
    drop((server, audit));
    ended.map_err(Failure::running)?;
    tracing::info!("the node has stopped");
    Ok(())
}

/// Tells systemd how far we are; where it does not wait to be told, this does nothing.
fn tell_supervisor(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the supervisor cannot be told");
    }
}

fn open_audit(audit: &Audit) -> Result<audit::Writer, Failure> {
    audit::Writer::start(&audit.file, audit.max_size).map_err(|error| {
        let file = audit.file.display();
        Failure::Running(format!("cannot write the audit log {file} (audit.file): {error}"))
    })
}

/// Catches the signals that are ours. Those that end the node do so at once while `stopping` is set.
fn catch_signals(stopping: &Arc<AtomicBool>) -> std::io::Result<Signals> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, stopping.clone())?;
    }
    // A limit on file sizes is to the audit log what a full disk is, and no reason to end.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    Signals::new([SIGINT, SIGTERM, SIGHUP])
}

/// What the node is built with, beside its bus, and what only a restart can change.
struct Fixed {
    handler: HandlerKind,
    http: Option<Address>,
    audit: Option<Audit>,
}

impl Fixed {
    fn of(settings: &Settings) -> Self {
        let Settings { handler, http, audit, .. } = settings;
        Self { handler: *handler, http: http.clone(), audit: audit.clone() }
    }

    /// Says which of these differ from what the node is built with.
    fn compare(&self, settings: &Settings) {
        let other = Self::of(settings);
        for (key, same) in [
            ("node.handler", self.handler == other.handler),
            ("http.listen", self.http == other.http),
            ("audit", self.audit == other.audit),
        ] {
            if !same {
                tracing::warn!("{key} has changed, which waits for a restart");
            }
        }
    }
}

/// Puts the configuration in force that was read anew, or says what is wrong with it.
fn reload(bus: &Bus, fixed: &Fixed, settings: Result<Settings, Failure>) {
    let settings = match settings {
        Ok(settings) => settings,
        Err(failure) => {
            tracing::error!("nothing was reloaded: {failure}");
            return;
        }
    };
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    fixed.compare(&settings);
    match bus.reload(settings.bus) {
        Ok(()) => tracing::info!("secrets, enforcement, roster and limits were reloaded"),
        Err(error) => tracing::error!("nothing was reloaded: {error}"),
    }
}

fn start_failure(error: StartError) -> Failure {
    match error {
        StartError::Config(error) => Failure::configuration(error),
        other => Failure::running(other),
    }
}

fn serve(
    port: TcpListener,
    bus: &Bus,
    cluster: String,
    audit: Option<Arc<audit::Sink>>,
) -> Result<Server, Failure> {
    let replica = bus.replica();
    let node = Live { mesh: bus.mesh().clone(), replica, audit };
    let subject = Subject { cluster, replica, node };
    http::serve(port, subject)
        .map_err(|error| Failure::Running(format!("cannot serve HTTP: {error}")))
}
