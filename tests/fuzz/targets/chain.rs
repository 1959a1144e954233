//! What stands below a walk, each from any address: chains of coroutines, frames of threads, sets, ints.

use super::edits::{self, Damaged, place};
use super::walk::LIMITS;
use asyncio_agent::cpython::{ChainReader, ThreadState, read_int, read_set, read_text};
use asyncio_agent::limits::LimitHit;
use asyncio_agent::memory::Reader;

pub(crate) fn run(data: &[u8]) {
    let damaged = Damaged::new(data);
    let image = damaged.image;
    let offsets = &image.site.offsets;
    let mut reader = Reader::new(&damaged.memory, LIMITS);
    let mut chains = ChainReader::default();
    let any = place(image, u16::from(damaged.flags) << 6);
    let frames_max = usize::try_from(LIMITS.frames_per_task_max).expect("small");
    for at in image.coroutines.iter().chain(&image.places).chain([&any]) {
        if chains.follow(&mut reader, offsets, *at, true).is_ok() {
            let frames = chains.frames().to_vec();
            assert!(frames.len() <= frames_max);
            for frame in frames {
                let _ = chains.codes.line(frame.code, frame.unit);
            }
        }
        let thread = ThreadState {
            at: *at,
            native_thread_id: 1,
        };
        for coroutine in [*at, image.coroutines[0]] {
            if let Ok(Some(frames)) = chains.running(&mut reader, offsets, thread, coroutine, None)
            {
                assert!(frames.len() <= frames_max);
            }
        }
        let cap = LimitHit {
            what: "members",
            limit: 20,
        };
        if let Ok(set) = read_set(&mut reader, offsets, *at, cap) {
            assert!(set.members.len() <= 20);
        }
        let _ = read_int(&mut reader, offsets, *at);
        let _ = read_text(&mut reader, offsets, *at);
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    edits::seeds()
}
