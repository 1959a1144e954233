//! Code and exception tables: whether an instruction is in a loop. More ways make no loop of none, unless they are damaged.
//!
//! Input: version, unit (2 bytes), size of the table, the table, then the code.

use super::input::Input;
use asyncio_agent::cpython::fixtures::is_in_loop;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let head = input.u32().to_le_bytes();
    let minor = 14 + head[0] % 2;
    let unit = usize::from(u16::from_le_bytes([head[1], head[2]]));
    let rest = input.rest();
    let (table, code) = rest.split_at(rest.len().min(usize::from(head[3])));
    let without = is_in_loop(minor, code, &[], unit);
    let with = is_in_loop(minor, code, table, unit);
    if without == Some(true) {
        assert_ne!(with, Some(false));
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let await_of = |table: &[u8], last: &[u8]| {
        let code = [27, 0, 106, 3, 0, 0, 27, 0, 27, 0, 76, 5, 27, 0];
        let head = [0, 3, 0, u8::try_from(table.len()).unwrap()];
        [&head[..], table, &code, last].concat()
    };
    vec![
        await_of(&[], &[35, 0]),
        await_of(&[0x83, 1, 6, 0], &[35, 0]),
        await_of(&[0x83, 1, 1, 0], &[35, 0]),
        await_of(&[], &[75, 9, 0, 0]),
    ]
}
