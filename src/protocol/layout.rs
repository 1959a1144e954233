//! Where the written JSON breaks its lines: one line per task, so that a snapshot can be searched
//! and compared by line, and a message about a file can name a useful line number. And what it escapes:
//! a terminal is shown no character that moves its cursor, hides or reorders text.

use crate::sanitize::is_unsafe;
use serde_json::ser::Formatter;
use std::io::{self, Write};

/// Members of objects and arrays down to this depth stand on lines of their own: the top level,
/// `threads`, a thread, and its `tasks`.
const DEPTH_BROKEN_MAX: usize = 4;

/// Breaks lines down to the tasks and writes everything below compactly.
#[derive(Debug, Default)]
pub(super) struct LinePerTask {
    depth: usize,
    has_members: bool,
}

impl LinePerTask {
    fn begin<W: Write + ?Sized>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.has_members = false;
        out.write_all(bracket)
    }

    fn end<W: Write + ?Sized>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        let broken = self.has_members && self.depth <= DEPTH_BROKEN_MAX;
        self.depth -= 1;
        if broken {
            self.break_line(out)?;
        }
        self.has_members = true;
        out.write_all(bracket)
    }

    fn member<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        if self.depth <= DEPTH_BROKEN_MAX {
            self.break_line(out)?;
        } else if !first {
            out.write_all(b" ")?;
        }
        Ok(())
    }

    fn break_line<W: Write + ?Sized>(&self, out: &mut W) -> io::Result<()> {
        const SPACES: &[u8] = &[b' '; DEPTH_BROKEN_MAX];
        out.write_all(b"\n")?;
        out.write_all(&SPACES[..self.depth])
    }
}

impl Formatter for LinePerTask {
    /// The text between what JSON itself escapes.
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        write_safe(out, fragment)
    }

    fn begin_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"[")
    }

    fn end_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"]")
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.member(out, first)
    }

    fn end_array_value<W: Write + ?Sized>(&mut self, _out: &mut W) -> io::Result<()> {
        self.has_members = true;
        Ok(())
    }

    fn begin_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"{")
    }

    fn end_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"}")
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.member(out, first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, _out: &mut W) -> io::Result<()> {
        self.has_members = true;
        Ok(())
    }
}

/// Breaks no lines.
#[derive(Debug)]
pub(super) struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        write_safe(out, fragment)
    }
}

fn write_safe<W: Write + ?Sized>(out: &mut W, fragment: &str) -> io::Result<()> {
    let mut done = 0;
    for (at, found) in fragment.match_indices(is_unsafe) {
        out.write_all(&fragment.as_bytes()[done..at])?;
        for unit in found.encode_utf16() {
            write!(out, "\\u{unit:04x}")?;
        }
        done = at + found.len();
    }
    out.write_all(&fragment.as_bytes()[done..])
}
