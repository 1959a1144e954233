//! What `/proc` says about processes (proc(5)), read under a root that tests can replace.
//! Parsing is apart from reading; nothing here interprets memory.

mod asleep;
mod auxv;
mod clocks;
mod credentials;
mod listing;
mod machine;
mod maps;
mod owner;
mod owner_watch;
mod stat;
mod status;
mod thread_ids;

pub use asleep::{Asleep, WaitsIn};
pub use auxv::Auxv;
pub use clocks::ClockShift;
pub use credentials::{Credentials, Namespace};
pub use listing::user_id;
pub use maps::{DataMapping, FileMappings, Maps, parse_maps};
pub use owner::{ForeignThread, Owner, UserIds, is_group, is_member, members_of};
pub use owner_watch::OwnerWatch;
pub use stat::{Stat, StopReason};
pub use status::Status;
pub use thread_ids::ThreadIds;

use crate::ids::Pid;
use maps::Unread;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Most bytes read of one file below `/proc` other than `maps`. The longest is a `status` with 65 536 groups (`NGROUPS_MAX`).
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Read at first; the files of an ordinary process fit.
const READ_BYTES: usize = 4 << 10;

/// Opening a path that a foreign process names must not block (a FIFO), not become our terminal and
/// not be inherited. The values are those of all Linux architectures that Rust and CPython share.
const OPEN_FLAGS: i32 = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY | nix::libc::O_CLOEXEC;

/// A file below `/proc` could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ProcfsError {
    /// The process does not exist (any more).
    #[error("no process {pid}")]
    NoProcess {
        /// The process.
        pid: Pid,
    },
    /// We may not read it.
    #[error("{}: permission denied", path.display())]
    Denied {
        /// The file.
        path: PathBuf,
    },
    /// Another failure.
    #[error("{}: {why}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// It is no process, but a thread of one.
    #[error("no process {pid}: it is a thread of process {process}")]
    Thread {
        /// The id asked for.
        pid: Pid,
        /// The process that the thread belongs to.
        process: Pid,
    },
    /// It has more than is read of one file.
    #[error("{}: more than {most}, too much to be read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How much of what is read of one at most.
        most: String,
    },
    /// Its text is not what proc(5) promises.
    #[error("{}: unexpected text {text:?}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The offending text, cut.
        text: String,
    },
}

/// The mount point of procfs. Everything in this module reads below it. What is read for an owner is watched over.
#[derive(Debug, Clone)]
pub struct ProcRoot {
    at: PathBuf,
    watch: Option<OwnerWatch>,
}

impl ProcRoot {
    /// A procfs mounted at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            at: path.into(),
            watch: None,
        }
    }

    /// The same, for what may be told to an owner: `watch` says whether it may, when it has been read.
    #[must_use]
    pub fn watched_by(&self, watch: OwnerWatch) -> Self {
        Self {
            watch: Some(watch),
            ..self.clone()
        }
    }

    /// What watches over reads of a process's memory.
    pub fn watch(&self) -> Option<&OwnerWatch> {
        self.watch.as_ref()
    }

    /// Has something read of a process, watched over if that is so.
    fn look<T>(&self, mut read: impl FnMut() -> T) -> T {
        match &self.watch {
            Some(watch) => watch.read(read),
            None => read(),
        }
    }

    /// Whether we are in a control group namespace from which we see processes outside of it, as in a pod with `hostPID`:
    /// then `/proc/PID/cgroup` shows paths relative to our own group (cgroup_namespaces(7)). In a container with a process 1
    /// of its own they are as they should be. What cannot be found out counts as no.
    pub fn is_in_cgroup_namespace(&self) -> bool {
        let groups = std::fs::read(self.at.join("1/cgroup")).unwrap_or_default();
        let mut lines = groups.split(|byte| *byte == b'\n');
        lines.any(|line| {
            line.splitn(3, |byte| *byte == b':')
                .nth(2)
                .is_some_and(|path| path.starts_with(b"/.."))
        })
    }

    fn path(&self, pid: Pid, name: &str) -> PathBuf {
        self.at.join(pid.to_string()).join(name)
    }

    fn read(&self, pid: Pid, name: &str) -> Result<Vec<u8>, ProcfsError> {
        let path = self.path(pid, name);
        let mut bytes = Vec::with_capacity(READ_BYTES);
        let read = self.look(|| {
            bytes.clear();
            File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        });
        read.map_err(|error| explain(pid, path.clone(), error))?;
        // What a part of it lacks must not be taken for missing.
        if bytes.len() as u64 > FILE_BYTES_MAX {
            let most = format!("{} MiB", FILE_BYTES_MAX >> 20);
            return Err(ProcfsError::TooLarge { path, most });
        }
        Ok(bytes)
    }

    /// What `/proc/PID/stat` says of the process `pid`.
    ///
    /// # Errors
    ///
    /// When there is none or `/proc` cannot be read.
    pub fn stat(&self, pid: Pid) -> Result<Stat, ProcfsError> {
        self.parsed(pid, "stat", Stat::parse)
    }

    /// What `/proc/PID/status` says of the process or thread `pid`.
    ///
    /// # Errors
    ///
    /// When there is none or `/proc` cannot be read.
    pub fn status(&self, pid: Pid) -> Result<Status, ProcfsError> {
        self.parsed(pid, "status", Status::parse)
    }

    fn parsed<T>(
        &self,
        pid: Pid,
        name: &str,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<T, ProcfsError> {
        let bytes = self.read(pid, name)?;
        parse(&bytes).ok_or_else(|| ProcfsError::Malformed {
            path: self.path(pid, name),
            text: String::from_utf8_lossy(&bytes).chars().take(200).collect(),
        })
    }

    /// The memory mappings of the process `pid`, as far as they are kept.
    ///
    /// # Errors
    ///
    /// When there is none, its mappings may not be read, or they are more than is kept.
    pub fn maps(&self, pid: Pid) -> Result<Maps, ProcfsError> {
        self.read_maps(pid, maps::read_maps)
    }

    /// The [`Maps::layout`] alone of the process `pid`.
    ///
    /// # Errors
    ///
    /// When there is none, its mappings may not be read, or they are too much text.
    pub fn layout(&self, pid: Pid) -> Result<u64, ProcfsError> {
        self.read_maps(pid, maps::read_layout)
    }

    /// What the process `pid` has mapped at `address`: the path as printed, empty if no file stands behind it. `None` if
    /// nothing is mapped there.
    ///
    /// # Errors
    ///
    /// When there is none, its mappings may not be read, or they are too much text.
    pub fn path_mapped_at(&self, pid: Pid, address: u64) -> Result<Option<String>, ProcfsError> {
        self.read_maps(pid, |file| maps::read_path_at(file, address))
    }

    /// Whether the mappings of the process `pid` can be read.
    ///
    /// # Errors
    ///
    /// When there is none or its mappings may not be read.
    pub fn try_maps(&self, pid: Pid) -> Result<(), ProcfsError> {
        self.read_maps(pid, |mut file| Ok(file.read(&mut [0]).map(drop)?))
    }

    fn read_maps<T>(
        &self,
        pid: Pid,
        read: impl Fn(File) -> Result<T, Unread>,
    ) -> Result<T, ProcfsError> {
        let path = self.path(pid, "maps");
        let read = || File::open(&path).map_err(Unread::Io).and_then(&read);
        self.look(read).map_err(|error| match error {
            Unread::Io(error) => explain(pid, path, error),
            Unread::TooLarge(most) => ProcfsError::TooLarge { path, most },
        })
    }

    /// Opens a file that `pid` has mapped, by the first of these that gives the mapped inode:
    /// the mapping itself (works for deleted files and in any mount namespace, but needs
    /// `CAP_CHECKPOINT_RESTORE`), the executable's link, the path below the process's own root, the
    /// path as it stands (a process in a chroot shares our mounts).
    pub fn open_mapped(&self, pid: Pid, file: &FileMappings) -> Option<MappedFile> {
        let by_range = format!("map_files/{:x}-{:x}", file.start, file.end);
        let path = Path::new(OsStr::from_bytes(&file.path));
        let relative = path.strip_prefix("/").ok()?;
        let places = [
            self.path(pid, &by_range),
            self.path(pid, "exe"),
            self.path(pid, "root").join(relative),
            path.to_owned(),
        ];
        let open = |path: &PathBuf| MappedFile::open(path, file.inode);
        self.look(|| places.iter().find_map(open))
    }
}

