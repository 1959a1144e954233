//! The text of `/proc/PID/stat`, and that of `/proc/PID/status`.

use asyncio_agent::procfs::{Stat, Status};

pub(crate) fn run(data: &[u8]) {
    // The first line of each field counts, so lines behind change nothing.
    if let Some(status) = Status::parse(data) {
        let longer = [data, b"\nName:\tx\nTgid:\t7\nTracerPid:\t8\n"].concat();
        assert_eq!(Status::parse(&longer), Some(status));
    }
    let Some(stat) = Stat::parse(data) else {
        return;
    };
    // What stands before the last parenthesis means nothing.
    let end = data.iter().rposition(|byte| *byte == b')').expect("parsed");
    let renamed = [b"1 (x) R 9 ", &data[end..]].concat();
    assert_eq!(Stat::parse(&renamed), Some(stat));
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let line = |text: &[u8]| text.to_vec();
    vec![
        line(b"42 (a) R (b\xff) S 1 42 42 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 987654 1 1\n"),
        line(b"Name:\ta\\nb\xff\nState:\tt (tracing stop)\nTgid:\t41\nTracerPid:\t7\n"),
        line(b"42 (x) Z 1 42 42 0 -1 4194564 1 0 0 0 1 2 0 0 20 0 1 0 18446744073709551615 0\n"),
    ]
}
