//! Tables of few columns, for the commands that list processes.

use std::fmt::Write as _;

/// Lines with aligned columns; the last column is as long as it likes.
pub(super) fn columns<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned))
        .chain(rows)
        .collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..N.saturating_sub(1)).map(width).chain([0]).collect();
    let mut table = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            write!(table, "{cell:width$}  ").expect("writing to a String does not fail");
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["äö", "1", ""], ["x", "100", "long text"]];
        let table = columns(["A", "NO", "TEXT"], rows.map(|row| row.map(str::to_owned)));
        assert_eq!(table, "A   NO   TEXT\näö  1\nx   100  long text\n");
    }
}
