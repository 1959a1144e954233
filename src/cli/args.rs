//! The command line: commands, options and their help texts.

use crate::config::{DURATION_FORM, parse_duration};
use crate::ids::Pid;
use crate::limits::PAUSE_LIMITS;
use crate::render;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use regex::Regex;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const EXIT_DONE: &str = "\
Exit status:
  0  done; what a partial snapshot lacks is said on standard error";

const EXIT_EXPLAIN: &str = "\
Exit status:
  0  the process can be read and uses asyncio";

const EXIT_CYCLE: &str = "  1  tasks wait for each other in a cycle";

/// Of a command that reads a process.
fn exit_failures(denied: &str) -> String {
    format!(
        "  2  wrong arguments
  3  no such process
  4  {denied}
  5  not a supported process: no Python, a version that cannot be read, no asyncio
  6  the agent, which was asked for, cannot be reached
  7  any other failure, such as a file that is damaged or cannot be written"
    )
}

const DENIED: &str = "permission denied";
const DENIED_OR_TRACED: &str = "permission denied; with --freeze also: another process traces it";

const EXIT_FINDINGS: &str = "\
Exit status:
  0  done
  1  an await cycle is among the findings
  2  wrong arguments
  4  permission denied
  6  the agent cannot be reached
  7  any other failure";

const EXIT_TARGETS: &str = "\
Exit status:
  0  done
  2  wrong arguments, or a configuration that cannot be used
  4  permission denied by the agent
  6  the agent, which was asked for, cannot be reached
  7  any other failure";

const EXIT_CONFIG: &str = "\
Exit status:
  0  done
  2  wrong arguments, or a configuration that cannot be used
  7  any other failure";

const HELP_TRACE: &str = "\
Examples:
  agentctl trace 4242 --print               the spans as a tree, nothing is sent
  agentctl trace 4242 --print --for 5s      with lengths: what was seen for how long
  agentctl trace 4242 --otlp http://localhost:4317 --for 5s
  agentctl trace 4242 --otlp https://otlp.example:4318 --protocol http/protobuf
  agentctl trace 4242 --config agent.yaml   where, and as, an agent with it would send

What --otlp leaves out is taken from OTEL_EXPORTER_OTLP_ENDPOINT, _PROTOCOL, _HEADERS,
_COMPRESSION, _TIMEOUT, _CERTIFICATE, _CLIENT_CERTIFICATE and _CLIENT_KEY, or of
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT and so on, which come first. Headers are not taken as
arguments, which everybody on the machine can see.

A cycle of tasks that wait for each other ends with status 1, after everything was sent.";

/// The help text with the exit statuses of a command that looks for cycles.
fn with_exit_status(help: &str) -> String {
    format!(
        "{help}\n\n{EXIT_DONE}\n{EXIT_CYCLE}\n{}",
        exit_failures(DENIED_OR_TRACED)
    )
}

const HELP_EXPLAIN: &str = "\
Examples:
  agentctl explain 4242                     by the running agent, or the service's rules
  agentctl explain 4242 --config agent.yaml as an agent with this configuration would see it
  agentctl explain 4242 --format json | jq '.fixes[].text'

