//! `ringseal probe`: one handshake with one peer.

use std::time::Instant;

use ringseal::auth::DialerError;
use ringseal::{ProbeError, ReplicaId};

use crate::cli::{Failure, print};
use crate::config::Settings;
use crate::units;

/// Makes a handshake with `peer` and prints how it went: the result in the word that metrics use for
/// it, and the time it took.
///
/// # Errors
///
/// [`Failure`] when the peer is not one that we dial, or the handshake fails.
pub fn run(settings: &Settings, peer: u8) -> Result<(), Failure> {
    let peer = ReplicaId::new(peer);
    let address = settings.replicas.iter().find(|(id, _)| *id == peer).map(|(_, address)| address);
    let began = Instant::now();
    let error = match ringseal::probe(&settings.bus, peer) {
        Ok(report) => {
            let proven = if report.authenticated { "authenticated" } else { "not authenticated" };
            let (at, took) = (report.address, units::time(report.took));
            return print(format_args!("replica {peer} at {at}: ok, {proven}, {took}\n"));
        }
        Err(error) => error,
    };
    let took = units::time(began.elapsed());
    match (&error, address) {
        (ProbeError::UnknownPeer(_), _) | (_, None) => {
            let ids: Vec<_> = settings.replicas.iter().map(|(id, _)| id.to_string()).collect();
            Err(Failure::Configuration(format!(
                "--peer is {peer}; it may be an id that cluster.replicas lists: {}",
                ids.join(", ")
            )))
        }
        (ProbeError::Handshake(DialerError::NotOursToDial { ours, .. }), _) => {
            Err(Failure::Configuration(format!(
                "--peer is {peer}; it may be an id above our own, {ours}, for of two replicas the \
                 lower id dials: probe this pair from replica {peer}"
            )))
        }
        (_, Some(address)) => {
            print(format_args!("replica {peer} at {address}: {}, {took}\n", error.result()))?;
            Err(Failure::running(error))
        }
    }
}
