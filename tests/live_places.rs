//! Ways of starting Python that make it hard to find: containers, files deleted or replaced under a
//! running process, executables of other names, without section headers, with Python embedded.
//!
//! They work on the folders that `tests/interpreters.sh` unpacks, whatever interpreters the environment
//! names for the other tests.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::agentctl;
use support::python::{self, Unpacked};
use support::target::Target;
use support::truth;
use tempfile::TempDir;

/// Files whose names the tests choose and whose fate they decide.
struct Workshop {
    folder: TempDir,
    unpacked: Unpacked,
}

impl Workshop {
    fn new(unpacked: Unpacked) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder, unpacked }
    }

    fn all() -> Vec<Self> {
        Unpacked::all().into_iter().map(Self::new).collect()
    }

    /// A copy of a file, under another name.
    fn copy(&self, of: &Path, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::copy(of, &path).unwrap_or_else(|e| panic!("{}: {e}", of.display()));
        path
    }

    /// The example program, run by `executable`.
    fn music(&self, executable: &Path) -> Command {
        let mut command = self.unpacked.command(executable);
        command.arg(python::program_path("music"));
        command
    }

    /// The example program by a copied interpreter.
    fn music_by_copy(&self, name: &str) -> (Target, PathBuf) {
        let executable = self.copy(&self.unpacked.executable(), name);
        (Target::start(self.music(&executable)), executable)
    }

    fn assert_seen(&self, target: &Target, what: &str) {
        let snapshot = agentctl::snapshot(target.pid());
        let what = format!("{what}, Python {}", self.unpacked.version);
        truth::assert_matches(&target.truth, &snapshot, &what);
        let version = snapshot["process"]["python_version"]
            .as_str()
            .unwrap_or_default();
        assert!(
            version.starts_with(self.unpacked.version),
            "{what}: {version}"
        );
    }
}

/// Puts another file of the same contents in the place of one, as a package upgrade does.
fn replace(path: &Path) {
    let next = path.with_extension("next");
    fs::copy(path, &next).expect("a copy");
    fs::rename(&next, path).expect("our own file");
}

#[test]
fn executable_deleted() {
    for workshop in Workshop::all() {
        let (target, executable) = workshop.music_by_copy("python3");
        fs::remove_file(executable).expect("our own file");
        workshop.assert_seen(&target, "executable deleted");
    }
}

#[test]
fn executable_replaced() {
    for workshop in Workshop::all() {
        let (target, executable) = workshop.music_by_copy("python3");
        replace(&executable);
        workshop.assert_seen(&target, "executable replaced by the same");
        // Something else altogether, whose sections would lead astray.
        fs::remove_file(&executable).expect("our own file");
        fs::copy("/bin/sh", &executable).expect("a copy");
        workshop.assert_seen(&target, "executable replaced by another program");
    }
}

#[test]
fn executable_without_python_in_its_name() {
    for workshop in Workshop::all() {
        let (target, _) = workshop.music_by_copy("worker");
        workshop.assert_seen(&target, "executable named worker");
    }
}

#[test]
fn executable_with_a_name_that_is_hard_to_read() {
    for workshop in Workshop::all() {
        for name in [
            "with space",
            "line\nbreak",
            "back\\012slash",
            "größe (deleted)",
        ] {
            let (target, _) = workshop.music_by_copy(name);
            workshop.assert_seen(&target, &format!("executable named {name:?}"));
        }
    }
}

#[test]
fn executable_without_section_headers() {
    for workshop in Workshop::all() {
        let executable = workshop.copy(&workshop.unpacked.executable(), "python3");
        cut_section_headers(&executable);
        let target = Target::start(workshop.music(&executable));
        workshop.assert_seen(&target, "executable without section headers");
    }
}

/// Where the section headers are, how many there are, and which holds their names: all nothing.
fn cut_section_headers(path: &Path) {
    let mut bytes = fs::read(path).expect("our own file");
    assert_eq!(&bytes[..5], b"\x7fELF\x02", "a 64-bit ELF file");
    bytes[0x28..0x30].fill(0);
    bytes[0x3a..0x40].fill(0);
    fs::write(path, bytes).expect("our own file");
}

/// 3.14 has asyncio's table in an extension module, so an upgrade of that file matters too.
#[test]
fn asyncio_extension_deleted_replaced_and_without_section_headers() {
    for fate in [
        "untouched",
        "deleted",
        "replaced",
        "without section headers",
    ] {
        let workshop = Workshop::new(Unpacked::of("3.14"));
        let extension = workshop.unpacked.extension("_asyncio.");
        let name = extension
            .file_name()
            .and_then(|name| name.to_str())
            .expect("ASCII");
        let copy = workshop.copy(&extension, name);
        if fate == "without section headers" {
            cut_section_headers(&copy);
        }
        let mut command = workshop.music(&workshop.unpacked.executable());
        command.env("PYTHONPATH", workshop.folder.path());
        let target = Target::start(command);
        let maps = fs::read_to_string(format!("/proc/{}/maps", target.pid())).expect("maps");
        assert!(
            maps.contains(&*copy.to_string_lossy()),
            "the copy is not in use"
        );
        match fate {
            "deleted" => fs::remove_file(&copy).expect("our own file"),
            "replaced" => replace(&copy),
            _ => {}
        }
        workshop.assert_seen(&target, &format!("asyncio extension {fate}"));
    }
}

