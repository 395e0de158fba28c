//! Which shard owns the link to a peer: one atomic word per replica id.
//!
//! A link's life is a walk through four states, and every step is a compare-and-swap from the word
//! that the walker has seen, so two links of one peer can never both be up:
//!
//! ```text
//! vacant --claim--> claimed --open--> up --drain--> draining --vacate--> vacant
//! ```

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::metrics::Role;

/// Where a link is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// There is no link.
    Vacant,
    /// A handshake has succeeded; the link is on its way to its shard and takes no frames yet.
    Claimed,
    /// Frames may be sent.
    Up,
    /// The link has ended; its shard counts what is lost.
    Draining,
}

/// The word: state (2 bits), authenticated (1), role (1), shard (12), incarnation (48).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner(u64);

impl Owner {
    pub(crate) const VACANT: Self = Self(0);

    /// The word that claims a peer for a shard.
    pub(crate) fn claim(incarnation: u64, shard: usize, role: Role, authenticated: bool) -> Self {
        debug_assert!(shard < 1 << 12 && incarnation < 1 << 48);
        let role = u64::from(role == Role::Dialer);
        let flags = State::Claimed as u64 | u64::from(authenticated) << 2 | role << 3;
        Self(flags | (shard as u64) << 4 | incarnation << 16)
    }

    pub(crate) fn state(self) -> State {
        match self.0 & 0b11 {
            0 => State::Vacant,
            1 => State::Claimed,
            2 => State::Up,
            _ => State::Draining,
        }
    }

    pub(crate) fn is_up(self) -> bool {
        self.state() == State::Up
    }

    pub(crate) fn authenticated(self) -> bool {
        self.0 & 1 << 2 != 0
    }

    pub(crate) fn role(self) -> Role {
        if self.0 & 1 << 3 != 0 { Role::Dialer } else { Role::Acceptor }
    }

    pub(crate) fn shard(self) -> usize {
        (self.0 >> 4) as usize & 0xfff
    }

    pub(crate) fn incarnation(self) -> u64 {
        self.0 >> 16
    }

    pub(crate) fn with(self, state: State) -> Self {
        Self(self.0 & !0b11 | state as u64)
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}#{} on shard {}", self.state(), self.incarnation(), self.shard())
    }
}

/// The word of one peer, shared by all shards and senders.
#[derive(Debug, Default)]
pub(crate) struct OwnerSlot(AtomicU64);

impl OwnerSlot {
    pub(crate) fn load(&self) -> Owner {
        Owner(self.0.load(SeqCst))
    }

    /// Claims a vacant peer; the present owner when it is not vacant.
    pub(crate) fn claim(&self, owner: Owner) -> Result<(), Owner> {
        debug_assert_eq!(owner.state(), State::Claimed);
        let vacant = Owner::VACANT.0;
        self.0.compare_exchange(vacant, owner.0, SeqCst, SeqCst).map(drop).map_err(Owner)
    }

    /// Takes the link that `owner` stands for to `state`; its incarnation's shard alone does this.
    pub(crate) fn advance(&self, owner: Owner, state: State) -> Owner {
        let next = if state == State::Vacant { Owner::VACANT } else { owner.with(state) };
        let moved = self.0.compare_exchange(owner.0, next.0, SeqCst, SeqCst);
        assert_eq!(moved.map_err(Owner), Ok(owner.0), "only a link's own shard moves its word");
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_keeps_what_it_is_given() {
        for (incarnation, shard, role, authenticated) in
            [(1, 0, Role::Dialer, true), ((1 << 48) - 1, 4095, Role::Acceptor, false)]
        {
            let owner = Owner::claim(incarnation, shard, role, authenticated);
            for state in [State::Claimed, State::Up, State::Draining] {
                let owner = owner.with(state);
                assert_eq!(owner.state(), state);
                assert_eq!((owner.incarnation(), owner.shard()), (incarnation, shard));
                assert_eq!((owner.role(), owner.authenticated()), (role, authenticated));
            }
        }
    }

    #[test]
    fn a_claimed_peer_cannot_be_claimed_again_until_it_is_vacant() {
        let slot = OwnerSlot::default();
        let first = Owner::claim(1, 3, Role::Dialer, true);
        let second = Owner::claim(2, 4, Role::Acceptor, true);
        slot.claim(first).expect("vacant");
        assert_eq!(slot.claim(second), Err(first));
        let first = slot.advance(first, State::Up);
        let first = slot.advance(first, State::Draining);
        assert_eq!(slot.claim(second), Err(first));
        slot.advance(first, State::Vacant);
        slot.claim(second).expect("vacant again");
    }

    #[test]
    #[should_panic(expected = "only a link's own shard")]
    fn a_word_is_moved_only_from_where_it_is() {
        OwnerSlot::default().advance(Owner::claim(1, 0, Role::Dialer, true), State::Up);
    }
}
