//! Finding the runtime in a process: by the section `.PyRuntime` of whichever mapped file has it, or,
//! where files or section headers cannot be used, by the cookie at its start in memory.
//!
//! A file only gives a place to look at. What counts is what memory says there: a process may map
//! two copies of libpython, and a file may have been replaced since it was mapped.

use super::offsets::{COOKIE, Offsets, OffsetsError};
use crate::elf::ElfImage;
use crate::memory::{ReadError, ReadErrorKind, ReadMemory, RemoteAddr};
use crate::procfs::{DataMapping, FileMappings, Maps};

/// The section in which `_PyRuntime` stands (Include/internal/pycore_debug_offsets.h).
pub const RUNTIME_SECTION: &str = ".PyRuntime";
/// Memory searched at once.
const SEARCH_PIECE_BYTES: usize = 1 << 20;
/// Places of a word looked at in one mapping. There is one, or a few by accident.
const HITS_MAX: usize = 64;
/// Places looked at in one process.
const PLACES_MAX: usize = 256;
/// The smallest page.
const PAGE_BYTES: usize = 4096;
/// Most memory searched in one process.
const SEARCH_BYTES_MAX: u64 = 256 << 20;

/// A mapped file and, once it was needed, its ELF headers.
#[derive(Debug)]
struct Module<'m> {
    file: &'m FileMappings,
    image: Option<Option<ElfImage>>,
}

/// The files that a process has mapped, those first that may hold a runtime.
pub struct Modules<'m> {
    modules: Vec<Module<'m>>,
    open: Box<OpenImage<'m>>,
}

/// Reads the ELF headers of a mapped file, if it can.
type OpenImage<'m> = dyn FnMut(&FileMappings) -> Option<ElfImage> + 'm;

impl std::fmt::Debug for Modules<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Modules")
            .field("modules", &self.modules)
            .finish_non_exhaustive()
    }
}

impl<'m> Modules<'m> {
    /// The files in `maps`; `open` reads the ELF headers of one of them, if it can.
    pub fn new(maps: &'m Maps, open: impl FnMut(&FileMappings) -> Option<ElfImage> + 'm) -> Self {
        let files = maps.files.iter().filter(|file| file.is_writable);
        let mut modules: Vec<Module<'m>> = files.map(|file| Module { file, image: None }).collect();
        modules.sort_by_key(|module| !module.is_named_like("python"));
        Self {
            modules,
            open: Box::new(open),
        }
    }

    /// Looks for a section in all files; those whose name contains `name` first. Gives the address
    /// of each one found, until `visit` says that it is the right one.
    pub fn find_section<T>(
        &mut self,
        section: &str,
        name: &str,
        mut visit: impl FnMut(RemoteAddr) -> Option<T>,
    ) -> Option<T> {
        for preferred in [true, false] {
            for module in &mut self.modules {
                if module.is_named_like(name) != preferred {
                    continue;
                }
                let found = module.section(section, &mut self.open).and_then(&mut visit);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }
}

impl Module<'_> {
    fn is_named_like(&self, name: &str) -> bool {
        self.file.file_name().contains(name)
    }

    fn section(
        &mut self,
        name: &str,
        open: &mut dyn FnMut(&FileMappings) -> Option<ElfImage>,
    ) -> Option<RemoteAddr> {
        let file = self.file;
        let image = self.image.get_or_insert_with(|| open(file)).as_ref()?;
        let section = image.section(name)?;
        let load_bias = file.origin.wrapping_sub(image.base);
        Some(RemoteAddr::new(section.addr.wrapping_add(load_bias)))
    }
}

/// Where the runtime of a process is, and how its structures look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuntimeSite {
    /// Address of `_PyRuntime`.
    pub runtime: RemoteAddr,
    /// Its table.
    pub offsets: Offsets,
}

/// How a place was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    BySection,
    ByCookie,
}

/// What was seen while looking for a runtime.
#[derive(Debug, Default)]
struct Search {
    unsupported: Option<OffsetsError>,
    failed: Option<OffsetsError>,
    without_cookie: bool,
    not_started: bool,
}

/// The runtime of a process.
///
/// # Errors
///
/// `Ok(None)` when there is nothing of Python at all; otherwise the most telling reason why what was
/// found cannot be used. [`OffsetsError::NoCookie`] stands for a Python before 3.13.
pub fn find_runtime(
    memory: &dyn ReadMemory,
    maps: &Maps,
    modules: &mut Modules<'_>,
) -> Result<Option<RuntimeSite>, OffsetsError> {
    let mut search = Search::default();
    let by_section = modules.find_section(RUNTIME_SECTION, "python", |at| {
        search.examine(memory, at, Found::BySection)
    });
    if let Some(site) = by_section {
        return Ok(Some(site));
    }
    let places = writable_file_mappings(maps)
        .flat_map(|mapping| find_word(memory, mapping, COOKIE))
        .take(PLACES_MAX);
    for at in places {
        if let Some(site) = search.examine(memory, at, Found::ByCookie) {
            return Ok(Some(site));
        }
    }
    match search {
        Search {
            not_started: true, ..
        } => Err(OffsetsError::NotStarted),
        Search {
            unsupported: Some(error),
            ..
        }
        | Search {
            failed: Some(error),
            ..
        } => Err(error),
        Search {
            without_cookie: true,
            ..
        } => Err(OffsetsError::NoCookie {
            at: RemoteAddr::NULL,
        }),
        _ => Ok(None),
    }
}

