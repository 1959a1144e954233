//! Where text goes: standard output and error, and files that appear only when they are complete.

use super::explain::{Failure, Stop};
use super::links::{Place, Way};
use nix::fcntl::OFlag;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const BUFFER_BYTES: usize = 1 << 16;

/// Writes to standard output and flushes it.
///
/// # Errors
///
/// When that fails; [`Stop::ReaderGone`] when nobody reads it any more.
pub(super) fn to_stdout<T>(write: impl FnOnce(&mut dyn Write) -> io::Result<T>) -> Result<T, Stop> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
    write(&mut out)
        .and_then(|value| out.flush().map(|()| value))
        .map_err(|error| unwritable("standard output", &error))
}

/// Writes text to standard output through `fmt::Write` and flushes it.
///
/// # Errors
///
/// As [`to_stdout`].
pub(super) fn text_to_stdout<T>(
    write: impl FnOnce(&mut dyn fmt::Write) -> Result<T, fmt::Error>,
) -> Result<T, Stop> {
    to_stdout(|out| {
        let mut text = Text { out, error: None };
        write(&mut text).map_err(|fmt::Error| {
            let unnamed = || io::Error::other("the text could not be made");
            text.error.take().unwrap_or_else(unnamed)
        })
    })
}

/// Says something on standard error. Nobody is left to tell when that fails.
pub(super) fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Lets text be written to bytes, and keeps the error that `fmt::Error` has no room for.
struct Text<'a> {
    out: &'a mut dyn Write,
    error: Option<io::Error>,
}

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.out.write_all(text.as_bytes()).map_err(|error| {
            self.error = Some(error);
            fmt::Error
        })
    }
}

/// Writes the file `path`, readable for its owner only. A regular file appears under its name when
/// it is complete, and until then what was there stays; a device or a pipe is written to directly, and so is what is open
/// already, such as /dev/stdout.
///
/// # Errors
///
/// When it cannot be written.
pub(super) fn to_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Stop> {
    let written = Way::of(path).and_then(|way| match way {
        Way::Open(number) => open_as(number).and_then(|mut file| fill(&mut file, write)),
        Way::Place(place) => match &place.found {
            Some(found) if found.is_dir() => Err(ErrorKind::IsADirectory.into()),
            // Through a symbolic link the file it points to is replaced, not the link.
            Some(found) if found.is_file() => replace(&place, write),
            None => replace(&place, write),
            Some(found) => place
                .open_found(found)
                .and_then(|mut file| fill(&mut file, write)),
        },
    });
    written.map_err(|error| unwritable(&path.display().to_string(), &error))
}

/// What we have open under this number, to be written to as whoever opened it would go on: where that ends, or behind
/// what there is.
///
/// # Errors
///
/// When it is not open for writing, or is a file of which only the one who has opened it can tell where to go on.
fn open_as(number: u32) -> io::Result<File> {
    let flags = flags_of(number)?;
    let is_writable = [OFlag::O_WRONLY, OFlag::O_RDWR].contains(&(flags & OFlag::O_ACCMODE));
    if !is_writable || flags.contains(OFlag::O_PATH) {
        return Err(io::Error::other(format!(
            "the file descriptor {number} is not open for writing"
        )));
    }
    let own = match number {
        0 => Some(io::stdin().as_fd().try_clone_to_owned()?),
        1 => Some(io::stdout().as_fd().try_clone_to_owned()?),
        2 => Some(io::stderr().as_fd().try_clone_to_owned()?),
        _ => None,
    };
    if let Some(own) = own {
        return Ok(own.into());
    }
    // The others cannot be had without unsafe code. A pipe or a device is the same when it is opened once more.
    let path = format!("/proc/self/fd/{number}");
    let is_appended_to = flags.contains(OFlag::O_APPEND);
    if fs::metadata(&path)?.is_file() && !is_appended_to {
        return Err(io::Error::other(format!(
            "the file descriptor {number} is a file, of which only the shell knows how far it is written: have the \
             shell append ({number}>> instead of {number}>), or name the file"
        )));
    }
    OpenOptions::new()
        .write(true)
        .append(is_appended_to)
        .open(path)
}

/// With which flags something was opened (proc_pid_fdinfo(5)).
fn flags_of(number: u32) -> io::Result<OFlag> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    let unknown = || io::Error::other("the kernel does not tell how it was opened");
    flags.map(OFlag::from_bits_retain).ok_or_else(unknown)
}

