//! How strictly a node insists on authentication.

use core::fmt;
use core::str::FromStr;

/// What a node asks of its peers, all three settings in one word.
///
/// A cluster moves from [`Off`](Policy::Off) to [`Enforce`](Policy::Enforce) by way of
/// [`Soft`](Policy::Soft), node by node, without losing a link on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// No authentication: Hellos carry no nonce and are never answered.
    Off,
    /// Authenticate where the peer can; admit and report what [`Policy::Enforce`] would refuse.
    Soft,
    /// Refuse every peer that does not authenticate.
    Enforce,
}

impl Policy {
    /// Every policy, from lenient to strict.
    pub const ALL: [Policy; 3] = [Policy::Off, Policy::Soft, Policy::Enforce];

    /// The word used in configuration and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Policy::Off => "off",
            Policy::Soft => "soft",
            Policy::Enforce => "enforce",
        }
    }

    /// How authentication is enforced, or `None` when it is off.
    pub const fn enforcement(self) -> Option<Enforcement> {
        match self {
            Policy::Off => None,
            Policy::Soft => Some(Enforcement::Soft),
            Policy::Enforce => Some(Enforcement::Enforce),
        }
    }
}

/// How strictly authentication is enforced once it is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Enforcement {
    /// Admit what [`Enforcement::Enforce`] would refuse, and say so in the outcome.
    Soft,
    /// Refuse every peer that does not authenticate.
    #[default]
    Enforce,
}

impl Enforcement {
    /// The word used in configuration and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Enforcement::Soft => "soft",
            Enforcement::Enforce => "enforce",
        }
    }
}

impl From<Enforcement> for Policy {
    fn from(enforcement: Enforcement) -> Policy {
        match enforcement {
            Enforcement::Soft => Policy::Soft,
            Enforcement::Enforce => Policy::Enforce,
        }
    }
}

/// A word that names no policy, with the words that would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a known setting; expected one of: {expected}")]
pub struct UnknownWord {
    /// The accepted words, separated by commas.
    pub expected: &'static str,
}

impl FromStr for Policy {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Policy, UnknownWord> {
        let known = Policy::ALL.into_iter().find(|policy| policy.as_str() == word);
        known.ok_or(UnknownWord { expected: "off, soft, enforce" })
    }
}

impl FromStr for Enforcement {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Enforcement, UnknownWord> {
        let known = word.parse::<Policy>().ok().and_then(Policy::enforcement);
        known.ok_or(UnknownWord { expected: "soft, enforce" })
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_round_trip() {
        for policy in Policy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
            if let Some(enforcement) = policy.enforcement() {
                assert_eq!(enforcement.to_string().parse(), Ok(enforcement));
                assert_eq!(Policy::from(enforcement), policy);
            }
        }
    }

    #[test]
    fn other_words_are_refused_with_the_ones_that_are_not() {
        for word in ["", "Soft", "enforced", "on", " off"] {
            let error = word.parse::<Policy>().unwrap_err();
            assert!(error.to_string().ends_with("off, soft, enforce"));
        }
        let error = "off".parse::<Enforcement>().unwrap_err();
        assert!(error.to_string().ends_with(": soft, enforce"), "off is not a way to enforce");
    }
}
