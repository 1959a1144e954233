//! `/proc/PID/stat`: one line whose second field, the command name, may hold anything, parentheses
//! and spaces included; fields are therefore counted from the last `)`.

use crate::ids::StartTime;

/// `PF_EXITING` of the task flags (include/linux/sched.h).
const EXITING: u64 = 0x4;

/// Whether the process is a zombie, dead (field 3), or on its way there (field 9).
pub fn parse_has_ended(stat: &[u8]) -> Option<bool> {
    let flags: u64 = field(stat, 9)?.parse().ok()?;
    Some(matches!(field(stat, 3)?, "Z" | "X" | "x") || flags & EXITING != 0)
}

/// When the process started (field 22), in clock ticks since boot.
pub fn parse_start_time(stat: &[u8]) -> Option<StartTime> {
    field(stat, 22)?.parse().ok().map(StartTime)
}

fn field(stat: &[u8], number: usize) -> Option<&str> {
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(number.checked_sub(3)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_may_hold_anything() {
        let stat = b"42 (a) R (b\xff) S 1 42 42 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 987654 1 1";
        assert_eq!(parse_has_ended(stat), Some(false));
        let exiting = b"42 (x) R 1 42 42 0 -1 4194564 1";
        assert_eq!(parse_has_ended(exiting), Some(true));
        let zombie = b"42 (x) Z 1 42 42 0 -1 4194560 1";
        assert_eq!(parse_has_ended(zombie), Some(true));
        assert_eq!(parse_start_time(stat), Some(StartTime(987_654)));
        assert_eq!(parse_start_time(b"42 (x) S 1"), None);
        assert_eq!(parse_start_time(b""), None);
    }
}
