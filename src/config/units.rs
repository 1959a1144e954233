//! Durations and sizes as people write them: `15s`, `500ms`, `1m30s`; `64MiB`, `1GB`.

use std::time::Duration;

/// Units, largest first, with their length in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// Longer than any duration that means something; messages quote the text.
const CHARS_MAX: usize = 100;

/// What [`parse_duration`] accepts, for messages.
pub const DURATION_FORM: &str = "a duration such as 15s, 500ms or 1m30s";

/// Reads a duration: whole numbers, each with a unit (`d`, `h`, `m`, `s`, `ms`), largest unit first.
///
/// # Errors
///
/// What is wrong with the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut rest = text;
    if rest.is_empty() {
        return Err("it is empty".to_owned());
    }
    if rest.len() > CHARS_MAX {
        return Err("it is much too long for a duration".to_owned());
    }
    let mut total_ms: u64 = 0;
    let mut smallest_seen = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        if digits == 0 {
            return Err(format!("{text:?} is not a duration"));
        }
        if unit.is_empty() && tail.is_empty() {
            return Err(format!(
                "{text:?} has no unit: write {text}s for seconds, {text}ms for milliseconds"
            ));
        }
        let Some((_, unit_ms)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!(
                "{text:?} is not a duration: the units are d, h, m, s and ms"
            ));
        };
        if *unit_ms >= smallest_seen {
            return Err(format!(
                "{text:?} is not a duration: each unit once, largest first"
            ));
        }
        smallest_seen = *unit_ms;
        total_ms = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(*unit_ms))
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or_else(|| format!("{text:?} is too long"))?;
        rest = tail;
    }
    Ok(Duration::from_millis(total_ms))
}

/// `duration` in the form that [`parse_duration`] reads, down to milliseconds.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut shown = String::new();
    for (unit, unit_ms) in UNITS {
        let unit_ms = u128::from(unit_ms);
        if rest >= unit_ms {
            shown += &format!("{}{unit}", rest / unit_ms);
            rest %= unit_ms;
        }
    }
    if shown.is_empty() {
        shown += "0s";
    }
    shown
}

/// Units of sizes with their length in bytes; those that people mean come first.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// What [`parse_size`] accepts, for messages.
pub(super) const SIZE_FORM: &str = "a size such as 64MiB, 1GiB or 500kB";

/// Reads a size in bytes: a whole number with a unit (`B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`,
/// `GiB`, `TiB`).
///
/// # Errors
///
/// What is wrong with the text.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    if text.len() > CHARS_MAX {
        return Err("it is much too long for a size".to_owned());
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(format!("{text:?} is not a size"));
    }
    if unit.is_empty() {
        return Err(format!("{text:?} has no unit: write {text}B for bytes"));
    }
    let Some((_, bytes)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!(
            "{text:?} is not a size: the units are B, kB, MB, GB, TB, KiB, MiB, GiB and TiB"
        ));
    };
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(*bytes));
    bytes.ok_or_else(|| format!("{text:?} is too large"))
}

/// `bytes` in the form that [`parse_size`] reads: the largest unit of which they are a whole number.
pub(super) fn show_size(bytes: u64) -> String {
    let fits = |(_, unit): &&(&str, u64)| bytes >= *unit && bytes.is_multiple_of(*unit);
    let (unit, length) = SIZE_UNITS.iter().find(fits).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_with_units_are_read() {
        for (text, ms) in [
            ("15s", 15_000),
            ("500ms", 500),
            ("1m", 60_000),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("1d1ms", 86_400_001),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "5x",
            "-5s",
            "1.5s",
            "5 s",
            "5s ",
            "1s1m",
            "1s1s",
            "é",
            "1é",
            "99999999999999999999s",
            "9999999999999999d",
        ] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_with_units_are_read_and_shown() {
        for (text, bytes) in [
            ("0B", 0),
            ("1B", 1),
            ("1kB", 1_000),
            ("64MiB", 64 << 20),
            ("3GB", 3_000_000_000),
            ("8GiB", 8 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(show_size(bytes), text);
        }
        for text in [
            "",
            "5",
            "MiB",
            "5 MiB",
            "5mib",
            "-1B",
            "1.5GiB",
            "é",
            "1é",
            "99999999TiB",
        ] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn durations_are_shown_as_they_are_read() {
        for text in ["0s", "10ms", "15s", "1m30s", "1d", "2h1ms"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
    }
}