The sections are 'watched' (rule by rule), 'readable' (the parts of the kernel's rule), 'found',
and 'fix'. All of it is printed whatever the exit status is, which is that of 'agentctl ps' of the
process: 0 if it can be read and uses asyncio, else 4, 5 or 7, and 3 if there is no such process.
Whether it is watched does not count.";

const HELP_TARGETS: &str = "\
Examples:
  agentctl targets                          what the running agent watches, or would
  agentctl targets --direct                 what it would watch, and whether you can read that
  agentctl targets --config agent.yaml      what the agent would watch with this configuration

Without an agent, which processes can be read depends on the user: run it as the agent's.";

const HELP_FINDINGS: &str = "\
Examples:
  agentctl findings
  agentctl findings --format json | jq '.findings[].path'

Root and the members of the group that control.group names in the agent's configuration see all of
it, anybody else what is of processes that run as them.";

const HELP: &str = "\
Examples:
  agentctl pstree 4242                      who waits for whom, as a tree
  agentctl ps 4242 --filter '^worker-'      the tasks with such names, one line each
  agentctl snapshot 4242 -o before.json     keep the state for later
  agentctl trace 4242 --otlp --for 5s       send it as spans to a receiver of OpenTelemetry
  agentctl explain 4242                     why it is watched or not, can be read or not
  agentctl pstree --from before.json        and look at it, also on another machine

A process can be read by its own user or by root (sudo agentctl ...). If asyncio-agent runs, it is
asked to read, so that members of its group need no sudo.
'agentctl COMMAND --help' says more about a command.";

const HELP_PS: &str = "\
Examples:
  agentctl ps 4242
  agentctl ps 4242 --filter 'worker-\\d+'
  agentctl ps 4242 --format csv > tasks.csv
  agentctl ps 4242 --format json | jq '.threads[].tasks[].task_name'
  agentctl ps --from saved.json

A cycle of tasks that wait for each other ends with status 1 in every form but the cpython and
classic tables, which do not look for cycles.";

const HELP_PSTREE: &str = "\
Examples:
  agentctl pstree 4242
  agentctl pstree 4242 --filter 'worker-7' --depth 6
  agentctl pstree 4242 --style cpython
  agentctl pstree 4242 --freeze
  agentctl snapshot 4242 | agentctl pstree --from -

A cycle of tasks that wait for each other ends with status 1 in every style and form. The agent
style marks it in the tree; the others print its tasks on standard error and no tree, as Python
does.";

const HELP_SNAPSHOT: &str = "\
Examples:
  agentctl snapshot 4242 -o saved.json
  agentctl snapshot 4242 | gzip > saved.json.gz

The snapshot holds names, functions and file names of the process, so a file is made readable for
its owner only. It appears under its name when it is complete. A cycle does not change the exit
status of this command. 'agentctl schema' prints the JSON Schema of the form.";

/// Shows what the asyncio tasks of a running Python process are waiting for
///
/// It shows where each task stands and who waits for whom. The process is read from outside:
/// nothing is put into it and it needs no preparation.
#[derive(Debug, Parser)]
#[command(
    name = "agentctl",
    version,
    after_help = HELP,
    after_long_help = with_exit_status(HELP),
    max_term_width = 100
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the tasks, one line for each task and awaiter
    ///
    /// A line tells the thread, the task's id and name, the functions it is in (the innermost
    /// first), and one task that awaits it, with the functions which that one is in. A task that
    /// several others await has a line for each of them, up to 100 unless --max-lines is given.
    #[command(after_help = HELP_PS, after_long_help = with_exit_status(HELP_PS))]
    Ps(PsArgs),
    /// Show the tasks as a tree: below each task what it waits for
    ///
    /// Below a task stand the functions it is in, from the outermost inwards, and below the
    /// innermost the tasks that it waits for.
    #[command(after_help = HELP_PSTREE, after_long_help = with_exit_status(HELP_PSTREE))]
    Pstree(PstreeArgs),
    /// Save the whole snapshot of a process as JSON
    ///
    /// Everything that was found is written. 'agentctl ps' and 'agentctl pstree' show such a file
    /// with --from.
    #[command(
        after_help = HELP_SNAPSHOT,
        after_long_help = format!(
            "{HELP_SNAPSHOT}\n\n{EXIT_DONE}\n{}",
            exit_failures(DENIED_OR_TRACED)
        )
    )]
    Snapshot(SnapshotArgs),
    /// Show the tasks as spans of OpenTelemetry, or send them once
    ///
    /// A trace stands for a task that no other one awaits. Below a task stand the functions it is in, and
    /// below the innermost the tasks that it waits for; links lead to others that wait for it, too. Tasks of a
    /// cycle that none of them can leave have the status error. A span begins when the task, or the function at
    /// its line, was first seen, and ends with the last look: with --for its length tells for how long it has
    /// waited at least, without it has none. The agent sends the same (exporters.otlp).
    #[command(after_help = HELP_TRACE, after_long_help = with_exit_status(HELP_TRACE))]
    Trace(TraceArgs),
    /// Say whether a process is watched, whether it can be read, what was found, and what to do about it
    ///
    /// If an agent runs, it answers: by its configuration and with its rights. Otherwise, with --direct and with
    /// --config agentctl looks by itself, with the rights of whoever runs it.
    #[command(
        after_help = HELP_EXPLAIN,
        after_long_help = format!(
            "{HELP_EXPLAIN}\n\n{EXIT_EXPLAIN}\n{}",
            exit_failures(DENIED)
        )
    )]
    Explain(ExplainArgs),
    /// List the processes that the running agent watches, or a configuration of it stands for
    ///
    /// If an agent runs, it answers. Otherwise, with --direct and with --config agentctl looks by itself: a line tells the
    /// target, the process, the rule by which it belongs to the target, and whether it can be read; if not, standard
    /// error says why, and what may not be looked at.
    #[command(after_help = HELP_TARGETS, after_long_help = format!("{HELP_TARGETS}\n\n{EXIT_TARGETS}"))]
    Targets(TargetsArgs),
    /// List the await cycles and stuck tasks that the running agent has found
    ///
    /// A line tells the target, the process, what it is, for how long it has been there, and its tasks.
    #[command(after_help = HELP_FINDINGS, after_long_help = format!("{HELP_FINDINGS}\n\n{EXIT_FINDINGS}"))]
    Findings(FindingsArgs),
    /// Check or show a configuration of asyncio-agent
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the JSON Schema of snapshots
    Schema,
    /// Print a completion script for a shell
    ///
    /// For example: agentctl completions bash > /usr/share/bash-completion/completions/agentctl
    Completions {
        /// The shell
        shell: Shell,
        /// The program whose arguments are completed
        #[arg(default_value = "agentctl", value_parser = ["agentctl", "asyncio-agent"])]
        program: String,
    },
    /// Print a manual page
    ///
    /// For example: agentctl man pstree | man -l -
    Man {
        /// The command whose page to print, such as pstree or config-check, or asyncio-agent
        command: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Process id
    #[arg(value_name = "PID", allow_negative_numbers = true)]
    pub(super) pid: Pid,
    #[command(flatten)]
    pub(super) via: ViaArgs,
    /// The configuration whose rules are looked at, a YAML file; no agent is asked then. Without it, and without an agent,
    /// it is /etc/asyncio-agent/agent.yaml if that can be read, or else every Python with asyncio in use is watched
    #[arg(long, value_name = "FILE", conflicts_with = "agent")]
    pub(super) config: Option<PathBuf>,
    /// The form of the output
    #[arg(long, value_enum, default_value_t = ExplainFormat::Text)]
    pub(super) format: ExplainFormat,
}

