//! Environment variables in values: `${NAME}` and `${NAME:-default}`; `$${` stands for `${`. Any other
//! `$` is itself, so regular expressions need no escapes. Keys are never touched, and what a variable
//! holds is not looked at again.
//!
//! The same form refers to captures of a regular expression in names of targets (`settings/name.rs`).

/// How variables are looked up.
pub(super) type Variables<'v> = &'v dyn Fn(&str) -> Option<String>;

/// Bytes that the variables in a value may add to it.
const ADDED_BYTES_MAX: usize = 64 << 10;

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'t> {
    /// Text as it stands.
    Text(&'t str),
    /// `${name}` or `${name:-default}`.
    Reference {
        name: &'t str,
        default: Option<&'t str>,
    },
}

/// Takes a text apart.
///
/// # Errors
///
/// What is wrong with a reference in it.
pub(super) fn parts(text: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let before = &rest[..at];
        if let Some(before) = before.strip_suffix('$') {
            parts.extend([Part::Text(before), Part::Text("${")]);
            rest = &rest[at + 2..];
            continue;
        }
        let inside = &rest[at + 2..];
        let Some(end) = inside.find('}') else {
            return Err("`${` without a `}`".to_owned());
        };
        let (name, default) = match inside[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inside[..end], None),
        };
        if !is_name(name) {
            return Err("`${` without a name made of letters, digits and _".to_owned());
        }
        parts.extend([Part::Text(before), Part::Reference { name, default }]);
        rest = &inside[end + 1..];
    }
    parts.push(Part::Text(rest));
    parts.retain(|part| *part != Part::Text(""));
    Ok(parts)
}

fn is_name(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(is_part)
}

/// `text` with its variables filled in. A default counts also when the variable is empty.
///
/// # Errors
///
/// What is wrong, and what was expected. What variables hold is not quoted.
pub(super) fn expand(text: &str, variables: Variables<'_>) -> Result<String, String> {
    let parts = parts(text).map_err(|why| format!("{why}, {EXPECTED}"))?;
    let mut expanded = String::new();
    for part in parts {
        match part {
            Part::Text(text) => expanded.push_str(text),
            Part::Reference { name, default } => {
                expanded.push_str(&value_of(name, default, variables)?);
            }
        }
        if expanded.len() > text.len() + ADDED_BYTES_MAX {
            return Err(format!(
                "its variables have more than {ADDED_BYTES_MAX} bytes, expected shorter ones"
            ));
        }
    }
    Ok(expanded)
}

/// What a reference may look like, for messages.
pub(super) const EXPECTED: &str =
    "expected ${NAME} or ${NAME:-default} for an environment variable, $${ for ${ itself";

/// The value of the environment variable `name`.
pub(super) fn value_of(
    name: &str,
    default: Option<&str>,
    variables: Variables<'_>,
) -> Result<String, String> {
    let value = variables(name).filter(|value| default.is_none() || !value.is_empty());
    let Some(value) = value.or_else(|| default.map(str::to_owned)) else {
        return Err(format!(
            "the environment variable {name} is not set, expected it or a default: ${{{name}:-...}}"
        ));
    };
    if value.contains(char::is_control) {
        return Err(format!(
            "the environment variable {name} has a line end or another control character, \
             expected one line"
        ));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        expand(text, &|name| match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${A}".to_owned()),
            "LINES" => Some("a\nb".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn variables_are_filled_in() {
        for (text, value) in [
            ("", ""),
            ("a$b$", "a$b$"),
            ("^x$|^y$$", "^x$|^y$$"),
            ("${A}", "1"),
            ("x${A}y${A}", "x1y1"),
            ("${B:-2}${B:-}", "2"),
            ("${EMPTY}${EMPTY:-3}", "3"),
            ("${A:-2}", "1"),
            ("$${A}", "${A}"),
            ("a$$${A}", "a$${A}"),
            ("${NESTED}", "${A}"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_variable_is_told() {
        for text in [
            "${", "${}", "${A", "${A-b}", "${ A}", "${é}", "${LINES}", "${B}",
        ] {
            assert!(expanded(text).is_err(), "{text}");
        }
    }
}
