//! The output of a view: whole lines, up to a limit, the rest counted. And the few colors.

use std::fmt::{self, Write};

/// What a piece of a line is, for its color.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    /// A task's name.
    Name,
    /// A state worth a look.
    State,
    /// A cycle.
    Cycle,
    /// A remark of ours, or a heading.
    Note,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Self::Name => "\x1b[1m",
            Self::State => "\x1b[33m",
            Self::Cycle => "\x1b[1;31m",
            Self::Note => "\x1b[2m",
        }
    }
}

/// Writes lines to `out` up to a limit, and counts those beyond it.
pub(super) struct Lines<'o> {
    out: &'o mut dyn Write,
    line: String,
    color: bool,
    left: u64,
    left_out: u64,
}

impl<'o> Lines<'o> {
    pub(super) fn new(out: &'o mut dyn Write, lines_max: Option<u64>, color: bool) -> Self {
        Self {
            out,
            line: String::new(),
            color,
            left: lines_max.unwrap_or(u64::MAX),
            left_out: 0,
        }
    }

    /// The line being put together, to append to.
    pub(super) fn text(&mut self) -> &mut String {
        &mut self.line
    }

    /// Appends in the color of `ink`.
    pub(super) fn ink(&mut self, ink: Ink, text: &str) {
        if !self.color || text.is_empty() {
            self.line.push_str(text);
            return;
        }
        self.line.push_str(ink.code());
        self.line.push_str(text);
        self.line.push_str("\x1b[0m");
    }

    /// Ends the line.
    pub(super) fn end(&mut self) -> fmt::Result {
        if self.left == 0 {
            self.left_out += 1;
        } else {
            self.left -= 1;
            self.line.push('\n');
            self.out.write_str(&self.line)?;
        }
        self.line.clear();
        Ok(())
    }

    /// The limit is reached: further lines are only counted.
    pub(super) fn is_full(&self) -> bool {
        self.left == 0
    }

    /// How many lines were not written.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Writes one last line, whatever the limit.
    pub(super) fn last(&mut self, ink: Ink, text: &str) -> fmt::Result {
        self.left = 1;
        self.ink(ink, text);
        self.end()
    }
}