/// With ctypes a second copy of the runtime may be mapped, which is not in use.
#[test]
fn ctypes_imported() {
    for workshop in Workshop::all() {
        let mut command = workshop.unpacked.command(&workshop.unpacked.executable());
        command.env("PYTHONPATH", python::programs()).args([
            "-c",
            "import _ctypes, runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')",
        ]);
        command.arg(python::program_path("music"));
        let target = Target::start(command);
        workshop.assert_seen(&target, "ctypes imported");
    }
}

const EMBEDDING: &str = "
extern int Py_BytesMain(int argc, char **argv);
int main(int argc, char **argv) { return Py_BytesMain(argc, argv); }
";

/// A program of one's own that has Python in it as a library, position independent or not.
#[test]
fn python_embedded() {
    for workshop in Workshop::all() {
        for (name, flags) in [
            ("pie", ["-fPIE", "-pie"]),
            ("fixed", ["-fno-pie", "-no-pie"]),
        ] {
            let executable = embed(&workshop, name, &flags, &workshop.unpacked.library());
            let target = Target::start(workshop.music(&executable));
            workshop.assert_seen(&target, &format!("embedded, {name}"));
        }
    }
}

/// The library of an embedded Python deleted, replaced, and without section headers.
#[test]
fn python_embedded_with_its_library_gone() {
    for workshop in Workshop::all() {
        for fate in ["deleted", "replaced", "without section headers"] {
            let library = workshop.copy(&workshop.unpacked.library(), "libinterpreter.so");
            let executable = embed(&workshop, "embedding", &["-fPIE", "-pie"], &library);
            if fate == "without section headers" {
                cut_section_headers(&library);
            }
            let mut command = workshop.music(&executable);
            command.env("LD_PRELOAD", &library);
            let target = Target::start(command);
            match fate {
                "deleted" => fs::remove_file(&library).expect("our own file"),
                "replaced" => replace(&library),
                _ => {}
            }
            workshop.assert_seen(&target, &format!("embedded, library {fate}"));
        }
    }
}

/// Compiles the program; Rust needs a C linker, so there is one.
fn embed(workshop: &Workshop, name: &str, flags: &[&str], library: &Path) -> PathBuf {
    let source = workshop.folder.path().join("embedding.c");
    fs::write(&source, EMBEDDING).expect("our own file");
    let executable = workshop.folder.path().join(name);
    let output = Command::new("cc")
        .args(flags)
        .arg("-o")
        .arg(&executable)
        .arg(&source)
        .arg(library)
        // The library was built with a newer C library than this machine's.
        .args([
            "-Wl,--allow-shlib-undefined",
            "-Wl,--unresolved-symbols=ignore-in-shared-libs",
        ])
        .output()
        .expect("a C compiler named cc");
    assert!(
        output.status.success(),
        "cc: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    executable
}

/// A container as the host sees it: its own root folder, mounts and process ids. Nothing of what
/// `/proc/PID/maps` names exists under that name out here.
#[test]
fn in_another_mount_and_pid_namespace() {
    for workshop in Workshop::all() {
        let root = &workshop.unpacked.root;
        // pivot_root and not only chroot: then even the kernel no longer knows the path from here.
        let script = format!(
            "set -e; PATH=$PATH:/sbin:/usr/sbin
             mount --bind \"$2\" \"$2\"
             mount --bind \"$1\" \"$2/mnt\"
             cd \"$2\"
             pivot_root . proc
             exec /usr/bin/python{} -B /mnt/music.py",
            workshop.unpacked.version
        );
        let mut command = Command::new("unshare");
        if fs::metadata("/proc/self").expect("/proc").uid() != 0 {
            command.arg("--map-root-user");
        }
        command
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "sh",
                "-c",
                &script,
                "sh",
            ])
            .arg(python::programs())
            .arg(root);
        let mut target = Target::start(command);
        target.look_at_child();
        let maps = fs::read_to_string(format!("/proc/{}/maps", target.pid())).expect("maps");
        let executable = format!(" /usr/bin/python{}\n", workshop.unpacked.version);
        assert!(
            maps.contains(&executable),
            "the mapped paths are those out here: {maps}"
        );
        workshop.assert_seen(&target, "in a container");
    }
}

/// A user's interpreter in a folder that others may not enter, read through the process itself.
#[test]
fn executable_in_a_closed_folder() {
    for workshop in Workshop::all() {
        let (target, _) = workshop.music_by_copy("python3");
        let closed = fs::Permissions::from_mode(0o000);
        fs::set_permissions(workshop.folder.path(), closed).expect("our own folder");
        workshop.assert_seen(&target, "executable in a closed folder");
        let open = fs::Permissions::from_mode(0o700);
        fs::set_permissions(workshop.folder.path(), open).expect("our own folder");
    }
}
