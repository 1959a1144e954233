//! A small language for task graphs, for tests, fuzzing and benchmarks. Not a format to keep data in.
//!
//! ```text
//! # a comment
//! thread 7                                  # or: thread 7 interpreter 1
//! Task-1 suspended @ main app.py:10
//! worker-1 running @ sleep tasks.py:716, work app.py:20
//!   <- Task-1 : gather, main                # awaited by Task-1, which stands in this stack
//! ? #0xbeef created cancelling waits Future # a task without a name
//! worker-1 <- ? : main app.py:10            # the same, from anywhere
//! worker-1 <- #0xdead :                     # an awaiter that is not listed, without a stack
//! ```
//!
//! - A task line: name, `#ID` (else the next multiple of 0x10 from 0x1000 on), state (else pending),
//!   `cancelling`, `needs-one`, `waits TYPE`, `@` and its stack.
//! - A stack is given innermost frame first, separated by commas. A frame is `FUNCTION`, `FUNCTION
//!   FILE`, `FUNCTION FILE:LINE` or `FUNCTION -:LINE`; a mark before it tells how it was reached: `~`
//!   through a generator, `+` through an `anext_awaitable`, `!` on its thread's stack, `^` through a coroutine wrapper.
//! - An edge without `:` takes the awaiter's own stack. With `<~` for `<-` it is loose.
//! - `Task-N` is the default name with that number. Anything may be written as `"…"` with the escapes
//!   `\" \\ \n \r \t \u{…}`; quoted, a word means nothing special (`"Task-1"` is a name somebody gave).

mod parse;
mod print;
mod word;

pub use parse::{ParseError, parse};
pub use print::print;

use super::{TaskName, TaskState};

/// The id of the first task that gives none, and the distance to the next.
const FIRST_ID: u64 = 0x1000;
const ID_STEP: u64 = 0x10;

/// The arrow of an edge that is loose.
const LOOSE: &str = "<~";
/// The word for a task that goes on as soon as one of what it awaits has ended.
const NEEDS_ONE: &str = "needs-one";

/// The id of the `nth` task of a text, if it gives none.
fn usual_id(nth: usize) -> u64 {
    FIRST_ID.wrapping_add(ID_STEP.wrapping_mul(nth as u64))
}

const STATES: [(TaskState, &str); 4] = [
    (TaskState::Pending, "pending"),
    (TaskState::Created, "created"),
    (TaskState::Suspended, "suspended"),
    (TaskState::Running, "running"),
];

/// The number in a default name written without quotes, if it is written as Python would.
fn default_name(word: &str) -> Option<TaskName> {
    let digits = word.strip_prefix("Task-")?;
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(TaskName::Number(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_what_was_read() {
        let text = "\
thread 7
Task-1 suspended @ main app.py:10
worker-1 #0xbeef running cancelling needs-one waits Future @ ~\"a b\" \"x y.py\":3, ^g -:4, h f.py, i
  <- Task-1
  <~ #0xdead :
thread 8 interpreter 1
\"Task-1\"
? created
  <- worker-1 : gather, main
";
        let graph = parse(text).unwrap();
        assert_eq!(print(&graph), text);
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, message) in [
            ("a\na <- b", "line 2: no task is called b"),
            ("a\na\na <- a", "line 3: several tasks are called a"),
            ("  <- a", "line 1: an awaiter of which task?"),
            ("thread x", "line 1: not a number: x"),
            ("a \"b", "line 1: a quote is never closed"),
            ("a sleeping", "line 1: not understood: sleeping"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message);
        }
    }
}
