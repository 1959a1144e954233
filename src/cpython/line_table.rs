//! Which line an instruction belongs to: the location table of a code object
//! (`co_linetable`, Objects/locations.md of CPython 3.14; the format is that of 3.11).
//!
//! Each entry covers 1 to 8 code units. Its first byte is `1 cccc lll`: the code says how the
//! location is written, `lll` is the number of units less one.

/// The entry has no location.
const CODE_NONE: u8 = 15;
/// Line difference, end line, column and end column, as variable-length numbers.
const CODE_LONG: u8 = 14;
/// Line difference only.
const CODE_NO_COLUMNS: u8 = 13;
/// 10, 11, 12: zero, one, two lines further; two bytes of columns.
const CODE_ONE_LINE: u8 = 10;

struct Bytes<'t>(std::slice::Iter<'t, u8>);

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        self.0.next().copied()
    }

    /// Six bits a byte, low ones first; bit 6 says that more follow.
    fn varint(&mut self) -> Option<u64> {
        let mut value: u64 = 0;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            // Numbers of more than 60 bits occur in damaged tables only.
            value |= u64::from(byte & 0x3f)
                .checked_shl(shift)
                .filter(|_| shift < 60)?;
            if byte & 0x40 == 0 {
                return Some(value);
            }
            shift = shift.saturating_add(6);
        }
    }

    /// A varint whose lowest bit is the sign.
    fn signed_varint(&mut self) -> Option<i64> {
        let value = self.varint()?;
        let magnitude = i64::try_from(value >> 1).ok()?;
        Some(if value & 1 == 1 {
            magnitude.saturating_neg()
        } else {
            magnitude
        })
    }
}

/// The line of the code unit `unit`, for a function that begins at `first_line`. `None` when the
/// table gives that unit no line, does not reach it, or is damaged before it.
pub(super) fn line_at(table: &[u8], first_line: i32, unit: u64) -> Option<u32> {
    let mut bytes = Bytes(table.iter());
    let mut line = i64::from(first_line);
    let mut next_unit: u64 = 0;
    loop {
        let first = bytes.byte()?;
        // Every entry begins with the high bit set; anything else is the end or damage.
        if first & 0x80 == 0 {
            return None;
        }
        let code = (first >> 3) & 0xf;
        match code {
            CODE_NONE => {}
            CODE_LONG => {
                line = line.saturating_add(bytes.signed_varint()?);
                for _ in 0..3 {
                    bytes.varint()?;
                }
            }
            CODE_NO_COLUMNS => line = line.saturating_add(bytes.signed_varint()?),
            CODE_ONE_LINE.. => {
                line = line.saturating_add(i64::from(code.saturating_sub(CODE_ONE_LINE)));
                bytes.byte()?;
                bytes.byte()?;
            }
            _ => {
                bytes.byte()?;
            }
        }
        next_unit = next_unit.saturating_add(u64::from(first & 7).saturating_add(1));
        if unit < next_unit {
            return if code == CODE_NONE {
                None
            } else {
                u32::try_from(line).ok()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::line_at;

    fn entry(code: u8, units: u8) -> u8 {
        0x80 | (code << 3) | (units - 1)
    }

    #[test]
    fn every_kind_of_entry() {
        let table = [
            entry(13, 1),
            0x01, // one unit at line 10 - 0 (sign bit of zero)
            entry(0, 2),
            0x00, // short form: the same line
            entry(11, 1),
            3,
            4,            // next line
            entry(15, 1), // no location, and the line is kept
            entry(14, 8),
            0x42,
            0x01,
            0x02,
            0x01,
            0x01, // 0x42, 0x01: 66 = +33
            entry(13, 1),
            0x07, // -3
        ];
        let lines: Vec<_> = (0..15).map(|unit| line_at(&table, 10, unit)).collect();
        let mut expected = vec![Some(10), Some(10), Some(10), Some(11), None];
        expected.extend([Some(44); 8]);
        expected.extend([Some(41), None]);
        assert_eq!(lines, expected);
    }

    #[test]
    fn damaged_tables_end() {
        assert_eq!(line_at(&[], 1, 0), None);
        assert_eq!(line_at(&[0], 1, 0), None);
        assert_eq!(line_at(&[entry(13, 1), 0xff, 0xff], 1, 0), None);
        assert_eq!(line_at(&[entry(14, 1); 64], 1, 0), None);
        let endless = [0x7f; 100];
        assert_eq!(
            line_at(&[&[entry(13, 1)], &endless[..]].concat(), 1, 0),
            None
        );
        // A line below zero is no line.
        assert_eq!(line_at(&[entry(13, 1), 0x0b], 1, 0), None);
    }
}
