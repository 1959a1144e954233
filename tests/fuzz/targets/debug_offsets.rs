//! The two tables with which a process describes its structures. Input: a header of 4 bytes; then
//! either a whole table (flag 1), or words over those of a valid one: their place in the table of
//! debug offsets (2 bytes; high bit: in asyncio's table) and their value (8 bytes).

use super::image::{Build, DATA, Image};
use super::input::Input;
use asyncio_agent::asyncio::{AsyncioOffsets, find_asyncio};
use asyncio_agent::cpython::{Modules, Offsets};
use asyncio_agent::memory::RemoteAddr;

const RUNTIME: u64 = DATA + 0x100;
const ASYNCIO: u64 = DATA + 0x3000;
const ASYNCIO_WORDS: u64 = 13;
const EDITS_MAX: usize = 64;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.u8();
    input.bytes(3);
    let build = if flags & 2 == 0 {
        Build::V3_14
    } else {
        Build::V3_15
    };
    let image = Image::of(build);
    let mut pages = image.pages.clone();
    if flags & 1 != 0 {
        let table = input.rest();
        pages.put(RemoteAddr::new(RUNTIME), &table[..table.len().min(1024)]);
    } else {
        for _ in 0..EDITS_MAX {
            if input.is_empty() {
                break;
            }
            let (place, value) = (input.u16(), input.u64());
            let at = match place & 0x8000 {
                0 => RUNTIME + u64::from(place) % 112 * 8,
                _ => ASYNCIO + u64::from(place) % ASYNCIO_WORDS * 8,
            };
            pages.put(RemoteAddr::new(at), &value.to_le_bytes());
        }
    }
    let Ok(offsets) = Offsets::read(&pages, RemoteAddr::new(RUNTIME)) else {
        return;
    };
    check(&offsets);
    let mut modules = Modules::new(&image.maps, |_| None);
    if let Ok(Some(asyncio)) = find_asyncio(&pages, &image.maps, &mut modules, &offsets) {
        check_asyncio(&asyncio, &offsets);
    }
}

/// That these fields lie inside of their structure, and that it is not too big.
macro_rules! assert_inside {
    ($offsets:ident, $max:ident: $($section:ident { $($field:ident: $width:literal),* })*) => {
        $($(
            let section = &$offsets.$section;
            assert!(section.size <= $max);
            let end = section.$field + $width;
            assert!(end <= section.size, stringify!($section.$field));
        )*)*
    };
}

fn check(offsets: &Offsets) {
    const STATE: u64 = 64 << 20;
    const OBJECT: u64 = 1 << 16;
    assert_inside!(offsets, STATE:
        runtime_state { interpreters_head: 8 }
        interpreter_state { id: 8, next: 8, threads_head: 8, imports_modules: 8 }
        thread_state { next: 8, interp: 8, current_frame: 8, native_thread_id: 8 }
    );
    assert_inside!(offsets, OBJECT:
        interpreter_frame { previous: 8, executable: 8, instr_ptr: 8, owner: 1, stackpointer: 8 }
        code_object { filename: 8, qualname: 8, linetable: 8, firstlineno: 4, co_tlbc: 8 }
        type_object { tp_name: 8, tp_flags: 8 }
        tuple_object { ob_item: 8, ob_size: 8 }
        list_object { ob_item: 8, ob_size: 8 }
        set_object { used: 8, table: 8, mask: 8 }
        dict_object { ma_keys: 8 }
        long_object { lv_tag: 8, ob_digit: 4 }
        bytes_object { ob_size: 8, ob_sval: 1 }
        unicode_object { state: 4, length: 8, asciiobject_size: 8 }
        gen_object { gi_iframe: 8, gi_frame_state: 1 }
    );
    let head = if offsets.free_threaded { 32 } else { 16 };
    assert_eq!(offsets.pyobject.size, head);
    assert!(offsets.version.is_supported());
}

fn check_asyncio(asyncio: &AsyncioOffsets, offsets: &Offsets) {
    let size = asyncio.task_size;
    assert!(size <= 512);
    for (offset, width) in [
        (asyncio.task_name, 8),
        (asyncio.task_awaited_by, 8),
        (asyncio.task_is_task, 1),
        (asyncio.task_awaited_by_is_set, 1),
        (asyncio.task_coro, 8),
        (asyncio.task_node, 16),
        (asyncio.future_state(), 4),
    ] {
        assert!(offset >= offsets.pyobject.size && offset + width <= size);
    }
    assert!(asyncio.interpreter_tasks_head + 16 <= offsets.interpreter_state.size);
    assert!(asyncio.thread_tasks_head < 64 << 20);
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let word = |place: u16, value: u64| [&place.to_le_bytes()[..], &value.to_le_bytes()].concat();
    let mut seeds = Vec::new();
    for build in [0, 2] {
        seeds.push(vec![build, 0, 0, 0]);
        let words = [word(51, 24), word(0x8000, 300), word(8, 1 << 20)].concat();
        seeds.push([vec![build, 0, 0, 0], words].concat());
        let image = Image::of(if build == 0 {
            Build::V3_14
        } else {
            Build::V3_15
        });
        let mut table = vec![0; 888];
        asyncio_agent::memory::ReadMemory::read_exact(
            &image.pages,
            RemoteAddr::new(RUNTIME),
            &mut table,
        )
        .expect("the table is mapped");
        seeds.push([vec![build | 1, 0, 0, 0], table].concat());
    }
    seeds
}
