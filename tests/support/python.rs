//! The interpreters that live tests run on.
//!
//! Without more they are the CPython 3.14 and 3.15 that `tests/interpreters.sh` brings, and a missing
//! one is a failure. `ASYNCIO_AGENT_PYTHONS` may name others, separated by `:`, each 3.14 or 3.15.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// An interpreter to run programs on.
#[derive(Debug, Clone)]
pub struct Python {
    pub path: PathBuf,
    /// Its version, without the patch level.
    pub version: (u32, u32),
    /// Its whole version, such as `3.14.10`.
    pub full_version: String,
}

impl Python {
    fn at(path: PathBuf) -> Self {
        let output = Command::new(&path)
            .args(["-c", "import platform; print(platform.python_version())"])
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|e| panic!("{} does not start: {e}", path.display()));
        let full_version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let mut numbers = full_version
            .split('.')
            .map(|part| part.parse().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        assert!(
            version.0 == 3,
            "{} is no Python 3: {output:?}",
            path.display()
        );
        Self {
            path,
            version,
            full_version,
        }
    }

    /// A program with so many tasks, whose names have a thousand characters.
    pub fn with_long_names(&self, n_tasks: usize) -> Command {
        let mut command = self.command();
        command.args(["-c", LONG_NAMES, &n_tasks.to_string()]);
        command
    }

    /// A command that runs one of the programs of `tests/programs`.
    pub fn program(&self, name: &str) -> Command {
        let mut command = self.command();
        command.arg(program_path(name));
        command
    }

    /// A command that runs another script of the repository, given by its path from the root.
    pub fn script(&self, path: &str) -> Command {
        let mut command = self.command();
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
        command
    }

    /// Whether a program can run. Debian has uvloop for its default Python only, which is 3.14.
    pub fn has_what_it_needs(&self, program: &str) -> bool {
        if program != "uvloop_tasks" {
            return true;
        }
        if are_chosen() {
            let mut command = self.command();
            command.args(["-c", "import uvloop"]);
            return command.output().is_ok_and(|output| output.status.success());
        }
        self.version == (3, 14)
    }

    /// A command that starts the interpreter, the same way on any machine.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONASYNCIODEBUG")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONIOENCODING", "utf-8");
        command
    }
}

/// Whether the environment names interpreters of its own.
fn are_chosen() -> bool {
    env::var_os("ASYNCIO_AGENT_PYTHONS").is_some_and(|value| !value.is_empty())
}

/// The interpreters that every live test runs on.
pub fn all() -> &'static [Python] {
    static ALL: OnceLock<Vec<Python>> = OnceLock::new();
    ALL.get_or_init(|| {
        if !are_chosen() {
            return vec![brought("3.14"), brought("3.15")];
        }
        let chosen = env::var_os("ASYNCIO_AGENT_PYTHONS").unwrap_or_default();
        let pythons: Vec<Python> = env::split_paths(&chosen).map(Python::at).collect();
        for python in &pythons {
            assert!(
                [(3, 14), (3, 15)].contains(&python.version),
                "ASYNCIO_AGENT_PYTHONS: {} is Python {}; the tests are for 3.14 and 3.15",
                python.path.display(),
                python.full_version
            );
        }
        pythons
    })
}

/// The interpreter of this version that `tests/interpreters.sh` brought.
pub fn brought(version: &str) -> Python {
    let path = interpreters().join("bin").join(format!("python{version}"));
    assert!(
        path.exists(),
        "there is no {}\n  run tests/interpreters.sh (make test does)",
        path.display()
    );
    Python::at(path)
}

pub fn program_path(name: &str) -> PathBuf {
    programs().join(format!("{name}.py"))
}

pub fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs")
}

fn interpreters() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/interpreters")
}

/// The folder into which a version's packages were unpacked: a small system of its own.
#[derive(Debug)]
pub struct Unpacked {
    pub version: &'static str,
    pub root: PathBuf,
}

impl Unpacked {
    /// 3.14 and 3.15, for the tests that take an installation apart.
    pub fn all() -> Vec<Self> {
        ["3.14", "3.15"].map(Self::of).into()
    }

    pub fn of(version: &'static str) -> Self {
        brought(version);
        let root = interpreters().join(version).join("root");
        Self { version, root }
    }

    /// The interpreter itself.
    pub fn executable(&self) -> PathBuf {
        self.root
            .join("usr/bin")
            .join(format!("python{}", self.version))
    }

    /// Its shared library, for programs that embed it.
    pub fn library(&self) -> PathBuf {
        self.libraries()
            .join(format!("libpython{}.so.1.0", self.version))
    }

    fn libraries(&self) -> PathBuf {
        only_match(&self.root.join("usr/lib"), "-linux-gnu")
    }

    /// A command that runs `executable` with this folder's C library and Python library.
    pub fn command(&self, executable: &Path) -> Command {
        let loader = only_match(&self.libraries(), "ld-linux-");
        let mut command = Command::new(loader);
        command
            .arg("--library-path")
            .arg(self.libraries())
            .arg(executable)
            .env("PYTHONHOME", self.root.join("usr"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("PYTHONPATH");
        command
    }

    /// The C extension of this name, in the standard library.
    pub fn extension(&self, name: &str) -> PathBuf {
        let folder = format!("usr/lib/python{}/lib-dynload", self.version);
        only_match(&self.root.join(folder), name)
    }
}

/// The first entry of a folder, by name, that has `part` in it.
fn only_match(folder: &Path, part: &str) -> PathBuf {
    let mut found: Vec<PathBuf> = folder
        .read_dir()
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.to_string_lossy()
                .rsplit('/')
                .next()
                .is_some_and(|n| n.contains(part))
        })
        .collect();
    found.sort();
    assert!(
        !found.is_empty(),
        "nothing named *{part}* in {}",
        folder.display()
    );
    found.remove(0)
}

const LONG_NAMES: &str = "
import asyncio, sys
async def main():
    wait = asyncio.Event()
    tasks = [asyncio.create_task(wait.wait(), name='x' * 1000 + str(n)) for n in range(int(sys.argv[1]))]
    await asyncio.sleep(0)
    print('{}', flush=True)
    await wait.wait()
asyncio.run(main())
";
