//! The name of what a Python process runs, from its arguments: the script or the module.
//!
//! The options are those of CPython's command line (`Doc/using/cmdline.rst`). A process may have
//! written anything over its arguments; then the first word of that is the name.

use crate::sanitize::escape_start;

/// Characters of a name.
const CHARS_MAX: usize = 100;
/// Options of one letter that take a value, in the same argument or in the next one.
const WITH_VALUE: &[u8] = b"WX";

/// The name of what runs with these arguments, each ended by a NUL byte. `None`: it is a child of
/// `multiprocessing`, whose arguments do not tell.
pub fn program_name(arguments: &[u8]) -> Option<String> {
    let mut arguments = arguments.split(|byte| *byte == 0);
    let first = arguments.next().unwrap_or_default();
    let mut rest: Vec<&[u8]> = arguments.collect();
    if rest.last().is_some_and(|last| last.is_empty()) {
        rest.pop();
    }
    let mut interpreter = last_part(first);
    if interpreter.starts_with(b"ld-linux") || interpreter.starts_with(b"ld-musl") {
        // Started by way of the dynamic loader: its options stand before the program.
        let at = program_of_loader(&rest)?;
        interpreter = last_part(rest[at]);
        rest.drain(..=at);
    }
    if is_python(interpreter) {
        run_by_python(&rest)
    } else {
        Some(title(first))
    }
}

/// The position of the program in the arguments of the dynamic loader (ld.so(8)).
fn program_of_loader(arguments: &[&[u8]]) -> Option<usize> {
    const WITH_VALUE: [&[u8]; 7] = [
        b"--argv0",
        b"--audit",
        b"--glibc-hwcaps-mask",
        b"--glibc-hwcaps-prepend",
        b"--inhibit-rpath",
        b"--library-path",
        b"--preload",
    ];
    let mut is_value = false;
    arguments.iter().position(|argument| {
        let is_program = !is_value && !argument.starts_with(b"--");
        is_value = !is_value && WITH_VALUE.contains(argument);
        is_program
    })
}

fn is_python(name: &[u8]) -> bool {
    name.starts_with(b"python") || name.starts_with(b"Python") || name.starts_with(b"pypy")
}

/// What Python runs with these arguments.
fn run_by_python(arguments: &[&[u8]]) -> Option<String> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let Some(letters) = argument.strip_prefix(b"-") else {
            return Some(script(argument));
        };
        if letters.is_empty() {
            return Some("-".to_owned());
        }
        if let Some(long) = letters.strip_prefix(b"-") {
            match long {
                b"" => return arguments.next().map(|script_path| script(script_path)),
                b"check-hash-based-pycs" => drop(arguments.next()),
                b"multiprocessing-fork" => return None,
                _ => {}
            }
            continue;
        }
        for (at, letter) in letters.iter().enumerate() {
            let value = &letters[at + 1..];
            let mut value_or_next = || match value {
                [] => arguments.next().copied().unwrap_or_default(),
                value => value,
            };
            match letter {
                b'm' => return Some(shown(value_or_next())),
                b'c' => {
                    let is_child = value_or_next().starts_with(b"from multiprocessing");
                    return (!is_child).then(|| "-c".to_owned());
                }
                letter if WITH_VALUE.contains(letter) => {
                    value_or_next();
                    break;
                }
                _ => {}
            }
        }
    }
    Some("python".to_owned())
}

/// The name of a script: its file's; of `__main__.py` that of the folder it is in.
fn script(path: &[u8]) -> String {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let name = match path.strip_suffix(b"/__main__.py") {
        Some(folder) => last_part(folder),
        None => last_part(path),
    };
    shown(name)
}

/// The name in a title that a process gave itself, such as `gunicorn: worker [app]`, or of a program that
/// has a Python in it.
fn title(first: &[u8]) -> String {
    let word = first
        .split(u8::is_ascii_whitespace)
        .find(|word| !word.is_empty());
    let word = last_part(word.unwrap_or_default());
    shown(word.strip_suffix(b":").unwrap_or(word))
}

fn last_part(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

fn shown(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let name = name.trim();
    if name.is_empty() {
        return "python".to_owned();
    }
    escape_start(name, CHARS_MAX).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_named_after_what_they_run() {
        for (command, name) in [
            ("python3 /srv/app/main.py --port 80", Some("main.py")),
            ("/usr/bin/python3.14 -m uvicorn app:app", Some("uvicorn")),
            ("python -mhttp.server", Some("http.server")),
            ("python -Im app.worker x", Some("app.worker")),
            ("python -X dev -W error -Xutf8 -u a.py", Some("a.py")),
            (
                "python --check-hash-based-pycs never -OO b.py",
                Some("b.py"),
            ),
            ("python3 /usr/local/bin/celery -A x worker", Some("celery")),
            ("python /srv/checkout/__main__.py", Some("checkout")),
            ("python /srv/checkout/", Some("checkout")),
            ("python -c import\u{a0}asyncio", Some("-c")),
            ("python", Some("python")),
            ("python -i -q", Some("python")),
            ("python -", Some("-")),
            ("python -m", Some("python")),
            ("python -- c.py", Some("c.py")),
            ("", Some("python")),
            (
                "/lib64/ld-linux-x86-64.so.2 --inhibit-cache --argv0 /x/python /usr/bin/python3.14 d.py",
                Some("d.py"),
            ),
            ("gunicorn: worker", Some("gunicorn")),
            ("/opt/uwsgi/uwsgi --ini x", Some("uwsgi")),
            ("python -s --multiprocessing-fork x", None),
            ("python a\x1b[31m.py", Some("a\\x1b[31m.py")),
        ] {
            let arguments: Vec<u8> = command.replace(' ', "\0").into_bytes();
            assert_eq!(program_name(&arguments).as_deref(), name, "{command}");
        }
        let child = b"python\0-c\0from multiprocessing.spawn import spawn_main; spawn_main()\0";
        assert_eq!(program_name(child), None);
        assert_eq!(
            program_name(b"gunicorn: master [app:app]\0").unwrap(),
            "gunicorn"
        );
        let long = format!("python\0{}\0", "x".repeat(10_000));
        assert_eq!(
            program_name(long.as_bytes()).unwrap().chars().count(),
            CHARS_MAX + 1
        );
    }
}
