//! `/proc/PID/maps`: which files a process has mapped, and where (proc_pid_maps(5)).
//!
//! A process decides how many mappings it has and what their paths are, which may come to 64 MB of text or more. So the
//! text is read line by line, and of it is kept only what programs and libraries are found by: of each file of which
//! there are private mappings, as the loader makes them, one record, and where data of it is that can be written. That
//! has bounds, about 3 MiB together; beyond them there is an error, because what is left out would seem not to be there.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, BufRead, BufReader, Read};

/// Most bytes of text that are read. The maps of a process with 65 530 mappings (the kernel's default limit) fit, unless
/// most of them are of files with very long paths.
const TEXT_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a line that are looked at: the longest path that can be opened, with each byte escaped. Of a longer one the
/// path is cut.
const LINE_BYTES_MAX: u64 = 4 * 4096 + 128;
/// Files of which there are private mappings.
const FILES_MAX: usize = 8_192;
/// Bytes of their paths.
const PATH_BYTES_MAX: usize = 1 << 20;
/// Private mappings of files that can be read and written.
const DATA_MAX: usize = 32_768;
/// Mappings that are kept to see whether memory can be read.
const READABLE_MAX: usize = 8;

/// What a process has mapped of a file of which it has private mappings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMappings {
    /// First address of its first mapping.
    pub start: u64,
    /// First address after that one.
    pub end: u64,
    /// Where its first byte is; or would be, if that is not mapped.
    pub origin: u64,
    /// The first byte is mapped.
    has_origin: bool,
    /// One of its mappings can be written.
    pub is_writable: bool,
    device: u64,
    /// Its inode.
    pub inode: u64,
    /// Its path as printed, without the mark of a deleted file. It is only a hint.
    pub path: Box<[u8]>,
}

impl FileMappings {
    /// The last component of the path, as text.
    pub fn file_name(&self) -> std::borrow::Cow<'_, str> {
        let name = self.path.rsplit(|byte| *byte == b'/').next();
        String::from_utf8_lossy(name.unwrap_or_default())
    }
}

/// A private mapping of a file that can be read and written, where initialised data stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataMapping {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Which of the files it is of.
    file: u32,
}

/// What is kept of the mappings of a process. Everything is in the order of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maps {
    /// The files of which there are private mappings.
    pub files: Vec<FileMappings>,
    /// Their mappings that can be read and written.
    pub data: Vec<DataMapping>,
    /// First addresses of a few mappings that can be read.
    pub readable: Vec<u64>,
    /// Stands for where which files are mapped, shared or not.
    pub layout: u64,
    /// Lines that were not understood.
    pub bad_lines: u32,
}

impl Maps {
    /// The file that this is a mapping of.
    pub fn file_of(&self, mapping: &DataMapping) -> Option<&FileMappings> {
        self.files.get(usize::try_from(mapping.file).ok()?)
    }
}

/// Why the text was not read to its end.
#[derive(Debug)]
pub(super) enum Unread {
    /// It could not be.
    Io(io::Error),
    /// It has more than this.
    TooLarge(String),
}

impl From<io::Error> for Unread {
    fn from(why: io::Error) -> Self {
        Self::Io(why)
    }
}

/// One line.
#[derive(Debug)]
struct Line<'t> {
    start: u64,
    end: u64,
    is_readable: bool,
    is_writable: bool,
    is_private: bool,
    /// Offset in the file of the first byte.
    offset: u64,
    device: u64,
    /// 0 for memory without a file.
    inode: u64,
    /// Without the mark of a deleted file.
    path: &'t [u8],
}

impl<'t> Line<'t> {
    fn parse(line: &'t [u8]) -> Option<Self> {
        // The path may have spaces; what is before it has none.
        let mut fields = line.splitn(6, |byte| *byte == b' ');
        let mut field = || std::str::from_utf8(fields.next()?).ok();
        let (range, perms, offset, device, inode) =
            (field()?, field()?, field()?, field()?, field()?);
        let path = fields.next().unwrap_or_default().trim_ascii_start();
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let (start, end) = range.split_once('-')?;
        let (start, end) = (hex(start)?, hex(end)?);
        let (major, minor) = device.split_once(':')?;
        let &[read, write, _, share] = perms.as_bytes() else {
            return None;
        };
        (start < end).then_some(())?;
        Some(Self {
            start,
            end,
            is_readable: read == b'r',
            is_writable: write == b'w',
            is_private: share == b'p',
            offset: hex(offset)?,
            device: hex(major)? << 32 | hex(minor)?,
            inode: inode.parse().ok()?,
            path: path.strip_suffix(b" (deleted)").unwrap_or(path),
        })
    }

