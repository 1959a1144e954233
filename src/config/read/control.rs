//! `control`: the socket on which `agentctl` asks the agent.

use super::super::problem::quote;
use super::super::section::{Located, Reader, Section};
use super::super::settings::{ControlSettings, ControlSocket};
use crate::limits::PAUSE_LIMITS;
use std::time::Duration;

/// Characters of the name of a group (groupadd(8): 32).
const GROUP_CHARS_MAX: usize = 32;
/// Bytes of the path of a socket, without the NUL byte at its end (unix(7)).
const PATH_BYTES_MAX: usize = 107;

pub(super) fn read(top: &Section<'_>, reader: &mut Reader<'_>) -> ControlSettings {
    let default = ControlSettings::default();
    let Some(control) = top.section("control", &["socket", "group", "freeze"], reader) else {
        return default;
    };
    let path = control.get("socket").and_then(|item| item.text(reader));
    let socket = path.and_then(|text| socket(&text, reader));
    let name = control.get("group").and_then(|item| item.scalar(reader));
    let group = name.and_then(|text| group(text, reader));
    let time = control.get("freeze").and_then(|item| item.scalar(reader));
    let freeze = time.and_then(|text| freeze(&text, reader));
    ControlSettings {
        socket: socket.unwrap_or(default.socket),
        group,
        freeze,
    }
}

fn freeze(text: &Located, reader: &mut Reader<'_>) -> Option<Duration> {
    match &*text.value {
        "none" => None,
        _ => text.duration(PAUSE_LIMITS, reader),
    }
}

fn socket(text: &Located, reader: &mut Reader<'_>) -> Option<ControlSocket> {
    match &*text.value {
        "auto" => return Some(ControlSocket::Auto),
        "none" => return Some(ControlSocket::None),
        _ => {}
    }
    let path = text.path(reader)?;
    if path.as_os_str().len() > PATH_BYTES_MAX {
        let what = format!("too long, expected a path of {PATH_BYTES_MAX} bytes at most");
        text.problem(what, reader);
    }
    Some(ControlSocket::Path(path))
}

/// Names only: a number says nothing of who is meant.
fn group(text: Located, reader: &mut Reader<'_>) -> Option<String> {
    let is_part = |c: char| !c.is_whitespace() && !c.is_control() && !":,/".contains(c);
    let is_number = text.value.chars().all(|c| c.is_ascii_digit());
    let is_name = !is_number
        && text.value.chars().all(is_part)
        && !text.value.starts_with('-')
        && (1..=GROUP_CHARS_MAX).contains(&text.value.chars().count());
    if !is_name {
        let text_of = quote(&text.value);
        let what = format!("{text_of}, expected the name of a group, no number");
        text.problem(what, reader);
        return None;
    }
    Some(text.value)
}
