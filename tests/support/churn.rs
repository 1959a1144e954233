//! The programs whose tasks come and go, and what they say of the names and lines of `_churn.py`.

use super::python::Python;
use super::target::Target;
use asyncio_agent::ids::Pid;
use asyncio_agent::limits::Limits;
use asyncio_agent::process::Process;
use asyncio_agent::procfs::ProcRoot;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

/// A program and how fast it starts tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Churn {
    pub program: &'static str,
    /// Tasks started in a second.
    pub rate: &'static str,
}

pub const PROGRAMS: [&str; 3] = ["churn", "churn_threads", "churn_python"];
pub const RATES: [&str; 3] = ["hundreds", "thousands", "tens-of-thousands"];

impl Churn {
    pub fn all() -> Vec<Self> {
        let with_rates = |program| RATES.map(|rate| Self { program, rate });
        PROGRAMS.into_iter().flat_map(with_rates).collect()
    }

    /// Starts it and waits until all its lasting tasks have been started.
    pub fn start(self, python: &Python) -> Target {
        let mut command = python.program(self.program);
        command.arg(self.rate);
        Target::start(command)
    }
}

impl fmt::Display for Churn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.program, self.rate)
    }
}

/// A reader of the program that `target` runs.
pub fn attach(target: &Target) -> Process {
    let pid = i32::try_from(target.pid()).ok().and_then(Pid::new);
    let pid = pid.expect("a pid fits");
    Process::attach(&ProcRoot::default(), pid, Limits::default())
        .unwrap_or_else(|error| panic!("attach: {error}"))
}

/// What a program says of its names and lines.
#[derive(Debug, Clone)]
pub struct Truth {
    /// The file whose lines these are.
    pub file: String,
    /// The lines at which a task may be suspended.
    pub lines: HashMap<u32, Line>,
    /// Numbers of tasks that never end.
    pub lasting: Vec<u64>,
    /// For each function that may be suspended, those that may be suspended inside it, itself included.
    reaches: BTreeMap<String, HashSet<String>>,
}

/// A line at which a task may be suspended.
#[derive(Debug, Clone)]
pub struct Line {
    pub function: String,
    /// Each a possible list of functions that follow inwards.
    pub next: Vec<Vec<String>>,
}

impl Truth {
    /// Reads what the program printed.
    pub fn of(target: &Target) -> Self {
        let told = &target.truth;
        let mut lines = HashMap::new();
        for (number, line) in told["lines"].as_object().expect("lines") {
            let next = list(&line["next"]).iter();
            let line = Line {
                function: text(&line["function"]),
                next: next
                    .map(|names| list(names).iter().map(text).collect())
                    .collect(),
            };
            lines.insert(number.parse().expect("the number of a line"), line);
        }
        let lasting = list(&told["lasting"]).iter().map(|name| {
            let name = text(name);
            let number = name
                .split('~')
                .next()
                .and_then(|number| number.parse().ok());
            number.expect("a name begins with its number")
        });
        let truth = Self {
            file: text(&told["file"]),
            lasting: lasting.collect(),
            reaches: reaches(&lines),
            lines,
        };
        assert!(truth.lines.len() > 50 && !truth.lasting.is_empty());
        truth
    }

    /// Whether this is one of the program's functions that can be suspended.
    pub fn is_suspendable(&self, function: &str) -> bool {
        self.reaches.contains_key(function)
    }

    /// Whether a task can be suspended at this line of the program.
    pub fn awaits_at(&self, line: Option<u32>) -> bool {
        line.is_some_and(|line| self.lines.contains_key(&line))
    }

    /// Whether a task that is in `outer` may be in `inner` too.
    pub fn reaches(&self, outer: &str, inner: &str) -> bool {
        let reached = self.reaches.get(outer);
        reached.is_some_and(|functions| functions.contains(inner))
    }
}

fn reaches(lines: &HashMap<u32, Line>) -> BTreeMap<String, HashSet<String>> {
    let mut reaches: BTreeMap<String, HashSet<String>> = BTreeMap::new();
    for line in lines.values() {
        let own = reaches.entry(line.function.clone()).or_default();
        own.insert(line.function.clone());
        own.extend(line.next.iter().flatten().cloned());
    }
    // Until nothing is added: each pass adds at least one of finitely many pairs.
    loop {
        let before: usize = reaches.values().map(HashSet::len).sum();
        for function in reaches.keys().cloned().collect::<Vec<_>>() {
            let inner: Vec<HashSet<String>> = reaches[&function]
                .iter()
                .filter_map(|inner| reaches.get(inner).cloned())
                .collect();
            if let Some(reached) = reaches.get_mut(&function) {
                reached.extend(inner.into_iter().flatten());
            }
        }
        if reaches.values().map(HashSet::len).sum::<usize>() == before {
            return reaches;
        }
    }
}

/// A task's name, taken apart: `34~deep*7<33~in_group@4242`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'n> {
    pub number: u64,
    /// What awaiters are called by: all before `<` and `@`.
    pub me: &'n str,
    /// The function and the depth.
    pub kind: &'n str,
    pub function: &'n str,
    /// How often the function is on the task's stack while it waits.
    pub depth: Option<usize>,
    /// Who may await it, separated by commas.
    pub awaiters: &'n str,
    /// The native id of the thread that created it.
    pub thread: u64,
}

impl<'n> Name<'n> {
    /// `None` for what cannot be the name of a task of `_churn.py`.
    pub fn parse(text: &'n str, truth: &Truth) -> Option<Self> {
        let (label, thread) = text.rsplit_once('@')?;
        let (me, awaiters) = label.split_once('<').unwrap_or((label, ""));
        let mut name = Self::parse_label(me, truth)?;
        name.thread = number(thread)?;
        name.awaiters = awaiters;
        let n_awaiters = awaiters.split(',').filter(|part| !part.is_empty()).count();
        (name.awaiters(truth).count() == n_awaiters).then_some(name)
    }

    fn parse_label(me: &'n str, truth: &Truth) -> Option<Self> {
        let (digits, kind) = me.split_once('~')?;
        let (function, depth) = match kind.split_once('*') {
            Some((function, depth)) => (function, Some(number(depth)?)),
            None => (kind, None),
        };
        truth.is_suspendable(function).then_some(Self {
            number: number(digits)?,
            me,
            kind,
            function,
            depth: depth.and_then(|depth| usize::try_from(depth).ok()),
            awaiters: "",
            thread: 0,
        })
    }

    pub fn may_be_awaited_by(&self, awaiter: &str) -> bool {
        self.awaiters.split(',').any(|may| may == awaiter)
    }

    /// Those who may await it; what is no name is left out.
    pub fn awaiters(&self, truth: &Truth) -> impl Iterator<Item = Name<'n>> {
        let parts = self.awaiters.split(',');
        parts.filter_map(move |me| Self::parse_label(me, truth))
    }
}

/// A number as Python writes it.
fn number(digits: &str) -> Option<u64> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_plain)
}

/// The members of a JSON list.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A JSON text.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
