//! The little of ELF that is needed to find CPython's tables: program headers for the load bias,
//! section headers for the tables. Bytes in, no files: the caller hands in a way to read.
//!
//! Only 64-bit little-endian images are understood; everything else is "not one of ours".

use goblin::elf64::header::{Header, SIZEOF_EHDR};
use goblin::elf64::program_header::{PT_LOAD, ProgramHeader, SIZEOF_PHDR};
use goblin::elf64::section_header::{SHN_XINDEX, SIZEOF_SHDR, SectionHeader};

/// Most section or program headers of one file that are looked at.
const HEADERS_MAX: usize = 4096;
/// The page size that load addresses are rounded to.
const PAGE_BYTES: u64 = 4096;
/// Most bytes of section names.
const NAMES_BYTES_MAX: u64 = 1 << 20;

/// Why a file is not an ELF image that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// It is not ELF, or not 64-bit little-endian.
    #[error("not a 64-bit little-endian ELF file")]
    NotElf,
    /// A part of it could not be read.
    #[error("cannot read {part}: {why}")]
    Read {
        /// Which part.
        part: &'static str,
        /// The reader's reason.
        why: String,
    },
    /// A header has a value that makes no sense.
    #[error("implausible {what}: {value}")]
    Implausible {
        /// Which value.
        what: &'static str,
        /// The value.
        value: u64,
    },
}

/// A named section that is loaded into memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its name, such as `.PyRuntime`.
    pub name: String,
    /// Its virtual address before the load bias.
    pub addr: u64,
}

/// What is needed of an ELF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElfImage {
    /// Virtual address at which file offset 0 is loaded, before the load bias.
    pub base: u64,
    /// The wanted sections that have an address, the first of each name.
    pub sections: Vec<Section>,
}

/// Reads the bytes at a file offset, all of them.
pub type ReadAt<'r> = dyn FnMut(u64, &mut [u8]) -> std::io::Result<()> + 'r;

impl ElfImage {
    /// Reads the headers of an ELF file, and of its sections those with a wanted name.
    ///
    /// # Errors
    ///
    /// When it is not ELF or its headers make no sense. A file without section headers is fine: it
    /// has no sections.
    pub fn read(read_at: &mut ReadAt<'_>, wanted: &[&str]) -> Result<Self, ElfError> {
        let mut ident = [0; SIZEOF_EHDR];
        read_part(read_at, "ELF header", 0, &mut ident)?;
        let [0x7f, b'E', b'L', b'F', 2, 1, ..] = ident else {
            return Err(ElfError::NotElf);
        };
        let header = Header::from_bytes(&ident);
        let base = load_base(&program_headers(read_at, header)?);
        let sections = sections(read_at, header, wanted)?;
        Ok(Self { base, sections })
    }

    /// The section of this name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }
}

fn read_part(
    read_at: &mut ReadAt<'_>,
    part: &'static str,
    at: u64,
    into: &mut [u8],
) -> Result<(), ElfError> {
    read_at(at, into).map_err(|error| ElfError::Read {
        part,
        why: error.to_string(),
    })
}

fn program_headers(
    read_at: &mut ReadAt<'_>,
    header: &Header,
) -> Result<Vec<ProgramHeader>, ElfError> {
    let n = usize::from(header.e_phnum);
    if n > HEADERS_MAX || (n > 0 && usize::from(header.e_phentsize) != SIZEOF_PHDR) {
        return Err(ElfError::Implausible {
            what: "program headers",
            value: n as u64,
        });
    }
    let mut bytes = vec![0; n * SIZEOF_PHDR];
    read_part(read_at, "program headers", header.e_phoff, &mut bytes)?;
    Ok(ProgramHeader::from_bytes(&bytes, n))
}

/// The address that the byte at file offset 0 has, rounded down to a page as the kernel does.
fn load_base(headers: &[ProgramHeader]) -> u64 {
    let Some(first) = headers.iter().find(|header| header.p_type == PT_LOAD) else {
        return 0;
    };
    first.p_vaddr.wrapping_sub(first.p_offset) & !(PAGE_BYTES - 1)
}

fn sections(
    read_at: &mut ReadAt<'_>,
    header: &Header,
    wanted: &[&str],
) -> Result<Vec<Section>, ElfError> {
    let n = usize::from(header.e_shnum);
    if header.e_shoff == 0 || n == 0 || u32::from(header.e_shstrndx) == SHN_XINDEX {
        return Ok(Vec::new());
    }
    if n > HEADERS_MAX || usize::from(header.e_shentsize) != SIZEOF_SHDR {
        return Err(ElfError::Implausible {
            what: "section headers",
            value: n as u64,
        });
    }
    let mut bytes = vec![0; n * SIZEOF_SHDR];
    read_part(read_at, "section headers", header.e_shoff, &mut bytes)?;
    let headers = SectionHeader::from_bytes(&bytes, n);
    let Some(names_header) = headers.get(usize::from(header.e_shstrndx)) else {
        return Ok(Vec::new());
    };
    if names_header.sh_size > NAMES_BYTES_MAX {
        return Err(ElfError::Implausible {
            what: "size of section names",
            value: names_header.sh_size,
        });
    }
    let mut names = vec![0; usize::try_from(names_header.sh_size).unwrap_or(0)];
    read_part(read_at, "section names", names_header.sh_offset, &mut names)?;
    let wanted_name = |at: u32| {
        let rest = names.get(usize::try_from(at).ok()?..)?;
        let is_name =
            |name: &&&str| rest.strip_prefix(name.as_bytes()).and_then(<[u8]>::first) == Some(&0);
        wanted.iter().find(is_name).copied()
    };
    let mut sections: Vec<Section> = Vec::new();
    for section in headers.iter().filter(|section| section.sh_addr != 0) {
        // The first of each name counts.
        if let Some(name) = wanted_name(section.sh_name)
            && !sections.iter().any(|known| known.name == name)
        {
            let (name, addr) = (name.to_owned(), section.sh_addr);
            sections.push(Section { name, addr });
        }
    }
    Ok(sections)
}
