//! The text of `/proc/PID/maps`, and looking for a runtime where it says that memory is.

use super::image::{Build, Image};
use asyncio_agent::asyncio::find_asyncio;
use asyncio_agent::cpython::{Modules, RUNTIME_SECTION, find_runtime, guess_version};
use asyncio_agent::elf::{ElfImage, Section};
use asyncio_agent::procfs::parse_maps;

/// Memory searched for one input. The library searches up to 256 MiB, which takes too long here.
const SEARCH_BYTES_MAX: u64 = 1 << 20;

pub(crate) fn run(data: &[u8]) {
    let Some(maps) = parse_maps(data) else {
        return;
    };
    let lines = data.split(|byte| *byte == b'\n');
    let n_lines = lines.filter(|line| !line.is_empty()).count();
    let n_bad = usize::try_from(maps.bad_lines).expect("few lines");
    assert!(maps.files.len().max(maps.data.len()) + n_bad <= n_lines);
    for file in &maps.files {
        assert!(file.start < file.end && file.path.starts_with(b"/"));
        assert!(!file.file_name().contains('/'));
    }
    for mapping in &maps.data {
        let file = maps.file_of(mapping).expect("its file is kept");
        assert!(mapping.start < mapping.end && file.is_writable);
    }
    let _ = guess_version(&maps);
    let sizes = maps.data.iter().map(|mapping| mapping.end - mapping.start);
    let searched = sizes.fold(0, u64::saturating_add);
    if searched <= SEARCH_BYTES_MAX {
        find(&maps);
    }
}

/// Looks for the runtime of a whole process through these mappings.
fn find(maps: &asyncio_agent::procfs::Maps) {
    let image = Image::of(Build::V3_14);
    let section = Section {
        name: RUNTIME_SECTION.to_owned(),
        addr: 0x100,
    };
    let file = ElfImage {
        base: 0,
        sections: vec![section],
    };
    for file in [Some(file), None] {
        let mut modules = Modules::new(maps, |_| file.clone());
        let found = find_runtime(&image.pages, maps, &mut modules);
        if let Ok(Some(site)) = found {
            assert_eq!(site, image.site);
            let found = find_asyncio(&image.pages, maps, &mut modules, &site.offsets);
            if let Ok(Some(table)) = found {
                assert_eq!(table, image.asyncio);
            }
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        text("600000-604000 rw-p 00000000 08:01 77 /opt/app/server\n"),
        text(
            "00400000-00ca1000 r-xp 00000000 08:01 4711                       /usr/bin/python3.14\n\
             00600000-00604000 rw-p 00000000 08:01 4711                       /usr/bin/python3.14 (deleted)\n\
             7f0000000000-7f0000001000 ---p 00000000 00:00 0 \n\
             7f0000001000-7f0000002000 rw-p 00000000 00:00 0                  [heap]\n\
             7fff00000000-7fff00001000 r-xp 00000000 08:01 12                 /a b/c\\012d\n\
             nonsense\n",
        ),
    ]
}