fn fill(file: &mut File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    write(&mut out)?;
    out.flush()
}

fn replace(place: &Place, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let (mut file, beside) = create_beside(place)?;
    let moved = fill(&mut file, write)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, place.path()));
    if moved.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&beside);
    }
    moved
}

/// A new file in the folder, under a name that nothing has yet.
fn create_beside(place: &Place) -> io::Result<(File, PathBuf)> {
    const ATTEMPTS_MAX: u32 = 100;
    let mut attempt = 0;
    loop {
        let name = format!(".agentctl-{}-{attempt}.tmp", std::process::id());
        let beside = place.beside(name.as_ref());
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside);
        match opened {
            Ok(file) => return Ok((file, beside)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < ATTEMPTS_MAX => {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Why writing ended. A reader that has seen enough is no failure.
fn unwritable(what: &str, error: &io::Error) -> Stop {
    if error.kind() == ErrorKind::BrokenPipe {
        return Stop::ReaderGone;
    }
    Stop::Failed(Failure::other(format!("cannot write {what}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::{Stop, to_file};
    use std::fs;
    use std::io::{self, ErrorKind, Write};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    fn new_text(out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"new")
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn message(result: Result<(), Stop>) -> String {
        match result {
            Err(Stop::Failed(failure)) => failure.message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_is_private_and_replaces_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.json");
        for _ in 0..2 {
            to_file(&path, new_text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "new");
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            fs::write(&path, "a longer old text").unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        }
        assert_eq!(names(folder.path()), ["out.json"]);
    }

    #[test]
    fn a_link_stays_and_its_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&path, "old").unwrap();
        symlink("file", &link).unwrap();
        to_file(&link, new_text).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn links_on_the_way_are_followed_unless_they_are_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("real")).unwrap();
        fs::write(at("real/out"), "old").unwrap();
        // Relative, absolute, by way of each other; and one that leads to nothing yet.
        symlink("real/../real", at("first")).unwrap();
        symlink(at("first"), at("second")).unwrap();
        symlink("../second/new", at("real/link")).unwrap();
        to_file(&at("second/./out"), new_text).unwrap();
        assert_eq!(fs::read_to_string(at("real/out")).unwrap(), "new");
        to_file(&at("first/link"), new_text).unwrap();
        assert_eq!(fs::read_to_string(at("real/new")).unwrap(), "new");
        assert_eq!(names(&at("real")), ["link", "new", "out"]);
        symlink("round", at("round")).unwrap();
        for round in ["round", "round/out"] {
            let told = message(to_file(&at(round), new_text));
            assert!(told.contains("Too many levels of symbolic links"), "{told}");
        }
        if !nix::unistd::Uid::effective().is_root() {
            // Nobody else can make a link of somebody else's.
            return;
        }
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o1777)).unwrap();
        fs::write(at("real/out"), "precious").unwrap();
        symlink("real", at("of_other")).unwrap();
        symlink("of_other", at("of_ours")).unwrap();
        symlink("real/out", at("last")).unwrap();
        symlink("/dev/null", at("device")).unwrap();
        symlink("real/nothing", at("dangling")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::chown(at("pipe"), Some(61_235), None).unwrap();
        let told = message(to_file(&at("pipe"), new_text));
        assert!(told.contains("a pipe of another user (61235)"), "{told}");
        for link in ["of_other", "last", "device", "dangling"] {
            std::os::unix::fs::lchown(at(link), Some(61_235), None).unwrap();
        }
        for path in ["of_other/out", "of_ours/out", "last", "device", "dangling"] {
            let told = message(to_file(&at(path), new_text));
            assert!(told.contains("is another user's (61235)"), "{told}");
        }
        assert_eq!(fs::read_to_string(at("real/out")).unwrap(), "precious");
        assert_eq!(names(&at("real")), ["link", "new", "out"]);
    }

    #[test]
    fn what_is_open_can_be_written_by_its_name() {
        use std::io::Read as _;
        use std::os::fd::AsRawFd;
        let of = |open: &dyn AsRawFd| format!("/proc/self/fd/{}", open.as_raw_fd());
        let (mut reader, writer) = io::pipe().unwrap();
        let told = message(to_file(Path::new(&of(&reader)), new_text));
        assert!(told.contains("is not open for writing"), "{told}");
        to_file(Path::new(&of(&writer)), new_text).unwrap();
        drop(writer);
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, "new");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        fs::write(&path, "old ").unwrap();
        let file = fs::File::options().append(true).open(&path).unwrap();
        to_file(Path::new(&of(&file)), new_text).unwrap();
        // It is not opened by a name that it may have lost.
        fs::rename(&path, folder.path().join("renamed")).unwrap();
        to_file(Path::new(&of(&file)), new_text).unwrap();
        let content = fs::read_to_string(folder.path().join("renamed"));
        assert_eq!(content.unwrap(), "old newnew");
        let file = fs::File::create(&path).unwrap();
        let told = message(to_file(Path::new(&of(&file)), new_text));
        assert!(told.contains(">> instead of "), "{told}");
        for not_writable in [
            fs::File::open(&path).unwrap(),
            fs::File::open(folder.path()).unwrap(),
        ] {
            let told = message(to_file(Path::new(&of(&not_writable)), new_text));
            assert!(told.contains("is not open for writing"), "{told}");
        }
        assert_eq!(names(folder.path()), ["out", "renamed"]);
    }

    #[test]
    fn links_of_the_kernel_to_elsewhere_are_refused() {
        use std::os::fd::AsRawFd;
        let folder = tempfile::tempdir().unwrap();
        let held = fs::File::open(folder.path()).unwrap();
        let mut other = std::process::Command::new("sleep")
            .arg("1000")
            .current_dir(folder.path())
            .stdout(fs::File::create(folder.path().join("of_other")).unwrap())
            .spawn()
            .unwrap();
        let (own, other_id) = (std::process::id(), other.id());
        let thread = nix::unistd::gettid();
        symlink(format!("/proc/{other_id}/cwd"), folder.path().join("link")).unwrap();
        let link = folder.path().join("link/x").display().to_string();
        let of_other = |name: &str| format!("/proc/{other_id}/{name}");
        let told: Vec<_> = [
            of_other("cwd/x"),
            of_other("root") + &link,
            of_other(&format!("task/{other_id}/cwd/x")),
            of_other("fd/1"),
            of_other("exe"),
            "/proc/self/cwd/x".to_owned(),
            format!("/proc/self/fd/{}/x", held.as_raw_fd()),
            format!("/proc/{own}/task/{thread}/fd/1"),
            link,
        ]
        .iter()
        .map(|path| message(to_file(Path::new(path), new_text)))
        .collect();
        other.kill().unwrap();
        other.wait().unwrap();
        for told in told {
            assert!(told.contains("is a link of the kernel"), "{told}");
        }
        assert_eq!(names(folder.path()), ["link", "of_other"]);
        let size = fs::metadata(folder.path().join("of_other")).unwrap().len();
        assert_eq!(size, 0);
        // Those that are as their text says: what is there cannot be replaced.
        let told = message(to_file(Path::new("/proc/self/no/x"), new_text));
        assert!(told.contains("No such file or directory"), "{told}");
    }

    #[test]
    fn a_failure_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.json");
        fs::write(&path, "old").unwrap();
        let failed = to_file(&path, |out| {
            out.write_all(&[0; 1 << 20])?;
            Err(ErrorKind::StorageFull.into())
        });
        assert!(message(failed).contains("out.json: no storage space"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["out.json"]);
    }

    #[test]
    fn what_is_no_regular_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        assert!(message(to_file(folder.path(), new_text)).contains("is a directory"));
        to_file(Path::new("/dev/null"), new_text).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        let full = message(to_file(Path::new("/dev/full"), new_text));
        assert!(
            full.starts_with("cannot write /dev/full: No space left"),
            "{full}"
        );
        fs::write(folder.path().join("file"), "old").unwrap();
        symlink("file/", folder.path().join("link")).unwrap();
        for path in ["new/", "new/.", "file/", "link", "link/"] {
            let folder = message(to_file(&folder.path().join(path), new_text));
            assert!(folder.contains("is a directory"), "{path}: {folder}");
        }
        assert_eq!(names(folder.path()), ["file", "link"]);
        let nowhere = message(to_file(&folder.path().join("no/out"), new_text));
        assert!(nowhere.contains("No such file or directory"), "{nowhere}");
    }
}
