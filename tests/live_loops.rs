//! Instructions and loops of functions, as CPython itself has them.

mod support;

use asyncio_agent::cpython::fixtures::{instructions, is_in_loop};
use support::python;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter_map(|c| c.to_digit(16)?.try_into().ok())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] * 16 + pair[1])
        .collect()
}

#[test]
fn instructions_and_loops_are_those_of_cpython() {
    for python in python::all() {
        let told = python.script("tests/oracle/loops.py").output().unwrap();
        assert!(
            told.status.success(),
            "{}",
            String::from_utf8_lossy(&told.stderr)
        );
        let told = String::from_utf8(told.stdout).unwrap();
        let mut lines = told.lines();
        let minor = u8::try_from(python.version.1).unwrap();
        let [caches, kinds] = instructions(minor);
        let text = |table: &[u8]| String::from_utf8(table.to_vec()).unwrap();
        let version = &python.full_version;
        assert_eq!(Some(&*text(caches)), lines.next(), "{version}");
        assert_eq!(Some(&*text(kinds)), lines.next(), "{version}");
        // In a loop by the text, and in no loop because all ways leave it.
        let mut n_left = 0;
        let mut n = [0, 0];
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let [code, table, unit, in_loop] = words[..] else {
                panic!("{line}");
            };
            let unit = unit.parse().unwrap();
            let found = is_in_loop(minor, &bytes(code), &bytes(table), unit);
            let found = found.unwrap_or_else(|| panic!("{version}: {line}"));
            let in_text = in_loop == "True";
            n[usize::from(found)] += 1;
            n_left += u32::from(in_text && !found);
            assert!(in_text || !found, "{version}: {line}");
        }
        assert!(n[0] > 100 && n[1] > 30, "{version}: {n:?}");
        assert!(n_left < 8, "{version}: {n_left}");
    }
}

#[test]
fn what_makes_no_sense_is_not_known() {
    let [nop, send, jump_of_await, jump, line] = [27, 106, 76, 75, 254];
    let looks = |code: &[u8], table: &[u8], unit| is_in_loop(14, code, table, unit);
    // The await of unit 1 to 5 ends at unit 6.
    let code = [
        nop,
        0,
        send,
        3,
        0,
        0,
        nop,
        0,
        nop,
        0,
        jump_of_await,
        5,
        nop,
        0,
        35,
        0,
    ];
    assert_eq!(looks(&code, &[], 3), Some(false));
    // A jump from behind it to its beginning.
    let again = [&code[..14], &[jump, 9, 0, 0]].concat();
    assert_eq!(looks(&again, &[], 3), Some(true));
    for (at, value) in [(12, line), (3, 200), (10, nop), (11, 200), (11, 4)] {
        let mut damaged = code;
        damaged[at] = value;
        assert_eq!(looks(&damaged, &[], 3), None, "{at}: {value}");
    }
    for (table, known) in [
        (&[0x83, 1, 6, 0][..], Some(false)),
        (&[0x83, 1, 1, 0], Some(true)),
        (&[0x83, 1, 60, 0], None),
        (&[0x83, 1], None),
        (&[0x84, 1, 6, 0, 0x83, 1, 6, 0], None),
        (&[0x7f; 40], None),
    ] {
        assert_eq!(looks(&code, table, 3), known, "{table:?}");
    }
    assert_eq!(looks(&code, &[], 100), None);
    assert_eq!(looks(&[], &[], 0), None);
}