impl Default for ProcRoot {
    /// `/proc`.
    fn default() -> Self {
        Self::at("/proc")
    }
}

/// A regular file that a process has mapped.
#[derive(Debug)]
pub struct MappedFile(File);

impl MappedFile {
    /// Opens `path` if it is a regular file with this inode. The device is not compared: overlay
    /// file systems show another one in `maps` than to stat(2). What is found by the file is
    /// verified in memory anyway.
    fn open(path: &Path, inode: u64) -> Option<Self> {
        // First only the place in the file system, which has no effect on what is there: opening a
        // device may. What turned out to be the file is then opened by that handle.
        let open =
            |path: &Path, flags| OpenOptions::new().read(true).custom_flags(flags).open(path);
        let place = open(path, nix::libc::O_PATH | nix::libc::O_CLOEXEC).ok()?;
        let metadata = place.metadata().ok()?;
        if !metadata.is_file() || metadata.ino() != inode {
            return None;
        }
        let handle = PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd()));
        open(&handle, OPEN_FLAGS).ok().map(Self)
    }

    /// Fills `into` from `offset` on.
    ///
    /// # Errors
    ///
    /// When the file is shorter or cannot be read.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
    }
}

fn explain(pid: Pid, path: PathBuf, error: io::Error) -> ProcfsError {
    match error.kind() {
        io::ErrorKind::NotFound => ProcfsError::NoProcess { pid },
        io::ErrorKind::PermissionDenied => ProcfsError::Denied { path },
        _ if error.raw_os_error() == Some(nix::libc::ESRCH) => ProcfsError::NoProcess { pid },
        _ => ProcfsError::Io { path, why: error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_not_cut() {
        let folder = tempfile::tempdir().unwrap();
        let (root, pid) = (ProcRoot::at(folder.path()), Pid::new(7).unwrap());
        std::fs::create_dir(folder.path().join("7")).unwrap();
        let check = |name, most: &str, bytes_max, read: &dyn Fn() -> Result<(), ProcfsError>| {
            let file = File::create(folder.path().join("7").join(name)).unwrap();
            file.set_len(bytes_max).unwrap();
            assert!(!matches!(read(), Err(ProcfsError::TooLarge { .. })));
            file.set_len(bytes_max + 1).unwrap();
            let says = format!("/7/{name}: more than {most}, too much to be read");
            let error = read().unwrap_err().to_string();
            assert!(error.ends_with(&says), "{error}");
        };
        check("maps", "64 MiB", 64 << 20, &|| root.maps(pid).map(drop));
        check("maps", "64 MiB", 64 << 20, &|| root.layout(pid).map(drop));
        check("status", "1 MiB", 1 << 20, &|| root.status(pid).map(drop));
    }
}
