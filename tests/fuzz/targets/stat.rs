//! The text of `/proc/PID/stat`.

use asyncio_agent::procfs::Stat;

pub(crate) fn run(data: &[u8]) {
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
        line(b"42 (x) Z 1 42 42 0 -1 4194564 1 0 0 0 1 2 0 0 20 0 1 0 18446744073709551615 0\n"),
    ]
}