    /// Whether a file stands behind it.
    fn is_file(&self) -> bool {
        self.inode != 0 && self.path.starts_with(b"/")
    }
}

/// Gives `visit` each line, `None` for one that makes no sense.
fn each_line(
    text: impl Read,
    mut visit: impl FnMut(Option<Line<'_>>) -> Result<(), Unread>,
) -> Result<(), Unread> {
    let mut text = BufReader::new(text.take(TEXT_BYTES_MAX + 1));
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut start = text.by_ref().take(LINE_BYTES_MAX);
        start.read_until(b'\n', &mut line)?;
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if start.limit() == 0 {
            text.skip_until(b'\n')?;
        } else if line.is_empty() {
            break;
        }
        if !line.is_empty() {
            visit(Line::parse(&line))?;
        }
    }
    // What a part of it lacks must not be taken for missing.
    match text.into_inner().limit() {
        0 => Err(Unread::TooLarge(format!("{} MiB", TEXT_BYTES_MAX >> 20))),
        _ => Ok(()),
    }
}

/// Where which files are mapped, as it is gone through.
#[derive(Debug, Default)]
struct Layout(DefaultHasher);

impl Layout {
    fn add(&mut self, line: &Line<'_>) {
        if line.is_file() {
            (line.start, line.inode).hash(&mut self.0);
        }
    }
}

/// What is kept of the lines so far.
#[derive(Debug, Default)]
struct Builder {
    maps: Maps,
    layout: Layout,
    /// The places of the files. In a tree, because a process can choose inodes whose hashes are the same.
    known: BTreeMap<(u64, u64), u32>,
    path_bytes: usize,
}

impl Builder {
    fn add(&mut self, line: &Line<'_>) -> Result<(), Unread> {
        self.layout.add(line);
        if line.is_readable && self.maps.readable.len() < READABLE_MAX {
            self.maps.readable.push(line.start);
        }
        if !line.is_file() || !line.is_private {
            return Ok(());
        }
        let file = self.file(line)?;
        if line.is_readable && line.is_writable {
            let (start, end) = (line.start, line.end);
            let what = "mappings with data of files";
            push(
                &mut self.maps.data,
                DataMapping { start, end, file },
                DATA_MAX,
                what,
            )?;
        }
        Ok(())
    }

    /// The place of the file of this line, with what the line says of it.
    fn file(&mut self, line: &Line<'_>) -> Result<u32, Unread> {
        let key = (line.device, line.inode);
        let files = &mut self.maps.files;
        if let Some(at) = self.known.get(&key) {
            let known = usize::try_from(*at).ok().and_then(|at| files.get_mut(at));
            if let Some(file) = known {
                file.is_writable |= line.is_writable;
                if line.offset == 0 && !file.has_origin {
                    (file.origin, file.has_origin) = (line.start, true);
                }
            }
            return Ok(*at);
        }
        self.path_bytes = self.path_bytes.saturating_add(line.path.len());
        if self.path_bytes > PATH_BYTES_MAX {
            let most = PATH_BYTES_MAX >> 10;
            return Err(Unread::TooLarge(format!("{most} KiB of paths")));
        }
        let at = u32::try_from(files.len()).unwrap_or(u32::MAX);
        let file = FileMappings {
            start: line.start,
            end: line.end,
            origin: line.start.wrapping_sub(line.offset),
            has_origin: line.offset == 0,
            is_writable: line.is_writable,
            device: line.device,
            inode: line.inode,
            path: line.path.into(),
        };
        push(files, file, FILES_MAX, "mapped files")?;
        self.known.insert(key, at);
        Ok(at)
    }

    fn finish(self) -> Maps {
        Maps {
            layout: self.layout.0.finish(),
            ..self.maps
        }
    }
}

fn push<T>(to: &mut Vec<T>, one: T, at_most: usize, what: &str) -> Result<(), Unread> {
    if to.len() >= at_most {
        return Err(Unread::TooLarge(format!("{at_most} {what}")));
    }
    to.push(one);
    Ok(())
}

