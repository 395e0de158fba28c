//! Secrets on their way from the configuration to a key ring.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ringseal::Secret;
use zeroize::Zeroizing;

use super::error::{ConfigError, Key};

/// The longest secret that is read from a file, in bytes. More is a wrong file.
pub(super) const MAX_LEN: usize = 64 << 10;

/// Secret text that shows its length and nothing else, and is wiped on drop.
pub(super) struct Redacted(Zeroizing<String>);

impl Redacted {
    pub(super) fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(redacted, {} bytes)", self.0.len())
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a secret is to be had, and the key that says so.
#[derive(Debug)]
pub(super) struct Source {
    key: Key,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Inline(Redacted),
    File(PathBuf),
}

/// A secret and what is worth saying about where it came from.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) secret: Secret,
    /// The key and the secret's length, when it came from a file.
    pub(super) read: Option<(Key, usize)>,
    pub(super) warning: Option<String>,
}

impl Source {
    /// A secret that stands in the configuration itself, long enough.
    pub(super) fn inline(key: Key, text: Redacted) -> Result<Self, ConfigError> {
        let len = text.0.len();
        if len < Secret::MIN_LEN {
            return Err(ConfigError::ShortSecret { key, len });
        }
        Ok(Self { key, place: Place::Inline(text) })
    }

    /// A secret in a file of its own.
    pub(super) fn file(key: Key, path: PathBuf) -> Self {
        Self { key, place: Place::File(path) }
    }

    /// Fetches the secret; a relative path starts at `base`.
    pub(super) fn fetch(&self, base: &Path) -> Result<Found, ConfigError> {
        let short = |len| ConfigError::ShortSecret { key: self.key.clone(), len };
        match &self.place {
            Place::Inline(text) => {
                let secret = Secret::new(text.0.as_bytes().to_vec()).map_err(|e| short(e.len))?;
                Ok(Found { secret, read: None, warning: None })
            }
            Place::File(path) => {
                let path = base.join(path);
                let (bytes, warning) = read(&path).map_err(|source| ConfigError::SecretFile {
                    key: self.key.clone(),
                    path: path.clone(),
                    source,
                })?;
                let read = Some((self.key.clone(), bytes.len()));
                let secret = Secret::new(bytes).map_err(|e| short(e.len))?;
                Ok(Found { secret, read, warning })
            }
        }
    }
}

/// A secret file's bytes without one trailing newline, and a warning if all the world may read it.
fn read(path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, Option<String>)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    // Room for the whole file at once, so that no half-read copy is left behind by a reallocation.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LEN + 2));
    file.take(MAX_LEN as u64 + 2).read_to_end(&mut bytes)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if bytes.len() > MAX_LEN {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too long"));
    }
    let warning = (mode & 0o007 != 0).then(|| {
        format!("{} is open to every user of this machine; make it mode 0600", path.display())
    });
    Ok((bytes, warning))
}
