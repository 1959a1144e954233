//! `/proc/PID/maps`: the memory mappings of a process, and which of them belong to one file.

/// One line of the maps file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// It can be read.
    pub readable: bool,
    /// It can be written.
    pub writable: bool,
    /// Offset in the file of its first byte.
    pub offset: u64,
    /// The file's device, as printed.
    pub device: String,
    /// The file's inode; 0 for memory without a file.
    pub inode: u64,
    /// The file's path as printed, without the mark of a deleted file. Bytes that are no UTF-8 are
    /// replaced: the path is only a hint.
    pub path: String,
    /// The path was marked as deleted.
    pub deleted: bool,
}

impl Mapping {
    /// The last component of the path.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether a file stands behind it.
    pub fn is_file(&self) -> bool {
        self.inode != 0 && self.path.starts_with('/')
    }
}

/// The mappings of a process, in the order of their addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maps {
    /// The mappings.
    pub mappings: Vec<Mapping>,
    /// Lines that were not understood.
    pub bad_lines: u32,
}

impl Maps {
    /// The mappings of each mapped file, files in the order of their first address.
    pub fn files(&self) -> Vec<Vec<&Mapping>> {
        let mut files: Vec<Vec<&Mapping>> = Vec::new();
        let mut known: rustc_hash::FxHashMap<(&str, u64), usize> = rustc_hash::FxHashMap::default();
        for mapping in self.mappings.iter().filter(|mapping| mapping.is_file()) {
            let at = *known
                .entry((&mapping.device, mapping.inode))
                .or_insert_with(|| {
                    files.push(Vec::new());
                    files.len() - 1
                });
            files[at].push(mapping);
        }
        files
    }
}

/// Parses the text of a maps file; lines that make no sense are counted and passed over.
pub fn parse_maps(text: &[u8]) -> Maps {
    let mut maps = Maps::default();
    for line in text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        match parse_line(&String::from_utf8_lossy(line)) {
            Some(mapping) => maps.mappings.push(mapping),
            None => maps.bad_lines = maps.bad_lines.saturating_add(1),
        }
    }
    maps
}

fn parse_line(line: &str) -> Option<Mapping> {
    let (range, rest) = line.split_once(' ')?;
    let (perms, rest) = rest.split_once(' ')?;
    let (offset, rest) = rest.split_once(' ')?;
    let (device, rest) = rest.split_once(' ')?;
    let (inode, path) = rest.split_once(' ').unwrap_or((rest, ""));
    let (start, end) = range.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    if start >= end || perms.len() < 4 {
        return None;
    }
    let path = path.trim_start();
    let (path, deleted) = match path.strip_suffix(" (deleted)") {
        Some(path) => (path, true),
        None => (path, false),
    };
    Some(Mapping {
        start,
        end,
        readable: perms.starts_with('r'),
        writable: perms.as_bytes().get(1) == Some(&b'w'),
        offset: u64::from_str_radix(offset, 16).ok()?,
        device: device.into(),
        inode: inode.trim().parse().ok()?,
        path: path.into(),
        deleted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_kinds() {
        let maps = parse_maps(
            b"00400000-00ca1000 r-xp 00000000 08:01 4711                       /usr/bin/python3.14\n\
              00ca1000-00ca2000 rw-p 008a0000 08:01 4711                       /usr/bin/python3.14 (deleted)\n\
              7f0000000000-7f0000001000 ---p 00000000 00:00 0 \n\
              7f0000001000-7f0000002000 rw-p 00000000 00:00 0                  [heap]\n\
              7fff00000000-7fff00001000 r-xp 00000000 08:01 12                 /a b/c\\012d\n\
              nonsense\n\
              2-1 r--p 0 0:0 0\n",
        );
        assert_eq!(maps.bad_lines, 2);
        assert_eq!(maps.mappings.len(), 5);
        assert_eq!(maps.mappings[0].file_name(), "python3.14");
        assert!(maps.mappings[1].deleted && maps.mappings[1].writable);
        assert!(!maps.mappings[2].readable && !maps.mappings[3].is_file());
        assert_eq!(maps.mappings[4].path, "/a b/c\\012d");
        let files = maps.files();
        assert_eq!(files.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    }
}
