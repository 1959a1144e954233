//! Durations as people write them: `15s`, `500ms`, `1m30s`.

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
            return Err(format!("{text:?} has no unit: write {text}s for seconds"));
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
}
