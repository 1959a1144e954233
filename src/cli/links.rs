//! Where the path of an output leads, if no symbolic link on the way is somebody else's. Who may put one into a folder on
//! the way could have a file replaced that they cannot write to (symlink(7); `fs.protected_symlinks` of proc_sys_fs(5) helps in
//! some folders only). Links of root and of our own are followed as ever.

use crate::sanitize::escape;
use nix::fcntl::readlinkat;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

/// Links on one path, as the kernel has it (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// A folder that is held, so that nobody puts another one in its place, and a name in it that is no link.
#[derive(Debug)]
pub(super) struct Place {
    folder: File,
    name: OsString,
    /// What has the name by now, if anything has.
    pub(super) found: Option<Metadata>,
}

impl Place {
    /// Where `path` leads.
    ///
    /// # Errors
    ///
    /// When a link on the way is somebody else's, or a folder on the way is not there.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            let name = match path.components().next_back() {
                Some(Component::Normal(name)) => name.to_owned(),
                _ => return Err(ErrorKind::IsADirectory.into()),
            };
            let resolved = resolve(path.parent().unwrap_or_else(|| Path::new("")))?;
            let mut place = Self {
                folder: hold(&resolved)?,
                name,
                found: None,
            };
            place.found = found_at(&place.path())?;
            if !place.found.as_ref().is_some_and(Metadata::is_symlink) {
                return Ok(place);
            }
            let Some(link) = link_at(&place.path(), &resolved.join(&place.name))? else {
                return Err(io::Error::other(
                    "its name was given to something else meanwhile",
                ));
            };
            let target = resolved.join(link);
            // What the kernel's own links lead to may be no path, for a pipe, or one that is there no more: /dev/stdout.
            if resolved.starts_with("/proc") {
                let found = fs::metadata(place.path())?;
                if !found.is_file() {
                    place.found = Some(found);
                    return Ok(place);
                }
                fs::symlink_metadata(&target)?;
            }
            path = target;
        }
        Err(io::Error::from_raw_os_error(nix::libc::ELOOP))
    }

    /// A path to it that nobody can make lead elsewhere.
    pub(super) fn path(&self) -> PathBuf {
        self.beside(&self.name)
    }

    /// The same for another name in its folder.
    pub(super) fn beside(&self, name: &OsStr) -> PathBuf {
        let folder = format!("/proc/self/fd/{}", self.folder.as_raw_fd());
        Path::new(&folder).join(name)
    }
}

/// The path of a folder without links. What it leads to may be another one a moment later.
fn resolve(folder: &Path) -> io::Result<PathBuf> {
    let mut resolved = match folder.is_absolute() {
        true => PathBuf::new(),
        false => std::env::current_dir()?,
    };
    let mut rest: VecDeque<OsString> = parts(folder).collect();
    let mut n_links = 0;
    while let Some(part) = rest.pop_front() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => resolved = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                resolved.pop();
            }
            Some(Component::Normal(name)) => {
                let next = resolved.join(name);
                let Some(link) = link_at(&next, &next)? else {
                    resolved = next;
                    continue;
                };
                n_links += 1;
                if n_links > LINKS_MAX {
                    return Err(io::Error::from_raw_os_error(nix::libc::ELOOP));
                }
                for part in parts(&link).rev() {
                    rest.push_front(part);
                }
            }
            Some(Component::CurDir | Component::Prefix(_)) | None => {}
        }
    }
    Ok(resolved)
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().map(|part| part.as_os_str().to_owned())
}

/// Opens a folder of which the path has no links, and sees that none were put there meanwhile.
fn hold(resolved: &Path) -> io::Result<File> {
    let folder = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_PATH | nix::libc::O_DIRECTORY)
        .open(resolved)?;
    let is = fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd()))?;
    if is != resolved {
        return Err(io::Error::other("its folder was moved meanwhile"));
    }
    Ok(folder)
}

fn found_at(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where the link at `path` leads, which the user knows as `shown`; nothing if there is something else. Whose it is and where it leads is asked of one
/// object: another one may have its name a moment later.
///
/// # Errors
///
/// When it is somebody else's, or nothing is there.
fn link_at(path: &Path, shown: &Path) -> io::Result<Option<PathBuf>> {
    let link = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_PATH | nix::libc::O_NOFOLLOW)
        .open(path)?;
    let found = link.metadata()?;
    if !found.is_symlink() {
        return Ok(None);
    }
    let user = found.uid();
    if ![0, fs::metadata("/proc/self")?.uid()].contains(&user) {
        return Err(io::Error::other(format!(
            "the symbolic link {} is another user's ({user}): name where it leads instead",
            escape(&shown.to_string_lossy())
        )));
    }
    Ok(Some(readlinkat(&link, "")?.into()))
}
