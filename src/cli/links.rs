//! Where the path of an output leads, if no symbolic link on the way is somebody else's. Who may put one into a folder on
//! the way could have a file replaced that they cannot write to (symlink(7); `fs.protected_symlinks` of proc_sys_fs(5) helps in
//! some folders only). Links of root and of our own are followed as ever.
//!
//! Each folder on the way is held while the next one is looked for in it: nobody puts another one in its place, and the
//! folders above the current one need not be ours to search.

use crate::sanitize::escape;
use nix::fcntl::readlinkat;
use nix::libc::{ELOOP, ENOTDIR, O_DIRECTORY, O_NOFOLLOW, O_PATH};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

/// Links on one path, as the kernel has it (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// The inode of the folder that a procfs is mounted by (Linux, `PROCFS_ROOT_INO` in include/uapi/linux/fs.h).
const PROC_ROOT_INODE: u64 = 1;

/// Where a path leads.
#[derive(Debug)]
pub(super) enum Way {
    /// To a name in a folder.
    Place(Box<Place>),
    /// To what we have open under this number, as by /dev/stdout.
    Open(u32),
}

/// A folder that is held, so that nobody puts another one in its place, and a name in it that is no link.
#[derive(Debug)]
pub(super) struct Place {
    folder: File,
    name: OsString,
    /// What has the name by now, if anything has.
    pub(super) found: Option<Metadata>,
}

impl Way {
    /// Where `path` leads.
    ///
    /// # Errors
    ///
    /// When a link on the way is somebody else's, or one of the kernel; or a folder on the way is not there.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let mut links = Links { left: LINKS_MAX };
        let mut path = path.to_owned();
        let mut from = hold(Path::new(if path.is_absolute() { "/" } else { "." }))?;
        loop {
            let name = match path.components().next_back() {
                Some(Component::Normal(name)) if !names_a_folder(&path) => name.to_owned(),
                _ => return Err(ErrorKind::IsADirectory.into()),
            };
            let parent = path.parent().unwrap_or_else(|| Path::new(""));
            let folder = links.folder(from, parent)?;
            let mut place = Place {
                folder,
                name,
                found: None,
            };
            place.found = found_at(&place.path())?;
            if !place.found.as_ref().is_some_and(Metadata::is_symlink) {
                return Ok(Self::Place(Box::new(place)));
            }
            if let Some(number) = place.own_descriptor()? {
                return Ok(Self::Open(number));
            }
            let Some(target) = links.follow(&place.folder, &place.name)? else {
                return Err(moved());
            };
            path = target;
            from = place.folder;
        }
    }
}

impl Place {
    /// The number of what we have open, if this is the kernel's link to it: /proc/self/fd/1, where /dev/stdout leads.
    fn own_descriptor(&self) -> io::Result<Option<u32>> {
        let id = |found: &Metadata| (found.dev(), found.ino());
        // Numbers of inodes of procfs are kept as long as somebody holds the folder.
        let own = hold(Path::new("/proc/self/fd"))?;
        let is_own = id(&own.metadata()?) == id(&self.folder.metadata()?);
        let number = self.name.to_str().and_then(|name| name.parse().ok());
        Ok(number.filter(|_| is_own))
    }

    /// Opens the pipe or device that was found, to be written to. A pipe of somebody else's would tell them what is written.
    pub(super) fn open_found(&self, found: &Metadata) -> io::Result<File> {
        if found.file_type().is_fifo() && !is_trusted(found.uid())? {
            let user = found.uid();
            return Err(io::Error::other(format!(
                "it is a pipe of another user ({user})"
            )));
        }
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(O_NOFOLLOW)
            .open(self.path())?;
        let id = |it: &Metadata| (it.dev(), it.ino(), it.uid());
        match id(&file.metadata()?) == id(found) {
            true => Ok(file),
            false => Err(moved()),
        }
    }

    /// A path to it that nobody can make lead elsewhere.
    pub(super) fn path(&self) -> PathBuf {
        self.beside(&self.name)
    }