#[derive(Debug, Args)]
pub(super) struct TargetsArgs {
    /// The configuration, a YAML file; no agent is asked then. Without it, and without an agent, it is
    /// /etc/asyncio-agent/agent.yaml if that can be read, or else every Python with asyncio in use is listed
    #[arg(long, value_name = "FILE", conflicts_with = "agent")]
    pub(super) config: Option<PathBuf>,
    /// List also the processes of which it cannot be found out whether they belong to a target; no agent is asked then
    #[arg(long, conflicts_with = "agent")]
    pub(super) all: bool,
    /// Do not cut lines at the width of the terminal; to anything else they are written whole anyway
    #[arg(long, short = 'w')]
    pub(super) wide: bool,
    #[command(flatten)]
    pub(super) agent: AgentArgs,
    /// Look from here without asking the agent, as if none ran
    #[arg(long, conflicts_with = "agent")]
    pub(super) direct: bool,
    /// The form of what the agent tells; as JSON only an agent tells it
    #[arg(long, value_enum, default_value_t = AnswerFormat::Text, conflicts_with_all = ["config", "all", "direct"])]
    pub(super) format: AnswerFormat,
}

#[derive(Debug, Args)]
pub(super) struct FindingsArgs {
    #[command(flatten)]
    pub(super) agent: AgentArgs,
    /// Only to say why it cannot be
    #[arg(long, hide = true)]
    pub(super) direct: bool,
    /// The form of the output
    #[arg(long, value_enum, default_value_t = AnswerFormat::Text)]
    pub(super) format: AnswerFormat,
}

/// The agent.
#[derive(Debug, Args)]
pub(super) struct AgentArgs {
    /// Ask the running agent, by its socket at SOCKET [default: /run/asyncio-agent/agent.sock, or what
    /// ASYNCIO_AGENT_SOCKET says]
    #[arg(long, value_name = "SOCKET", num_args = 0..=1, require_equals = true)]
    pub(super) agent: Option<Option<PathBuf>>,
}

