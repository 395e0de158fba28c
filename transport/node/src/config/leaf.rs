//! The kinds of value a key can hold, each read from TOML and from an environment variable.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use ringseal::{Address, Enforcement, ReplicaId, RetiredLinks, Transcript};
use toml::Value;

use super::HandlerKind;
use super::secret::Redacted;

/// A value of one key.
pub(super) trait Leaf: Sized {
    /// What the key may hold, for an error.
    const ALLOWED: &'static str;

    /// Reads the value from text: an environment variable's, or a TOML string.
    fn from_text(text: &str) -> Option<Self>;

    /// Reads the value from the configuration file.
    fn from_value(value: &Value) -> Option<Self> {
        value.as_str().and_then(Self::from_text)
    }

    /// The value as TOML, on one line.
    fn to_toml(&self) -> String;

    /// What an error says that the key holds.
    fn found(value: &Value) -> String {
        describe(value)
    }
}

/// A value in an error: short, on one line, and never a whole table.
pub(super) fn describe(value: &Value) -> String {
    const MOST: usize = 60;
    match value {
        Value::String(text) if text.chars().count() > MOST => {
            let start: String = text.chars().take(MOST).collect();
            format!("{start:?}, and more")
        }
        Value::String(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(date) => date.to_string(),
        Value::Array(_) => "an array".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

/// Text as a TOML string that fits on a line.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(control)));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// Text that says something.
#[derive(Debug)]
pub(super) struct Text(pub(super) String);

impl Leaf for Text {
    const ALLOWED: &'static str = "a text of at least one character";

    fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }
}

/// A path in the file system.
#[derive(Debug)]
pub(super) struct FilePath(pub(super) PathBuf);

impl Leaf for FilePath {
    const ALLOWED: &'static str = "the path of a file";

    fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(PathBuf::from(text)))
    }

    fn to_toml(&self) -> String {
        quoted(&self.0.to_string_lossy())
    }
}

impl Leaf for bool {
    const ALLOWED: &'static str = "true or false";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

/// A number of things.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count(pub(super) u64);

impl Leaf for Count {
    const ALLOWED: &'static str = "a whole number, not negative";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.as_integer().and_then(|number| u64::try_from(number).ok()).map(Self)
    }

    fn to_toml(&self) -> String {
        self.0.to_string()
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size(pub(super) u64);

impl Leaf for Size {
    const ALLOWED: &'static str = "a size such as \"64MiB\", or a number of bytes";

    fn from_text(text: &str) -> Option<Self> {
        text.parse::<ByteSize>().ok().map(|size| Self(size.as_u64()))
    }

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(bytes) => u64::try_from(*bytes).ok().map(Self),
            other => other.as_str().and_then(Self::from_text),
        }
    }

    /// In the largest unit that leaves no remainder, so that nothing is rounded.
    fn to_toml(&self) -> String {
        const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let (mut size, mut unit) = (self.0, 0);
        while size != 0 && size % 1024 == 0 && unit + 1 < UNITS.len() {
            size /= 1024;
            unit += 1;
        }
        format!("\"{size}{}\"", UNITS[unit])
    }
}

/// A length of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(pub(super) Duration);

impl Leaf for Span {
    const ALLOWED: &'static str = "a time such as \"10s\", \"500ms\" or \"20us\"";

    fn from_text(text: &str) -> Option<Self> {
        humantime::parse_duration(text).ok().map(Self)
    }

    fn to_toml(&self) -> String {
        format!("\"{}\"", humantime::format_duration(self.0))
    }
}

impl Leaf for ReplicaId {
    const ALLOWED: &'static str = "a whole number from 0 to 255";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().map(Self::new)
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.as_integer().and_then(|id| u8::try_from(id).ok()).map(Self::new)
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

impl Leaf for Address {
    const ALLOWED: &'static str = "an address and a port, such as \"192.0.2.1:7000\", \
                                   \"[2001:db8::1]:7000\" or \"name.example:7000\"";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Leaf for Enforcement {
    const ALLOWED: &'static str = "\"enforce\" or \"soft\"";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_toml(&self) -> String {
        quoted(self.as_str())
    }
}

impl Leaf for Transcript {
    const ALLOWED: &'static str = "\"current\" or \"pr3425\"";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_toml(&self) -> String {
        quoted(self.as_str())
    }
}

impl Leaf for RetiredLinks {
    const ALLOWED: &'static str = "\"reconnect\" or \"keep\"";

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "reconnect" => Some(Self::Reconnect),
            "keep" => Some(Self::Keep),
            _ => None,
        }
    }

    fn to_toml(&self) -> String {
        quoted(match self {
            Self::Reconnect => "reconnect",
            Self::Keep => "keep",
        })
    }
}

impl Leaf for HandlerKind {
    const ALLOWED: &'static str = "\"sink\" or \"echo\"";

    fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }

    fn to_toml(&self) -> String {
        quoted(self.as_str())
    }
}

impl Leaf for Redacted {
    const ALLOWED: &'static str = "a quoted text of at least 32 bytes";

    fn from_text(text: &str) -> Option<Self> {
        Some(Self::new(text.to_owned()))
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }

    fn found(_: &Value) -> String {
        "no text".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_nothing_odd_is_taken_for_a_size_or_a_time() {
        for bytes in [0, 1, 1000, 1024, 1536, 64 << 20, 5 << 40, (8 << 40) + 1] {
            let text = Size(bytes).to_toml();
            let read = Size::from_text(text.trim_matches('"')).expect("a size");
            assert_eq!(read.0, bytes, "{text}");
        }
        for text in ["", " ", ".", "B", "1.2.3", "-1", "NaN", "inf", "1e9", "64 mebi", "0x10"] {
            assert!(Size::from_text(text).is_none(), "{text}");
            assert!(Span::from_text(text).is_none(), "{text}");
        }
        for text in ["9".repeat(400), "9".repeat(20) + "EiB", "9".repeat(30) + "y"] {
            // Refused, or so large that every range check refuses it.
            assert!(Size::from_text(&text).is_none_or(|size| size.0 > 1 << 60), "{text}");
            assert!(Span::from_text(&text).is_none(), "{text}");
        }
    }

    #[test]
    fn quoted_text_is_toml_on_one_line() {
        for text in ["plain", "a\"b\\c", "line\nbreak\tand \u{7f} more", "çà → Ω"] {
            let quoted = quoted(text);
            assert!(!quoted.contains('\n'), "{quoted}");
            assert_eq!(quoted.parse::<Value>().expect(&quoted).as_str(), Some(text));
        }
    }
}
