//! The socket itself: where it is, and whose file it may take the place of.
//!
//! Everybody may connect to it (mode 0666). Who asks is known by the kernel (SO_PEERCRED, unix(7)) and decided on for
//! each request (`rights.rs`); and the owner of a process, who is in no group of ours, may ask for it. A mode of 0660
//! would keep owners out, and would take a group that the agent's user, which systemd makes up at each start, is in.

use crate::config::ControlSocket;
use nix::libc::{O_CLOEXEC, O_NOFOLLOW, O_PATH};
use std::env;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

const MODE: u32 = 0o666;

/// Time that a live agent certainly has to take a connection in; the kernel does it for it.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// The name in the folder that systemd makes.
const NAME: &str = "agent.sock";

/// The file of the socket. Removed when this is dropped, unless another one has taken its place; which is known as
/// long as its listener is there, and keeps the number of its inode from being given to another file.
#[derive(Debug)]
pub(in crate::agent) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    file: (u64, u64),
}

impl SocketFile {
    /// Where it is.
    pub(in crate::agent) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether clients find it: nobody has removed it or put another file in its place.
    pub(super) fn is_there(&self) -> bool {
        file_of(&self.path).is_ok_and(|file| file == self.file)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_there() {
            // Nobody is left to tell; the next agent replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Where the socket is to be, if anywhere.
pub(in crate::agent) fn path_of(setting: &ControlSocket) -> Option<PathBuf> {
    match setting {
        ControlSocket::None => None,
        ControlSocket::Path(path) => Some(path.clone()),
        ControlSocket::Auto => {
            // Several folders are separated by colons.
            let folders = env::var_os("RUNTIME_DIRECTORY")?;
            let first = env::split_paths(&folders).next()?;
            first.is_absolute().then(|| first.join(NAME))
        }
    }
}

/// Listens on a socket at `path`. One that an agent has left behind is replaced.
///
/// # Errors
///
/// When somebody listens there, something else is there, or it cannot be made.
pub(in crate::agent) async fn listen(path: PathBuf) -> io::Result<(UnixListener, SocketFile)> {
    let listener = match UnixListener::bind(&path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            remove_stale(&path).await?;
            UnixListener::bind(&path)?
        }
        other => other?,
    };
    let found = fs::symlink_metadata(&path)?;
    if !found.file_type().is_socket() {
        return Err(no_socket());
    }
    // From here on it is removed when something fails, such as for want of file descriptors.
    let file = (found.dev(), found.ino());
    let socket = SocketFile { path, file };
    if let_connect(&socket.path)? != file {
        return Err(no_socket());
    }
    Ok((listener, socket))
}

/// Lets everybody connect to the socket at `path`; says which file that is. Whoever may write to its folder may have put
/// something else in its place meanwhile, such as a link to a file of ours: that is left as it is.
fn let_connect(path: &Path) -> io::Result<(u64, u64)> {
    let place = OpenOptions::new()
        .read(true)
        .custom_flags(O_PATH | O_NOFOLLOW | O_CLOEXEC)
        .open(path)?;
    let found = place.metadata()?;
    if !found.file_type().is_socket() {
        return Err(no_socket());
    }
    // There is no fchmod(2) for such a handle (open(2), O_PATH).
    let handle = format!("/proc/self/fd/{}", place.as_raw_fd());
    fs::set_permissions(handle, Permissions::from_mode(MODE))?;
    Ok((found.dev(), found.ino()))
}

fn no_socket() -> io::Error {
    let what = "there is something else than a socket";
    io::Error::new(ErrorKind::AlreadyExists, what)
}

/// Removes a socket that nobody listens on.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let gone = |error: io::Error| match error.kind() {
        // Another agent, which was ending, has removed it.
        ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) => return gone(error),
    };
    if !found.file_type().is_socket() {
        return Err(no_socket());
    }
    match timeout(CONNECT_MAX, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).or_else(gone)
        }
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
        // It answers, or is too busy to.
        _ => Err(ErrorKind::AddrInUse.into()),
    }
}

fn file_of(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_made_for_everybody_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let (listener, socket) = listen(path.clone()).await.unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let error = listen(path.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse, "somebody listens there");
        // What another one has put in its place is not removed.
        fs::remove_file(&path).unwrap();
        let (other_listener, other) = listen(path.clone()).await.unwrap();
        drop((socket, listener));
        assert!(path.exists());
        drop(other);
        assert!(!path.exists());
        drop(other_listener);
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let (_listener, socket) = listen(path.clone()).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
        assert!(socket.is_there());
        fs::remove_file(&path).unwrap();
        assert!(!socket.is_there());
    }

    #[tokio::test]
    async fn what_somebody_puts_in_its_place_is_opened_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let secret = folder.path().join("secret");
        fs::write(&secret, "").unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        std::os::unix::fs::symlink(&secret, &path).unwrap();
        assert!(let_connect(&path).is_err());
        assert!(let_connect(&secret).is_err());
        assert_eq!(mode(&secret), 0o600);
        // Nor is a socket to which a link leads.
        let other = folder.path().join("other.sock");
        let _listener = UnixListener::bind(&other).unwrap();
        fs::set_permissions(&other, Permissions::from_mode(0o600)).unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(let_connect(&path).is_err());
        assert_eq!(mode(&other), 0o600);
        let_connect(&other).unwrap();
        assert_eq!(mode(&other), MODE);
    }

    #[tokio::test]
    async fn nothing_else_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fs::write(&path, "precious").unwrap();
        let error = listen(path.clone()).await.unwrap_err();
        assert_eq!(error.to_string(), "there is something else than a socket");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        let error = listen(path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        let nowhere = listen(folder.path().join("no/agent.sock")).await;
        assert_eq!(nowhere.unwrap_err().kind(), ErrorKind::NotFound);
    }
}