/// Who reads the process.
///
/// Without either the agent is asked if there is one.
#[derive(Debug, Args)]
pub(super) struct ViaArgs {
    #[command(flatten)]
    pub(super) agent: AgentArgs,
    /// Read the process without asking the agent, as if none ran
    #[arg(long, conflicts_with = "agent")]
    pub(super) direct: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum AnswerFormat {
    /// A table with aligned columns
    Text,
    /// As the agent serves it under /api/v1
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ExplainFormat {
    /// Sections for people
    Text,
    /// The same for programs
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check a configuration, and the file that its web.config_file names
    ///
    /// Everything that is wrong is told at once, with file, line and column.
    #[command(after_long_help = EXIT_CONFIG)]
    Check {
        /// The configuration, a YAML file
        file: PathBuf,
    },
    /// Show the settings that are in effect, secrets apart
    ///
    /// These are those of the file with its environment variables filled in, and the defaults for the
    /// rest.
    #[command(after_long_help = EXIT_CONFIG)]
    Show {
        /// The configuration, a YAML file; without it the defaults are shown
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print the configuration with all options, commented, at their defaults
    ///
    /// For example: agentctl config defaults > agent.yaml
    Defaults,
}

/// What to look at.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Source {
    /// Process id of a running Python
    #[arg(value_name = "PID", allow_negative_numbers = true)]
    pub(super) pid: Option<Pid>,
    /// Show a saved snapshot instead of a process; '-' reads it from standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["freeze", "agent", "direct"])]
    pub(super) from: Option<PathBuf>,
}

/// Whether the process runs on meanwhile.
#[derive(Debug, Args)]
pub(super) struct FreezeArgs {
    /// Stop the process while it is read, for an exact picture; after LIMIT, 50ms unless given, it
    /// is let go in any case
    ///
    /// All its threads stand still meanwhile: it answers nobody. No agent is asked to do that unless --agent is given; that one
    /// does it if control.freeze of its configuration allows so long. How long they stood is said on standard error. A process that sleeps all the while is not stopped: its picture is exact as it is. When the limit is reached first (1ms to 10s), the rest is read while it runs, and the
    /// snapshot is partial. It is stopped as by a debugger, so it works for no process that has one,
    /// and a system call that a thread waits in may end early with EINTR; Python repeats such calls.
    #[arg(
        long,
        value_name = "LIMIT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "50ms",
        value_parser = parse_pause
    )]
    pub(super) freeze: Option<Duration>,
}

/// Reads how long a process may be stopped.
fn parse_pause(text: &str) -> Result<Duration, String> {
    let limit = parse_duration(text).map_err(|why| format!("{why}, expected {DURATION_FORM}"))?;
    if PAUSE_LIMITS.contains(&limit) {
        Ok(limit)
    } else {
        Err("a process can be stopped for 1ms to 10s".to_owned())
    }
}

/// The limit that stands apart from its `--freeze`, where it is taken for another argument. It has a unit,
/// so it is no process id.
pub(super) fn limit_apart(args: &[OsString]) -> Option<&str> {
    let limit = args.iter().skip_while(|arg| *arg != "--freeze").nth(1)?;
    let limit = limit.to_str()?;
    parse_duration(limit).is_ok().then_some(limit)
}

/// The options that `ps` and `pstree` share.
#[derive(Debug, Args)]
pub(super) struct ViewArgs {
    #[command(flatten)]
    pub(super) source: Source,
    #[command(flatten)]
    pub(super) freeze: FreezeArgs,
    #[command(flatten)]
    pub(super) via: ViaArgs,
    /// How tables and trees look
    ///
    /// It has no effect on json and csv, which also ignore the options that bound tables and trees.
    #[arg(long, value_enum, default_value_t = StyleArg::Agent)]
    pub(super) style: StyleArg,
    /// Show only tasks with a name, or a function they are in, that matches this regular expression;
    /// a tree also shows the tasks that await them
    #[arg(long, value_name = "REGEX")]
    pub(super) filter: Option<Regex>,
    /// Colour the output
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorArg::Auto)]
    pub(super) color: ColorArg,
}

