//! Which users are one person, where each person has a share of something. A user may have tens of thousands of
//! subordinate user ids (subuid(5)), as rootless containers use them, and run programs as each; those all are that user.
//!
//! What counts is `/etc/passwd` and `/etc/subuid`, and no name service: it is asked for each connection, and a name
//! service may be on a machine that hangs. Users of a directory have no account here; they are persons of their own, but
//! share what there is for all without one, because whoever has user ids by other ways than subuid(5) does as well.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a file that are looked at.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Ranges of subordinate user ids that are kept in mind.
const RANGES_MAX: usize = 10_000;
/// User ids of one container, of those that root has for containers: what all tools take.
const CONTAINER: u32 = 1 << 16;

/// Somebody, whichever of their user ids they use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Person {
    /// The user id of their account; without one, the user id or the first one of the range.
    pub id: u32,
    /// Whether that user id itself is one of this machine's accounts, rather than a subordinate one or unknown.
    pub has_account: bool,
}

impl Person {
    /// A user of which nothing is known.
    pub fn unknown(user: u32) -> Self {
        Self {
            id: user,
            has_account: false,
        }
    }
}

/// The accounts and subordinate user ids of this machine, as of when they were looked up; none before that.
#[derive(Debug, Clone)]
pub(super) struct People {
    folder: PathBuf,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    accounts: HashSet<u32>,
    ranges: Vec<Range>,
}

/// User ids that are somebody's. They never are those of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u32,
    n: u32,
    /// Root is nobody in particular: it has ranges for containers of others.
    owner: u32,
}

impl Default for People {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("/etc"),
            known: Arc::default(),
        }
    }
}

impl People {
    /// Looks up who there is. What cannot be read has nobody in it. Blocks.
    pub(super) fn look_up(&self) {
        let read = |name| read(&self.folder.join(name)).unwrap_or_default();
        let known = Known::parse(&read("passwd"), &read("subuid"));
        *self.known() = known;
    }

    /// Whose this user id is.
    pub(super) fn person(&self, user: u32) -> Person {
        let known = self.known();
        if known.accounts.contains(&user) {
            return Person {
                id: user,
                has_account: true,
            };
        }
        let within = |range: &&Range| user.checked_sub(range.first).is_some_and(|at| at < range.n);
        Person::unknown(match known.ranges.iter().find(within) {
            None => user,
            Some(Range {
                first, owner: 0, ..
            }) => user - (user - first) % CONTAINER,
            Some(range) => range.owner,
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing in here panics half way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Of the text of `/etc/passwd` and `/etc/subuid`. Lines that make no sense have nobody in them.
    fn parse(passwd: &str, subuid: &str) -> Self {
        let accounts = passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            Some((name, fields.nth(1)?.parse().ok()?))
        });
        let users: HashMap<&str, u32> = accounts.collect();
        // Somebody whose account is elsewhere is the first of their ranges.
        let mut elsewhere: HashMap<&str, u32> = HashMap::new();
        let ranges = subuid.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let first = fields.next()?.parse().ok()?;
            let n = fields.next()?.trim().parse().ok()?;
            let owner = users.get(name).copied().or_else(|| name.parse().ok());
            let owner = owner.unwrap_or_else(|| *elsewhere.entry(name).or_insert(first));
            Some(Range { first, n, owner })
        });
        let ranges = ranges.take(RANGES_MAX).collect();
        Self {
            accounts: users.into_values().collect(),
            ranges,
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut file = File::open(path)?.take(FILE_BYTES_MAX);
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn subordinate_user_ids_are_their_owners() {
        let folder = tempfile::tempdir().unwrap();
        let people = People {
            folder: folder.path().to_owned(),
            ..People::default()
        };
        people.look_up();
        assert_eq!(people.person(0), Person::unknown(0));
        let passwd = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home:/bin/sh\nbob:x:100007:1:::\nbad\n:::\n";
        fs::write(folder.path().join("passwd"), passwd).unwrap();
        let subuid = "alice:100000:65536\nalice:300000:10\n1001:165536:65536\nfar:400000:10\nfar:500000:10\n\
                      root:1000000:1000000000\nalice:4294967295:65536\nalice:x:1\n\nalice:7\n\u{fffd}";
        fs::write(folder.path().join("subuid"), subuid).unwrap();
        assert_eq!(people.person(1000), Person::unknown(1000), "not yet");
        people.look_up();
        let with_account = |id| Person {
            id,
            has_account: true,
        };
        for (user, person) in [
            (0, with_account(0)),
            (1000, with_account(1000)),
            (1001, Person::unknown(1001)),
            (99_999, Person::unknown(99_999)),
            (100_000, Person::unknown(1000)),
            (100_007, with_account(100_007)),
            (165_535, Person::unknown(1000)),
            (165_536, Person::unknown(1001)),
            (300_009, Person::unknown(1000)),
            (300_010, Person::unknown(300_010)),
            (400_000, Person::unknown(400_000)),
            (500_009, Person::unknown(400_000)),
            // Containers are not root.
            (1_000_000, Person::unknown(1_000_000)),
            (1_065_535, Person::unknown(1_000_000)),
            (1_065_536, Person::unknown(1_065_536)),
            (1_000_999_999, Person::unknown(1_000_948_288)),
            (1_001_000_000, Person::unknown(1_001_000_000)),
            (u32::MAX, Person::unknown(1000)),
        ] {
            assert_eq!(people.person(user), person, "{user}");
        }
    }
}