/// Reads a maps file; lines that make no sense are counted and passed over.
pub(super) fn read_maps(text: impl Read) -> Result<Maps, Unread> {
    let mut builder = Builder::default();
    each_line(text, |line| {
        if let Some(line) = line {
            return builder.add(&line);
        }
        builder.maps.bad_lines = builder.maps.bad_lines.saturating_add(1);
        Ok(())
    })?;
    Ok(builder.finish())
}

/// The [`Maps::layout`] of a maps file alone, of which nothing is kept.
pub(super) fn read_layout(text: impl Read) -> Result<u64, Unread> {
    let mut layout = Layout::default();
    each_line(text, |line| {
        line.iter().for_each(|line| layout.add(line));
        Ok(())
    })?;
    Ok(layout.0.finish())
}

/// The path of the mapping that has this address, as printed, as text; empty if no file stands behind it.
pub(super) fn read_path_at(text: impl Read, address: u64) -> Result<Option<String>, Unread> {
    let mut path = None;
    each_line(text, |line| {
        if let Some(line) = line
            && (line.start..line.end).contains(&address)
        {
            path = Some(String::from_utf8_lossy(line.path).into_owned());
        }
        Ok(())
    })?;
    Ok(path)
}

/// What is kept of the text of a maps file; `None` if that is too much.
pub fn parse_maps(text: &[u8]) -> Option<Maps> {
    read_maps(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    const TEXT: &str = "\
        00400000-00ca1000 r-xp 00001000 08:01 4711                       /usr/bin/python3.14\n\
        00ca1000-00ca2000 rw-p 008a0000 08:01 4711                       /usr/bin/python3.14 (deleted)\n\
        00cb0000-00cc0000 r--p 00000000 08:01 4711                       /usr/bin/python3.14\n\
        7f0000000000-7f0000001000 ---p 00000000 00:00 0 \n\
        7f0000001000-7f0000002000 rw-p 00000000 00:00 0                  [heap]\n\
        7f0000002000-7f0000003000 rw-s 00000000 08:01 9                  /dev/shm/x\n\
        7fff00000000-7fff00001000 r-xp 00002000 08:01 12                 /a b/c\\012d\n\
        nonsense\n\
        2-1 r--p 0 0:0 0\n\
        ? 1-2 r--p 0 0:0 0\n\
        1-2 r--p 0 0:0 \n";

    fn too_large(text: &str) -> String {
        match read_maps(text.as_bytes()) {
            Err(Unread::TooLarge(most)) => most,
            other => panic!("{other:?}"),
        }
    }

    /// So many lines, with what differs.
    fn lines(n: usize, permissions: &str, inode_and_path: impl Fn(usize) -> String) -> String {
        let mut text = String::new();
        for at in 0..n {
            let (start, end) = (0x1000 * (at + 1), 0x1000 * (at + 2));
            let rest = inode_and_path(at);
            writeln!(
                text,
                "{start:x}-{end:x} {permissions} 00000000 08:01 {rest}"
            )
            .unwrap();
        }
        text
    }

    #[test]
    fn of_lines_of_all_kinds_files_and_their_data_are_kept() {
        let maps = parse_maps(TEXT.as_bytes()).unwrap();
        assert_eq!(maps.bad_lines, 4);
        let [python, other] = &maps.files[..] else {
            panic!("{maps:?}");
        };
        assert_eq!((python.start, python.end), (0x40_0000, 0xca_1000));
        assert_eq!(python.file_name(), "python3.14");
        assert!(python.is_writable && !other.is_writable);
        assert_eq!(python.origin, 0xcb_0000, "where its first byte is mapped");
        assert_eq!(other.origin, 0x7ffe_ffff_e000, "where it would be");
        assert_eq!(&*other.path, b"/a b/c\\012d");
        let [data] = &maps.data[..] else {
            panic!("{maps:?}");
        };
        assert_eq!((data.start, data.end), (0xca_1000, 0xca_2000));
        assert_eq!(maps.file_of(data), Some(python));
        assert_eq!(maps.readable.len(), 6);
        assert_eq!(parse_maps(b""), Some(read_maps(io::empty()).unwrap()));
    }

    #[test]
    fn the_layout_is_of_files_and_told_alone_as_well() {
        let layout = |text: &str| {
            let layout = read_layout(text.as_bytes()).unwrap();
            assert_eq!(parse_maps(text.as_bytes()).unwrap().layout, layout);
            layout
        };
        let before = layout(TEXT);
        for (from, to, is_same) in [
            ("[heap]", "[stack]", true),
            ("7f0000002000-", "7f0000002800-", false),
            ("08:01 12 ", "08:01 13 ", false),
        ] {
            let now = layout(&TEXT.replace(from, to));
            assert_eq!(now == before, is_same, "{from}");
        }
    }

    #[test]
    fn what_is_mapped_at_an_address() {
        let at = |address| read_path_at(TEXT.as_bytes(), address).unwrap();
        assert_eq!(at(0xca_1fff).unwrap(), "/usr/bin/python3.14");
        assert_eq!(at(0x7f00_0000_1000).unwrap(), "[heap]");
        assert_eq!(at(0x7f00_0000_0000).unwrap(), "");
        assert_eq!(at(0xca_2000), None);
    }

    #[test]
    fn of_long_lines_the_path_is_cut_whatever_its_bytes() {
        let mut text = b"1000-2000 r--p 00000000 08:01 7 /".to_vec();
        text.resize(3 * usize::try_from(LINE_BYTES_MAX).unwrap(), 0xff);
        text.extend(b"\n2000-3000 rw-p 00001000 08:01 7 /x\n3000-4000 rw-p 00000000 08:01 8 /y");
        let maps = parse_maps(&text).unwrap();
        assert_eq!(
            (maps.bad_lines, maps.files.len(), maps.data.len()),
            (0, 2, 2)
        );
        let length = u64::try_from(maps.files[0].path.len()).unwrap();
        assert!(length < LINE_BYTES_MAX && length > 4 * 4096);
        assert_eq!(&*maps.files[1].path, b"/y");
        // One that just fits is whole.
        let head = "1000-2000 rw-p 00000000 08:01 7 ";
        let n = usize::try_from(LINE_BYTES_MAX).unwrap() - head.len();
        let path = format!("/{}", "x".repeat(n - 1));
        let text = format!("{head}{path}\n{}", TEXT);
        let maps = parse_maps(text.as_bytes()).unwrap();
        assert_eq!(&*maps.files[0].path, path.as_bytes());
        assert_eq!(maps.files.len(), 3);
    }

    /// Anonymous and shared mappings take no memory here, and those of one file hardly any.
    #[test]
    fn what_is_kept_has_bounds_and_beyond_them_there_is_an_error() {
        let many = 10 * DATA_MAX;
        let one = |_| "7 /usr/bin/python3.14".to_owned();
        let maps = parse_maps(lines(many, "rw-p", |_| "0".to_owned()).as_bytes()).unwrap();
        assert_eq!((maps.files.len(), maps.data.len()), (0, 0));
        assert_eq!(maps.readable.len(), READABLE_MAX);
        let shared = lines(many, "rw-s", |at| format!("{} /dev/shm/{at}", at + 1));
        assert_eq!(parse_maps(shared.as_bytes()).unwrap().files.len(), 0);
        let maps = parse_maps(lines(many, "r-xp", one).as_bytes()).unwrap();
        assert_eq!((maps.files.len(), maps.data.len()), (1, 0));

        assert!(parse_maps(lines(DATA_MAX, "rw-p", one).as_bytes()).is_some());
        let most = too_large(&lines(DATA_MAX + 1, "rw-p", one));
        assert_eq!(most, "32768 mappings with data of files");
        let each = |at| format!("{} /x", at + 1);
        assert!(parse_maps(lines(FILES_MAX, "r--p", each).as_bytes()).is_some());
        assert_eq!(
            too_large(&lines(FILES_MAX + 1, "r--p", each)),
            "8192 mapped files"
        );
        let long = |at| format!("{} /{}", at + 1, "x".repeat(4095));
        assert!(parse_maps(lines(256, "r--p", long).as_bytes()).is_some());
        assert_eq!(too_large(&lines(257, "r--p", long)), "1024 KiB of paths");
    }

    #[test]
    fn a_file_that_cannot_be_read_on_is_an_error() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
        let text = TEXT.as_bytes().chain(Broken);
        assert!(matches!(read_maps(text), Err(Unread::Io(_))));
    }
}