#[derive(Debug, Args)]
pub(super) struct PsArgs {
    #[command(flatten)]
    pub(super) view: ViewArgs,
    /// The form of the output
    #[arg(long, value_enum, default_value_t = TableFormat::Table)]
    pub(super) format: TableFormat,
    /// Print at most N lines and say what was left out; 0 for all [default for the agent style: 10000
    /// on a terminal, otherwise 1000000, and 100 awaiters of each task; other styles: all]
    #[arg(long, value_name = "N")]
    pub(super) max_lines: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct PstreeArgs {
    #[command(flatten)]
    pub(super) view: ViewArgs,
    /// The form of the output
    #[arg(long, value_enum, default_value_t = TreeFormat::Tree)]
    pub(super) format: TreeFormat,
    /// Show at most N tasks below one another
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) depth: Option<u32>,
    /// Print at most N lines and say what was left out; 0 for all [default: 10000 for the agent
    /// style, otherwise all]
    #[arg(long, value_name = "N")]
    pub(super) max_lines: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct SnapshotArgs {
    /// Process id of a running Python
    #[arg(value_name = "PID", allow_negative_numbers = true)]
    pub(super) pid: Pid,
    #[command(flatten)]
    pub(super) freeze: FreezeArgs,
    #[command(flatten)]
    pub(super) via: ViaArgs,
    /// Write to this file instead of standard output, which '-' stands for
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(group(
    clap::ArgGroup::new("to").args(["otlp", "config", "print"]).required(true).multiple(true)
))]
pub(super) struct TraceArgs {
    /// Process id of a running Python
    #[arg(value_name = "PID", allow_negative_numbers = true)]
    pub(super) pid: Pid,
    /// Send the spans to this receiver [default without ENDPOINT: OTEL_EXPORTER_OTLP_ENDPOINT, or port 4317
    /// (grpc) or 4318 (http/protobuf) of this machine]
    #[arg(long, value_name = "ENDPOINT", num_args = 0..=1)]
    pub(super) otlp: Option<Option<String>>,
    /// How to speak to it [default: OTEL_EXPORTER_OTLP_PROTOCOL, or http/protobuf if the port is 4318, or
    /// grpc]
    #[arg(long, value_parser = ["grpc", "http/protobuf"], requires = "otlp")]
    pub(super) protocol: Option<String>,
    /// For how long a request may take, such as 5s [default: OTEL_EXPORTER_OTLP_TIMEOUT, or 10s]
    #[arg(long, value_name = "TIME", requires = "otlp")]
    pub(super) timeout: Option<String>,
    /// Send the spans to the receiver of this configuration of asyncio-agent (exporters.otlp)
    #[arg(long, value_name = "FILE", conflicts_with = "otlp")]
    pub(super) config: Option<PathBuf>,
    /// Print the spans as a tree
    #[arg(long)]
    pub(super) print: bool,
    /// Watch the process for so long (100ms to 1h), by some twenty looks or more, to tell for how long its tasks
    /// have waited
    #[arg(long = "for", value_name = "TIME", value_parser = parse_watch)]
    pub(super) time: Option<Duration>,
    /// What the service is called (service.name) [default: the script or module that the process runs]
    #[arg(long, value_name = "NAME")]
    pub(super) service: Option<String>,
    /// Make at most N spans and say what was left out; 0 for all [default: 20000, and 2000 of a trace, or
    /// what --config says]
    #[arg(long, value_name = "N")]
    pub(super) max_spans: Option<u32>,
    /// Colour the output
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorArg::Auto)]
    pub(super) color: ColorArg,
}

/// Reads for how long a process is watched.
fn parse_watch(text: &str) -> Result<Duration, String> {
    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(60 * 60);
    let time = parse_duration(text).map_err(|why| format!("{why}, expected {DURATION_FORM}"))?;
    if (MIN..=MAX).contains(&time) {
        Ok(time)
    } else {
        Err("a process can be watched for 100ms to 1h".to_owned())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StyleArg {
    /// Complete, marked, folded and bounded: for people. Of names and files 200 characters are shown
    Agent,
    /// Exactly as 'python -m asyncio ps' and 'pstree' of Python 3.14 and 3.15 print it
    Cpython,
    /// Exactly as the first version of these commands printed it
    Classic,
}

impl From<StyleArg> for render::Style {
    fn from(style: StyleArg) -> Self {
        match style {
            StyleArg::Agent => Self::Agent,
            StyleArg::Cpython => Self::Cpython,
            StyleArg::Classic => Self::Classic,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TableFormat {
    /// A table with aligned columns
    Table,
    /// The snapshot as JSON ('agentctl schema'), with --filter only the matching tasks
    Json,
    /// Comma separated values with a header line
    Csv,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TreeFormat {
    /// A tree
    Tree,
    /// The snapshot as JSON ('agentctl schema'), with --filter only the matching tasks
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ColorArg {
    /// When the output goes to a terminal and NO_COLOR is not set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_declaration_is_sound() {
        Cli::command().debug_assert();
    }

    /// Lines of ours that are longer than what clap wraps at are broken within, wherever that is.
    #[test]
    fn help_texts_fit_into_their_lines() {
        let mut command = Cli::command();
        command.build();
        let mut n = 0;
        let commands = command.get_subcommands().chain([&command]);
        for command in commands {
            let texts = [command.get_after_help(), command.get_after_long_help()];
            for text in texts.into_iter().flatten().map(ToString::to_string) {
                n += 1;
                let long = text.lines().find(|line| line.chars().count() > 100);
                assert_eq!(long, None, "{}", command.get_name());
            }
        }
        assert!(n > 10, "{n}");
    }
}
