//! ELF files. The input is the whole file.

use asyncio_agent::elf::ElfImage;
use std::io;

const WANTED: [&str; 2] = [".PyRuntime", ".AsyncioDebug"];

pub(crate) fn run(data: &[u8]) {
    let mut n_read = 0;
    let mut read_at = |at: u64, into: &mut [u8]| {
        n_read += into.len();
        let start = usize::try_from(at).map_err(io::Error::other)?;
        let part = data.get(start..).and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    };
    let image = ElfImage::read(&mut read_at, &WANTED);
    // Headers and names, each with a cap of its own.
    assert!(n_read < 2 << 20, "{n_read} bytes were asked for");
    let Ok(image) = image else {
        return;
    };
    assert!(image.base.is_multiple_of(4096));
    for section in &image.sections {
        assert!(WANTED.contains(&section.name.as_str()));
        assert_ne!(section.addr, 0);
    }
    for name in WANTED {
        assert_eq!(
            image.section(name),
            image.sections.iter().find(|section| section.name == name)
        );
    }
}

/// A file with one segment and the wanted sections: header, program header, names, section headers.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let names = b"\0.shstrtab\0.PyRuntime\0.AsyncioDebug\0";
    let segment_at = 64_u64;
    let names_at = segment_at + 56;
    let sections_at = (names_at + names.len() as u64).next_multiple_of(8);
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let halves = |file: &mut Vec<u8>, halves: &[u16]| {
        file.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
    };
    let words = |file: &mut Vec<u8>, words: &[u64]| {
        file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    };
    halves(&mut file, &[3, 62, 1, 0]); // a shared object for x86-64, version 1
    words(&mut file, &[0, segment_at, sections_at]);
    halves(&mut file, &[0, 0, 64, 56, 1, 64, 4, 1]);
    words(
        &mut file,
        &[1 | (6 << 32), 0x1000, 0x40_1000, 0, 0x2000, 0x2000, 0x1000],
    );
    file.extend(names);
    file.resize(usize::try_from(sections_at).expect("small"), 0);
    words(&mut file, &[0; 8]);
    for (name, kind, at, offset, size) in [
        (1, 3, 0, names_at, names.len() as u64),
        (11, 1, 0x40_1100, 0x1100, 760),
        (22, 1, 0x40_1400, 0x1400, 104),
    ] {
        words(
            &mut file,
            &[name | (kind << 32), 3, at, offset, size, 0, 8, 0],
        );
    }
    vec![file]
}
