//! What a test's replica does with its frames.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringseal::{Flow, Frame, FrameView, Handler, Link, Reason, ReplicaId};

use crate::journal::{Event, Journal};

/// What a test's replica does beside keeping its journal. A closure is a script for frames alone.
pub trait Script: Send + 'static {
    /// A link is up.
    fn up(&mut self, link: &mut Link<'_>) {
        let _ = link;
    }

    /// A frame has arrived and is in the journal.
    fn frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow;

    /// There is room again.
    fn writable(&mut self, link: &mut Link<'_>) {
        let _ = link;
    }

    /// A link has ended.
    fn down(&mut self, peer: ReplicaId) {
        let _ = peer;
    }
}

impl<F: FnMut(&mut Link<'_>, FrameView<'_>) -> Flow + Send + 'static> Script for F {
    fn frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        self(link, frame)
    }
}

/// Does nothing but keep the journal.
#[derive(Clone, Copy, Debug)]
pub struct Listen;

impl Script for Listen {
    fn frame(&mut self, _link: &mut Link<'_>, _frame: FrameView<'_>) -> Flow {
        Flow::Continue
    }
}

/// Sends every frame back, and pauses while there is no room for one.
#[derive(Debug, Default)]
pub struct Echo(BTreeMap<ReplicaId, Frame>);

impl Script for Echo {
    fn frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        match link.forward(link.peer(), frame) {
            Ok(()) => Flow::Continue,
            Err(_refused) => {
                self.0.insert(link.peer(), frame.to_frame());
                Flow::Pause
            }
        }
    }

    fn writable(&mut self, link: &mut Link<'_>) {
        let Some(frame) = self.0.remove(&link.peer()) else { return };
        match link.send(frame) {
            Ok(()) => link.resume(),
            Err(refused) => drop(self.0.insert(link.peer(), refused.frame)),
        }
    }

    fn down(&mut self, peer: ReplicaId) {
        self.0.remove(&peer);
    }
}

/// Keeps the journal and follows a script.
#[derive(Debug)]
pub struct Recorder<S> {
    journal: Arc<Journal>,
    script: S,
    incarnations: BTreeMap<ReplicaId, u64>,
}

impl<S: Script> Recorder<S> {
    /// A handler for one shard.
    pub fn new(journal: Arc<Journal>, script: S) -> Self {
        Self { journal, script, incarnations: BTreeMap::new() }
    }
}

impl<S: Script> Handler for Recorder<S> {
    fn on_link_up(&mut self, link: &mut Link<'_>, incarnation: u64) {
        let (peer, shard) = (link.peer(), link.shard());
        assert_eq!(incarnation, link.incarnation());
        let before = self.incarnations.insert(peer, incarnation);
        assert_eq!(before, None, "a second link to {peer} before the first has ended");
        self.journal.note(Event::Up { peer: peer.get(), incarnation, shard });
        self.script.up(link);
    }

    fn on_frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        let peer = link.peer();
        assert_eq!(self.incarnations.get(&peer), Some(&link.incarnation()), "a frame of no link");
        self.journal.note_frame(peer.get(), frame);
        self.script.frame(link, frame)
    }

    fn on_writable(&mut self, link: &mut Link<'_>) {
        let peer = link.peer();
        assert_eq!(self.incarnations.get(&peer), Some(&link.incarnation()), "room on no link");
        self.journal.note(Event::Writable { peer: peer.get() });
        self.script.writable(link);
    }

    fn on_link_down(&mut self, peer: ReplicaId, reason: Reason, lost: u64) {
        let incarnation = self.incarnations.remove(&peer).expect("only a link that is up can end");
        self.journal.note(Event::Down { peer: peer.get(), incarnation, reason, lost });
        self.script.down(peer);
    }
}
