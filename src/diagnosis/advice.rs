//! What helps when a process cannot be read, for each reason.

use crate::process::ProcessError;

/// What is left to somebody who may not stop a process.
const WITHOUT_FREEZE: &str =
    "without --freeze it is read while it runs, which needs no more than the right to read it";

/// What can be done about a process that cannot be read. Why permission is denied, [`Access`](crate::process::Access) says.
pub fn advice(error: &ProcessError) -> Vec<String> {
    let hint = match error {
        ProcessError::NotFound { .. } => {
            "'pgrep -af python' lists the Python processes; inside a container they have other \
             ids than on its host"
        }
        ProcessError::Thread { process, .. } => {
            return vec![format!(
                "all threads are in what is told of process {process}"
            )];
        }
        ProcessError::Gone { .. } => "if it was restarted it has a new id: 'pgrep -af python'",
        ProcessError::OtherPidNamespace { pid } | ProcessError::Denied { pid, .. } => {
            return vec![format!(
                "'agentctl explain {pid}' says what stands in the way"
            )];
        }
        ProcessError::Traced { tracer, name, .. } => {
            let hint = match name.as_deref() {
                Some("agentctl") => "another agentctl stops it at the moment: try again".to_owned(),
                _ => format!("a process has one tracer at a time; see 'ps -fp {tracer}'"),
            };
            return vec![hint, WITHOUT_FREEZE.to_owned()];
        }
        ProcessError::FreezeDenied { .. } => {
            let hint = "it may be read, so what refuses is a seccomp filter, a security module, \
                        or a tracer that cannot be seen from here; in a container try it on the \
                        host";
            return vec![hint.to_owned(), WITHOUT_FREEZE.to_owned()];
        }
        ProcessError::NotPython { pid, .. } => {
            return vec![format!(
                "if it starts Python as a child (a shell script, uv run, a supervisor), give the \
                 id of that child: 'pgrep -a -P {pid}'"
            )];
        }
        ProcessError::Unsupported { supported, .. } => {
            return vec![format!(
                "run the program with a final release of one of these versions: {supported}"
            )];
        }
        ProcessError::NotStarted { .. } => "try again in a moment",
        ProcessError::NoAsyncio { pid, .. } => {
            return vec![format!(
                "if it has only just started, try again; if it leaves the work to children, give \
                 the id of one of them: 'pgrep -a -P {pid}'"
            )];
        }
        ProcessError::BadOffsets { .. } => {
            "a modified or damaged Python; with one from python.org or a distribution this is a \
             defect of agentctl: report it with the message above"
        }
        ProcessError::Failed { .. } => "try again; if it stays, report it with the message above",
    };
    vec![hint.to_owned()]
}
