//! Reading the graph language.

use super::word::{Word, split};
use super::{LOOSE, NEEDS_ONE, STATES, default_name, usual_id};
use crate::graph::{
    FrameIdx, GraphBuilder, NewFrame, NewTask, StackIdx, TaskGraph, TaskIdx, TaskName, TaskState,
    Via,
};
use crate::ids::{TaskId, Tid};
use rustc_hash::FxHashMap;

/// Why a text is not a graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

/// Reads a graph.
///
/// # Errors
///
/// When a line is not understood, or names a task that is not there.
pub fn parse(text: &str) -> Result<TaskGraph, ParseError> {
    let mut parser = Parser::default();
    for (at, line) in text.lines().enumerate() {
        parser.line(line, at + 1).map_err(|message| ParseError {
            line: at + 1,
            message,
        })?;
    }
    parser.finish()
}

#[derive(Default)]
struct Parser {
    builder: GraphBuilder,
    /// By id: the task's stack.
    stacks: FxHashMap<TaskId, StackIdx>,
    /// By what the text calls a task: the task, the last one, and whether there are more.
    names: FxHashMap<(String, bool), (TaskIdx, TaskId, bool)>,
    last: Option<TaskIdx>,
    edges: Vec<NewEdge>,
}

/// An edge as written; names are looked up at the end.
struct NewEdge {
    line: usize,
    awaited: Option<Word>,
    last: Option<TaskIdx>,
    awaiter: Word,
    stack: Option<StackIdx>,
    is_loose: bool,
}

impl Parser {
    fn line(&mut self, line: &str, number: usize) -> Result<(), String> {
        let words = split(line)?;
        let Some(first) = words.first() else {
            return Ok(());
        };
        if first.is("thread") {
            return self.thread(&words[1..]);
        }
        let is_arrow = |word: &Word| word.is("<-") || word.is(LOOSE);
        match words.iter().position(is_arrow) {
            Some(at @ (0 | 1)) => {
                let is_loose = words[at].is(LOOSE);
                self.edge((&words[..at], &words[at + 1..]), is_loose, number)
            }
            _ => self.task(&words),
        }
    }

    fn thread(&mut self, words: &[Word]) -> Result<(), String> {
        let number = |word: &Word| {
            word.text
                .parse::<i64>()
                .map_err(|_| format!("not a number: {}", word.text))
        };
        let (tid, interpreter) = match words {
            [tid] => (number(tid)?, 0),
            [tid, keyword, id] if keyword.is("interpreter") => (number(tid)?, number(id)?),
            _ => return Err("expected: thread TID [interpreter ID]".into()),
        };
        let tid = u64::try_from(tid).map_err(|_| format!("not a thread id: {tid}"))?;
        self.builder.begin_thread(interpreter, Tid(tid));
        Ok(())
    }

    fn task(&mut self, words: &[Word]) -> Result<(), String> {
        let (name, mut rest) = words.split_first().ok_or("expected a name")?;
        let mut id = TaskId(usual_id(self.builder.n_tasks()));
        let mut state = TaskState::default();
        let (mut cancelling, mut needs_one) = (false, false);
        let (mut awaiting, mut stack) = (None, StackIdx::EMPTY);
        while let Some((word, after)) = rest.split_first() {
            rest = after;
            if let Some(given) = as_id(word) {
                id = given;
            } else if let Some((known, _)) = STATES.iter().find(|(_, text)| word.is(text)) {
                state = *known;
            } else if word.is("cancelling") {
                cancelling = true;
            } else if word.is(NEEDS_ONE) {
                needs_one = true;
            } else if word.is("waits") {
                let (kind, after) = rest.split_first().ok_or("waits for what?")?;
                awaiting = Some(self.builder.text(&whole(kind)));
                rest = after;
            } else if word.is("@") {
                stack = self.stack(rest)?;
                rest = &[];
            } else {
                return Err(format!("not understood: {}", word.text));
            }
        }
        let task_name = match name.is_quoted {
            false if name.is("?") => TaskName::Unknown,
            false if default_name(&name.text).is_some() => {
                default_name(&name.text).unwrap_or_default()
            }
            _ => TaskName::Text(self.builder.text(&whole(name))),
        };
        let at = self.builder.add_task(NewTask {
            id,
            name: task_name,
            state,
            cancelling,
            stack,
            awaiting,
        });
        if needs_one {
            self.builder.set_needs_one(at);
        }
        self.stacks.insert(id, stack);
        self.names
            .entry(key(name))
            .and_modify(|(last, last_id, again)| (*last, *last_id, *again) = (at, id, true))
            .or_insert((at, id, false));
        self.last = Some(at);
        Ok(())
    }