    /// The same for another name in its folder.
    pub(super) fn beside(&self, name: &OsStr) -> PathBuf {
        path_in(&self.folder, name)
    }
}

/// The links that one path may still lead through.
struct Links {
    left: usize,
}

impl Links {
    /// The folder `path`, which is relative to `from`.
    fn folder(&mut self, from: File, path: &Path) -> io::Result<File> {
        let mut folder = from;
        let mut rest: VecDeque<OsString> = parts(path).collect();
        while let Some(part) = rest.pop_front() {
            folder = match Path::new(&part).components().next() {
                Some(Component::RootDir) => hold(Path::new("/"))?,
                Some(Component::ParentDir) => hold(&path_in(&folder, &part))?,
                Some(Component::Normal(name)) => match hold(&path_in(&folder, name)) {
                    Err(error) if error.raw_os_error() == Some(ENOTDIR) => {
                        let Some(target) = self.follow(&folder, name)? else {
                            return Err(error);
                        };
                        for part in parts(&target).rev() {
                            rest.push_front(part);
                        }
                        folder
                    }
                    held => held?,
                },
                Some(Component::CurDir | Component::Prefix(_)) | None => folder,
            };
        }
        Ok(folder)
    }

    /// Where the link with this name leads, seen from `folder`; nothing if there is something else. Whose it is and where
    /// it leads is asked of one object: another one may have its name a moment later.
    ///
    /// # Errors
    ///
    /// When it is somebody else's or the kernel's, nothing is there, or it is one too many.
    fn follow(&mut self, folder: &File, name: &OsStr) -> io::Result<Option<PathBuf>> {
        let link = OpenOptions::new()
            .read(true)
            .custom_flags(O_PATH | O_NOFOLLOW)
            .open(path_in(folder, name))?;
        let found = link.metadata()?;
        if !found.is_symlink() {
            return Ok(None);
        }
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| io::Error::from_raw_os_error(ELOOP))?;
        let shown = || {
            let shown = fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd()));
            let shown = shown.unwrap_or_default().join(name);
            escape(&shown.to_string_lossy()).into_owned()
        };
        if is_of_kernel(&link, folder)? {
            return Err(io::Error::other(format!(
                "{} is a link of the kernel, which leads where no path tells: name the file itself (of such links \
                 only those to what agentctl has open can be written to, as by /dev/stdout)",
                shown()
            )));
        }
        let user = found.uid();
        if !is_trusted(user)? {
            return Err(io::Error::other(format!(
                "the symbolic link {} is another user's ({user}): name where it leads instead",
                shown()
            )));
        }
        Ok(Some(readlinkat(&link, "")?.into()))
    }
}

/// Whether the kernel leads this link to an object, such as the root of another process, whatever its text says
/// (proc_pid_root(5)). Links right below /proc, such as `self`, are as their text says.
fn is_of_kernel(link: &File, folder: &File) -> io::Result<bool> {
    Ok(fstatfs(link)?.filesystem_type() == PROC_SUPER_MAGIC
        && folder.metadata()?.ino() != PROC_ROOT_INODE)
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().map(|part| part.as_os_str().to_owned())
}

/// Whether the path can be that of a folder only, as `out/` and `out/.` can. Its components do not tell.
fn names_a_folder(path: &Path) -> bool {
    let path = path.as_os_str().as_bytes();
    path.ends_with(b"/") || path.ends_with(b"/.")
}

/// Opens the folder at a path of which the last part is no link. One that is mounted when it is used is mounted.
fn hold(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(O_PATH | O_DIRECTORY | O_NOFOLLOW)
        .open(path)
}

fn path_in(folder: &File, name: &OsStr) -> PathBuf {
    Path::new(&format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name)
}

fn found_at(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether what a user has put there is used: if that is root, or us.
fn is_trusted(user: u32) -> io::Result<bool> {
    Ok([0, fs::metadata("/proc/self")?.uid()].contains(&user))
}

fn moved() -> io::Error {
    io::Error::other("its name was given to something else meanwhile")
}
