//! Fresh secrets.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

/// How many random bytes a secret is made of.
const BYTES: usize = 32;

/// A fresh secret: 32 bytes from the system's CSPRNG, as 64 hexadecimal digits, wiped on drop.
///
/// # Errors
///
/// The system has no randomness to give.
pub fn fresh() -> io::Result<Zeroizing<String>> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut bytes = Zeroizing::new([0; BYTES]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| io::Error::other(error.to_string()))?;
    // With all its room from the start it is never moved, and leaves no copy behind.
    let mut hex = Zeroizing::new(String::with_capacity(2 * BYTES));
    for byte in *bytes {
        for digit in [byte >> 4, byte & 15] {
            hex.push(char::from(DIGITS[usize::from(digit)]));
        }
    }
    Ok(hex)
}

/// Writes a secret and a newline to a new file that only its owner may read.
///
/// # Errors
///
/// The file exists, or cannot be made.
pub fn write(secret: &str, file: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(secret.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_64_digits_and_no_two_are_alike() {
        let (one, two) = (fresh().expect("random"), fresh().expect("random"));
        assert_eq!(one.len(), 64);
        assert!(one.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        assert_ne!(*one, *two);
    }

    #[test]
    fn a_file_is_private_and_never_overwritten() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("cluster.key");
        write("first", &file).expect("written");
        let mode = std::fs::metadata(&file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = write("second", &file).expect_err("it exists");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&file).expect("there"), "first\n");
    }
}