    fn edge(
        &mut self,
        (awaited, words): (&[Word], &[Word]),
        is_loose: bool,
        line: usize,
    ) -> Result<(), String> {
        let (awaiter, rest) = words.split_first().ok_or("awaited by whom?")?;
        let stack = match rest.split_first() {
            None => None,
            Some((colon, frames)) if colon.is(":") => Some(self.stack(frames)?),
            Some((word, _)) => return Err(format!("not understood: {}", word.text)),
        };
        if awaited.is_empty() && self.last.is_none() {
            return Err("an awaiter of which task?".into());
        }
        self.edges.push(NewEdge {
            line,
            awaited: awaited.first().cloned(),
            last: self.last,
            awaiter: awaiter.clone(),
            stack,
            is_loose,
        });
        Ok(())
    }

    fn stack(&mut self, words: &[Word]) -> Result<StackIdx, String> {
        let mut frames: Vec<FrameIdx> = Vec::new();
        for frame in words
            .split(|word| word.is(","))
            .filter(|_| !words.is_empty())
        {
            let (function, file) = match frame {
                [function] => (function, None),
                [function, file] => (function, Some(file)),
                _ => return Err("expected a frame: FUNCTION [FILE[:LINE]]".into()),
            };
            let via = match function.mark {
                None => Via::Await,
                Some('~') => Via::Generator,
                Some('+') => Via::AnextAwaitable,
                Some('!') => Via::Thread,
                Some(_) => Via::CoroutineWrapper,
            };
            let is_none = |file: &&Word| !file.is_quoted && file.text == "-";
            frames.push(
                self.builder.frame(NewFrame {
                    function: &whole(function),
                    file: file
                        .filter(|file| !is_none(file))
                        .map(|file| file.text.as_str()),
                    line: file.and_then(|file| file.line),
                    via,
                }),
            );
        }
        Ok(self.builder.stack(&frames))
    }

    fn finish(mut self) -> Result<TaskGraph, ParseError> {
        for edge in std::mem::take(&mut self.edges) {
            let error = |message| ParseError {
                line: edge.line,
                message,
            };
            let awaited = match &edge.awaited {
                None => edge
                    .last
                    .ok_or_else(|| error("an awaiter of which task?".into()))?,
                Some(word) => self.named(word).map_err(error)?.0,
            };
            let awaiter = match as_id(&edge.awaiter) {
                Some(id) => id,
                None => self.named(&edge.awaiter).map_err(error)?.1,
            };
            let own = self.stacks.get(&awaiter).copied();
            let stack = edge.stack.or(own).unwrap_or(StackIdx::EMPTY);
            self.builder.add_edge(awaited, awaiter, stack);
            if edge.is_loose {
                self.builder.loosen_edge();
            }
        }
        Ok(self.builder.finish())
    }

    fn named(&self, word: &Word) -> Result<(TaskIdx, TaskId), String> {
        let name = whole(word);
        match self.names.get(&key(word)) {
            None => Err(format!("no task is called {name}")),
            Some((_, _, true)) => Err(format!("several tasks are called {name}")),
            Some((at, id, false)) => Ok((*at, *id)),
        }
    }
}

/// What a task is found by: its name, and whether quotes change what it means.
fn key(word: &Word) -> (String, bool) {
    let name = whole(word);
    let means_more = name == "?" || default_name(&name).is_some();
    let is_quoted = word.is_quoted && means_more;
    (name, is_quoted)
}

fn as_id(word: &Word) -> Option<TaskId> {
    let is_bare = !word.is_quoted && word.mark.is_none() && word.line.is_none();
    word.text
        .strip_prefix('#')
        .filter(|_| is_bare)?
        .parse()
        .ok()
}

/// A word that is not a file: what looks like a line number belongs to it.
fn whole(word: &Word) -> String {
    match word.line {
        Some(line) if !word.is_quoted => format!("{}:{line}", word.text),
        _ => word.text.clone(),
    }
}