impl Search {
    fn examine(
        &mut self,
        memory: &dyn ReadMemory,
        at: RemoteAddr,
        found: Found,
    ) -> Option<RuntimeSite> {
        match Offsets::read(memory, at) {
            Ok(offsets) => {
                // The table is there from the start, and in copies of the library that nobody
                // uses; the interpreters are not.
                let mut head = [0; 8];
                let head_at = at.plus(offsets.runtime_state.interpreters_head);
                if memory.read_exact(head_at, &mut head).is_ok() && head != [0; 8] {
                    return Some(RuntimeSite {
                        runtime: at,
                        offsets,
                    });
                }
                self.not_started = true;
            }
            Err(error @ OffsetsError::Unsupported { .. }) => self.unsupported = Some(error),
            // Eight bytes may stand anywhere by accident; a section of that name does not.
            Err(_) if found == Found::ByCookie => {}
            Err(OffsetsError::NoCookie { .. }) => self.without_cookie = true,
            Err(error) => self.failed = Some(error),
        }
        None
    }
}

/// Where initialised data of executables and libraries stands. Those of files named like Python come first.
pub fn writable_file_mappings(maps: &Maps) -> impl Iterator<Item = &DataMapping> {
    let named = |mapping: &&DataMapping| {
        let file = maps.file_of(mapping);
        file.is_some_and(|file| file.file_name().contains("python"))
    };
    let first = maps.data.iter().filter(move |mapping| named(mapping));
    let rest = maps.data.iter().filter(move |mapping| !named(mapping));
    let mut budget = SEARCH_BYTES_MAX;
    first.chain(rest).filter(move |mapping| {
        let size = mapping.end.saturating_sub(mapping.start);
        let fits = size <= budget;
        budget = if fits {
            budget.saturating_sub(size)
        } else {
            budget
        };
        fits
    })
}

/// Where in a mapping this word stands, at addresses aligned to its size.
pub fn find_word(memory: &dyn ReadMemory, mapping: &DataMapping, word: [u8; 8]) -> Vec<RemoteAddr> {
    let mut found = Vec::new();
    let mut buffer = vec![0; SEARCH_PIECE_BYTES];
    let mut at = mapping.start;
    while at < mapping.end && found.len() < HITS_MAX {
        let left = mapping.end.saturating_sub(at);
        let wanted = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(SEARCH_PIECE_BYTES);
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        match read_mapped(memory, RemoteAddr::new(at), piece) {
            Ok(()) => {
                let words = piece.chunks_exact(8).zip(0_u64..);
                let hits = words.filter(|(candidate, _)| *candidate == word);
                let places =
                    hits.map(|(_, index)| RemoteAddr::new(at).plus(index.saturating_mul(8)));
                found.extend(places.take(HITS_MAX.saturating_sub(found.len())));
            }
            Err(_) => break,
        }
        at = at.saturating_add(u64::try_from(wanted).unwrap_or(u64::MAX));
    }
    found
}

/// Reads a piece of memory; pages that cannot be read, such as those past the end of a file that was
/// cut, are zero.
fn read_mapped(memory: &dyn ReadMemory, at: RemoteAddr, into: &mut [u8]) -> Result<(), ReadError> {
    match memory.read_exact(at, into) {
        Err(error) if error.kind == ReadErrorKind::Unmapped => {}
        result => return result,
    }
    let mut next = at;
    for page in into.chunks_mut(PAGE_BYTES) {
        match memory.read_exact(next, page) {
            Ok(()) => {}
            Err(error) if error.kind == ReadErrorKind::Unmapped => page.fill(0),
            Err(error) => return Err(error),
        }
        next = next.plus(u64::try_from(page.len()).unwrap_or(u64::MAX));
    }
    Ok(())
}

/// The version of Python that the name of a mapped file gives away: `3.11` of `libpython3.11.so.1.0`.
pub fn guess_version(maps: &Maps) -> Option<String> {
    maps.files.iter().find_map(|file| {
        let name = file.file_name();
        let name = name.strip_prefix("lib").unwrap_or(&name);
        let version: String = name
            .strip_prefix("python")?
            .chars()
            .take_while(|character| character.is_ascii_digit() || *character == '.')
            .collect();
        let version = version.trim_end_matches('.');
        (version.starts_with("3.") || version == "2.7").then(|| version.to_owned())
    })
}
