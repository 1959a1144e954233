//! Made-up processes, and an agent in process that watches them, asked over real sockets.
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use asyncio_agent::agent::{Agent, AgentConfig, AgentError, AttachedProcess, ProcessSource};
use asyncio_agent::config::{self, ConfigError, WebFile};
use asyncio_agent::graph::{
    GraphBuilder, NewTask, ProcessInfo, ReadStats, Snapshot, StackIdx, TaskName, TaskState,
};
use asyncio_agent::ids::{Pid, ProcessId, StartTime, TaskId};
use asyncio_agent::limits::Stop;
use asyncio_agent::process::ProcessError;
use asyncio_agent::procfs::{Owner, ProcfsError, UserIds};
use asyncio_agent::targets::ReadFacts;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;

/// What a made-up process does when it is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Act {
    /// It has this many tasks, each awaited by the next.
    Chain(u64),
    /// Its tasks await each other in a circle.
    Ring(u64),
    Denied,
    NotPython,
    Panics,
    /// Reading it takes until it does something else.
    Hangs,
}

/// Made-up processes: pid, command line and act. They can be changed while the agent runs.
#[derive(Debug, Clone, Default)]
pub struct Zoo(Arc<Mutex<BTreeMap<i32, (&'static str, Act)>>>);

impl Zoo {
    pub fn with(processes: &[(i32, &'static str, Act)]) -> Self {
        let zoo = Self::default();
        for (pid, command, act) in processes {
            zoo.set(*pid, command, *act);
        }
        zoo
    }

    pub fn set(&self, pid: i32, command: &'static str, act: Act) {
        self.0.lock().unwrap().insert(pid, (command, act));
    }

    pub fn act_of(&self, pid: Pid) -> Option<Act> {
        self.0.lock().unwrap().get(&pid.as_raw()).map(|it| it.1)
    }

    pub fn remove(&self, pid: i32) {
        self.0.lock().unwrap().remove(&pid);
    }
}

impl ProcessSource for Zoo {
    fn processes(&self) -> Result<Vec<ProcessId>, ProcfsError> {
        let zoo = self.0.lock().unwrap();
        let listed = zoo.keys().map(|pid| ProcessId {
            pid: Pid::new(*pid).unwrap(),
            start: StartTime(1),
        });
        Ok(listed.collect())
    }

    fn facts(&self) -> &dyn ReadFacts {
        self
    }

    fn has_ended(&self, id: ProcessId) -> bool {
        self.act_of(id.pid).is_none()
    }

    /// Those with a command that begins with `user=N` are that user's, others of whoever runs the test.
    fn owner(&self, pid: Pid) -> Result<Owner, ProcessError> {
        let zoo = self.0.lock().unwrap();
        let (command, _) = zoo
            .get(&pid.as_raw())
            .ok_or(ProcessError::NotFound { pid })?;
        let user = command.strip_prefix("user=").map(|rest| {
            let number = rest.split(' ').next().unwrap();
            number.parse().unwrap()
        });
        let start = StartTime(1);
        let users = UserIds::all(user.unwrap_or_else(own_user));
        Ok(Owner {
            id: ProcessId { pid, start },
            users,
            is_dumpable: true,
            faults: None,
        })
    }

    fn probe(&self, id: ProcessId) -> Result<(), ProcessError> {
        self.attach(id)?.snapshot(&Stop::default()).map(drop)
    }

    fn attach(&self, id: ProcessId) -> Result<Box<dyn AttachedProcess>, ProcessError> {
        Ok(Box::new(Cage {
            zoo: self.clone(),
            pid: id.pid,
        }))
    }
}

/// The user who runs the test.
pub fn own_user() -> u32 {
    std::fs::metadata("/proc/self").unwrap().uid()
}

impl ReadFacts for Zoo {
    fn executable(&self, _process: ProcessId) -> Option<Vec<u8>> {
        None
    }

    fn command_line(&self, process: ProcessId) -> Option<Vec<u8>> {
        let zoo = self.0.lock().unwrap();
        let (command, _) = zoo.get(&process.pid.as_raw())?;
        Some(command.replace(' ', "\0").into_bytes())
    }

    fn user_and_parent(&self, _process: ProcessId) -> Option<(Option<u32>, Option<Pid>)> {
        None
    }

    fn cgroups(&self, _process: ProcessId) -> Option<Vec<Vec<u8>>> {
        None
    }

    fn user_id(&self, _name: &str) -> Option<u32> {
        None
    }
}

pub struct Cage {
    zoo: Zoo,
    pid: Pid,
}

impl AttachedProcess for Cage {
    fn snapshot(&mut self, stop: &Stop) -> Result<Snapshot, ProcessError> {
        let pid = self.pid;
        match self.zoo.act_of(pid) {
            None => Err(ProcessError::Gone { pid }),
            Some(Act::Chain(n)) => Ok(snapshot(n, (1..n).map(|at| (at - 1, at)))),
            Some(Act::Ring(n)) => Ok(snapshot(n, (0..n).map(|at| (at, (at + 1) % n)))),
            Some(Act::Denied) => Err(ProcessError::Denied {
                pid,
                what: "/proc/1/maps".to_owned(),
            }),
            Some(Act::NotPython) => Err(ProcessError::NotPython {
                pid,
                supported: String::new(),
            }),
            Some(Act::Panics) => panic!("this is part of the test"),
            Some(Act::Hangs) => {
                // In the kernel, so to say: nothing stops it.
                while self.zoo.act_of(pid) == Some(Act::Hangs) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                match stop.is_stopped() {
                    true => Ok(Snapshot {
                        complete: false,
                        ..snapshot(0, std::iter::empty())
                    }),
                    false => self.snapshot(stop),
                }
            }
        }
    }
}

pub fn snapshot(n_tasks: u64, edges: impl Iterator<Item = (u64, u64)>) -> Snapshot {
    let mut builder = GraphBuilder::new();
    let tasks: Vec<_> = (0..n_tasks)
        .map(|id| {
            builder.add_task(NewTask {
                id: TaskId(id),
                name: TaskName::Number(id),
                state: TaskState::Suspended,
                cancelling: false,
                stack: StackIdx::EMPTY,
                awaiting: None,
            })
        })
        .collect();
    for (awaited, awaiter) in edges {
        let awaited = tasks[usize::try_from(awaited).unwrap()];
        builder.add_edge(awaited, TaskId(awaiter), StackIdx::EMPTY);
    }
    Snapshot {
        process: ProcessInfo::default(),
        graph: builder.finish().into(),
        problems: Vec::new(),
        stats: ReadStats::default(),
        complete: true,
    }
}

/// A running agent with a runtime of its own.
pub struct Running {
    runtime: Option<Runtime>,
    agent: Option<Agent>,
    pub address: SocketAddr,
    /// What it reads when it is told to.
    files: Arc<Files>,
}

/// The configuration, and the file of `web.config_file`, so to say.
#[derive(Debug)]
pub struct Files {
    config: Mutex<String>,
    web: Mutex<WebFile>,
}

impl Files {
    pub fn new(config: &str, web: &WebFile) -> Arc<Self> {
        Arc::new(Self {
            config: Mutex::new(config.to_owned()),
            web: Mutex::new(web.clone()),
        })
    }
}

impl Running {
    pub fn start(zoo: &Zoo, targets: &str) -> Self {
        let text = format!(
            "web: {{listen: 127.0.0.1:0}}\ndiscovery: {{interval: 20ms}}\ntargets:\n{targets}"
        );
        Self::start_with(zoo, &text, &WebFile::default())
    }

    /// With this whole configuration.
    pub fn start_with(zoo: &Zoo, text: &str, web_file: &WebFile) -> Self {
        Self::start_on(Arc::new(zoo.clone()), text, web_file)
    }

    /// Of other processes, with this whole configuration.
    pub fn start_on(source: Arc<dyn ProcessSource>, text: &str, web_file: &WebFile) -> Self {
        let files = Files::new(text, web_file);
        let runtime = Runtime::new().unwrap();
        let start = start(source, &files);
        let agent = runtime.block_on(start).unwrap();
        Self {
            address: agent.addresses()[0],
            agent: Some(agent),
            runtime: Some(runtime),
            files,
        }
    }

    /// Changes the file, so to say; the agent is not told.
    pub fn write_config(&self, text: &str) {
        text.clone_into(&mut self.files.config.lock().unwrap());
    }

    /// Changes the file of `web.config_file`; the agent is not told.
    pub fn write_web_file(&self, file: &WebFile) {
        file.clone_into(&mut self.files.web.lock().unwrap());
    }

    /// As SIGHUP does.
    pub fn reload(&self) {
        self.agent.as_ref().unwrap().reload();
    }

    pub fn post(&self, path: &str) -> String {
        self.exchange(&format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ))
    }

    /// Sends bytes and returns all that comes back.
    pub fn exchange(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn get(&self, path: &str) -> String {
        self.get_from("localhost", path)
    }

    /// What somebody gets who calls the agent by this name.
    pub fn get_from(&self, host: &str, path: &str) -> String {
        self.exchange(&format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ))
    }

    /// The values of the metric, by the value of its label `target`.
    pub fn metric(&self, name: &str) -> BTreeMap<String, f64> {
        let text = self.get("/metrics");
        let points = text.lines().filter_map(|line| {
            let (target, value) = line
                .strip_prefix(name)?
                .strip_prefix("{target=\"")?
                .split_once("\"} ")?;
            Some((target.to_owned(), value.parse().unwrap()))
        });
        points.collect()
    }

    /// Asks again and again until the answer is right.
    pub fn eventually(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..1_000 {
            if is_so(self) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("not so in time: {what}\n{}", self.get("/metrics"));
    }
}

/// Starts an agent that reads its configuration from `files`.
pub async fn start(
    source: Arc<dyn ProcessSource>,
    files: &Arc<Files>,
) -> Result<Agent, AgentError> {
    let files = Arc::clone(files);
    let load = move || {
        let text = files.config.lock().unwrap().clone();
        let web_file = files.web.lock().unwrap().clone();
        Ok((config::parse("test", &text)?, web_file))
    };
    let (settings, web_file) = load().unwrap_or_else(|error: ConfigError| panic!("{error}"));
    let config = AgentConfig {
        settings,
        web_file,
        load: Arc::new(load),
    };
    Agent::start(config, source).await
}

impl Drop for Running {
    fn drop(&mut self) {
        let runtime = self.runtime.take().unwrap();
        runtime.block_on(self.agent.take().unwrap().stop());
        runtime.shutdown_background();
    }
}

pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

pub fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = answer.split_once("\r\n\r\n")?;
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(key, _)| *key == name).map(|(_, value)| value)
}
