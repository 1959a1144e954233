//! Line tables of code objects: the line of every instruction, against a second decoder.
//!
//! Input: the first line (4 bytes), then the table.

use super::input::Input;
use asyncio_agent::cpython::fixtures::line_at;

/// Units that are asked for one by one.
const UNITS: u64 = 96;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let first_line = i32::from_le_bytes(input.u32().to_le_bytes());
    let table = input.rest();
    let lines = decode(table, first_line);
    let powers = (7..64).map(|shift| 1 << shift);
    for unit in (0..UNITS).chain(powers).chain([u64::MAX]) {
        let expected = usize::try_from(unit)
            .ok()
            .and_then(|unit| lines.get(unit).copied().flatten());
        assert_eq!(line_at(table, first_line, unit), expected, "unit {unit}");
    }
}

/// The line of each unit, in one pass over the table (Objects/locations.md of CPython).
fn decode(table: &[u8], first_line: i32) -> Vec<Option<u32>> {
    let mut lines = Vec::new();
    let mut rest = table;
    let mut line = i128::from(first_line);
    while let [first, tail @ ..] = rest {
        if first & 0x80 == 0 {
            break;
        }
        let code = (first >> 3) & 15;
        let parsed = match code {
            15 => Some((0, tail)),
            14 => signed(tail).and_then(|(delta, tail)| {
                let (_, tail) = varint(tail)?;
                let (_, tail) = varint(tail)?;
                let (_, tail) = varint(tail)?;
                Some((delta, tail))
            }),
            13 => signed(tail),
            10..=12 => tail.get(2..).map(|tail| (i128::from(code) - 10, tail)),
            _ => tail.get(1..).map(|tail| (0, tail)),
        };
        let Some((delta, tail)) = parsed else {
            break;
        };
        // Lines are kept in 64 bits; what leaves them stays at their ends.
        line = (line + delta).clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        let shown = (code != 15).then(|| u32::try_from(line).ok()).flatten();
        lines.extend(std::iter::repeat_n(shown, usize::from(first & 7) + 1));
        rest = tail;
    }
    lines
}

/// Six bits a byte, at most sixty in all.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let last = bytes.iter().position(|byte| byte & 0x40 == 0)?;
    if last >= 10 {
        return None;
    }
    let digits = bytes[..=last].iter().rev();
    let value = digits.fold(0, |value, byte| value * 64 + u64::from(byte & 63));
    Some((value, &bytes[last + 1..]))
}

fn signed(bytes: &[u8]) -> Option<(i128, &[u8])> {
    let (value, rest) = varint(bytes)?;
    let magnitude = i128::from(value / 2);
    let signed = if value % 2 == 1 {
        -magnitude
    } else {
        magnitude
    };
    Some((signed, rest))
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let table = |bytes: &[u8]| [&10_i32.to_le_bytes(), bytes].concat();
    vec![
        // One entry of each kind.
        table(&[
            0xe8, 1, 0x81, 0, 0xd8, 3, 4, 0xf8, 0xf7, 0x42, 1, 2, 1, 1, 0xe8, 7,
        ]),
        table(&[0xff; 40]),
        table(&[&[0xef][..], &[0x7f; 12], &[0]].concat()),
    ]
}
