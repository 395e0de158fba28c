//! What a reload can change while the bus runs: an immutable snapshot that handshakes take whole.

use ringseal_auth::{Identity, KeyRing, Policy, Which};
use ringseal_wire::{ClusterId, ReplicaId};

use crate::config::{Auth, Config, Limits, RetiredLinks};
use crate::roster::Roster;

/// The changeable part of the configuration.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) cluster: ClusterId,
    pub(crate) replica: ReplicaId,
    pub(crate) roster: Roster,
    pub(crate) limits: Limits,
    pub(crate) retired_links: RetiredLinks,
    auth: Auth,
    current: KeyId,
    previous: KeyId,
}

/// Tells secrets apart across reloads without holding on to them: each that comes new gets the next
/// number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyId(pub(crate) u64);

impl KeyId {
    /// No secret: the link is not authenticated, or there is no such key.
    pub(crate) const NONE: Self = Self(0);
}

impl Settings {
    /// The settings that follow `before`.
    pub(crate) fn new(config: Config, before: Option<&Self>) -> Self {
        let mut settings = Self {
            cluster: config.cluster,
            replica: config.replica,
            roster: config.roster,
            limits: config.limits,
            retired_links: config.retired_links,
            auth: config.auth,
            current: KeyId::NONE,
            previous: KeyId::NONE,
        };
        let known = |which| before.map_or(KeyId::NONE, |before| before.find(which, &settings.auth));
        let (current, previous) = (known(Which::Current), known(Which::Previous));
        let newest = before.map_or(0, |before| before.current.0.max(before.previous.0));
        let Auth::On { keys, .. } = &settings.auth else { return settings };
        let has_previous = keys.locate_in(Which::Previous, keys).is_some();
        settings.current = if current == KeyId::NONE { KeyId(newest + 1) } else { current };
        settings.previous = match (has_previous, previous) {
            (false, _) => KeyId::NONE,
            (true, KeyId::NONE) => KeyId(newest + 2),
            (true, known) => known,
        };
        settings
    }

    /// Our side's constants in a handshake.
    pub(crate) fn identity(&self) -> Identity<'_> {
        Identity::new(self.cluster, self.replica, self.auth.as_auth())
    }

    /// The secrets that we hold, if authentication is on.
    pub(crate) fn keys(&self) -> Option<&KeyRing> {
        match &self.auth {
            Auth::Off => None,
            Auth::On { keys, .. } => Some(keys),
        }
    }

    pub(crate) fn policy(&self) -> Policy {
        self.auth.as_auth().policy()
    }

    /// The current secret and the previous one.
    pub(crate) fn key_ids(&self) -> (KeyId, KeyId) {
        (self.current, self.previous)
    }

    /// Which secret a peer has proven to hold.
    pub(crate) fn key_id(&self, which: Option<Which>) -> KeyId {
        match which {
            None => KeyId::NONE,
            Some(Which::Current) => self.current,
            Some(Which::Previous) => self.previous,
        }
    }

    /// Whether a link to `peer` may go on under these settings.
    pub(crate) fn permits(&self, peer: ReplicaId, authenticated: bool) -> bool {
        self.roster.contains(peer) && (authenticated || self.policy() != Policy::Enforce)
    }

    /// Whether a link was made with a secret that these settings have replaced by others.
    pub(crate) fn has_retired(&self, key: KeyId) -> bool {
        let holds_keys = self.current != KeyId::NONE;
        holds_keys && key != KeyId::NONE && key != self.current && key != self.previous
    }

    /// The number of the key of ours that `next` holds as its `which`.
    fn find(&self, which: Which, next: &Auth) -> KeyId {
        let (Auth::On { keys: ours, .. }, Auth::On { keys: theirs, .. }) = (&self.auth, next)
        else {
            return KeyId::NONE;
        };
        let kept = |ours_is| ours.locate_in(ours_is, theirs) == Some(which);
        match (kept(Which::Current), kept(Which::Previous)) {
            (true, _) => self.current,
            (false, true) => self.previous,
            (false, false) => KeyId::NONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use ringseal_auth::{Enforcement, Secret, Transcript};

    use super::*;

    fn settings(current: u8, previous: Option<u8>, before: Option<&Settings>) -> Settings {
        let secret = |fill| Secret::new(vec![fill; 32]).expect("long enough");
        let keys = KeyRing::new(&secret(current), previous.map(secret).as_ref());
        let (enforcement, transcript) = (Enforcement::Enforce, Transcript::Current);
        let auth = Auth::On { keys, enforcement, transcript };
        let id = ReplicaId::new(1);
        let roster = Roster::new([(id, "127.0.0.1:1".parse().expect("address"))]);
        let config = Config::new("c", id, roster.expect("one"), auth).expect("listed");
        Settings::new(config, before)
    }

    #[test]
    fn a_secret_keeps_its_number_through_a_rotation_and_is_retired_at_its_end() {
        let (old, new) = (b'o', b'n');
        let start = settings(old, None, None);
        let link = start.key_id(Some(Which::Current));
        let first = settings(old, Some(new), Some(&start));
        let second = settings(new, Some(old), Some(&first));
        let third = settings(new, None, Some(&second));
        assert_eq!(first.key_id(Some(Which::Current)), link);
        assert_eq!(second.key_id(Some(Which::Previous)), link);
        assert_eq!(second.key_id(Some(Which::Current)), first.key_id(Some(Which::Previous)));
        assert!(!start.has_retired(link) && !first.has_retired(link) && !second.has_retired(link));
        assert!(third.has_retired(link));
        assert!(!third.has_retired(second.key_id(Some(Which::Current))));
    }

    #[test]
    fn a_secret_that_is_replaced_at_once_is_retired_at_once() {
        let start = settings(1, None, None);
        let link = start.key_id(Some(Which::Current));
        let next = settings(2, Some(3), Some(&start));
        assert!(next.has_retired(link));
        assert_ne!(next.key_id(Some(Which::Current)), next.key_id(Some(Which::Previous)));
        assert!(!next.has_retired(KeyId::NONE), "a link without a key has none to retire");
    }
}
