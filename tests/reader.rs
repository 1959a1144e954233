//! The reader of memory: which copies answer, and that a place which cannot be read costs that place alone.

use asyncio_agent::limits::Limits;
use asyncio_agent::memory::{
    ReadError, ReadErrorKind, ReadMemory, Reader, RemoteAddr, SynthMemory, Trail,
};
use std::cell::{Cell, RefCell};

const CHUNK: u64 = 16 << 10;

/// Memory that changes, with a page that fails to be read.
struct Changing {
    memory: RefCell<SynthMemory>,
    failing: Cell<u64>,
    n_reads: Cell<u64>,
}

impl Changing {
    /// `n` chunks, each with its number at its beginning and at its end.
    fn chunks(n: u64) -> (Self, RemoteAddr) {
        let mut memory = SynthMemory::new();
        let start = memory.alloc(CHUNK * n);
        for number in 0..n {
            memory.put_u64(start.plus(number * CHUNK), number);
            memory.put_u64(start.plus(number * CHUNK + CHUNK - 8), number);
        }
        let changing = Self {
            memory: RefCell::new(memory),
            failing: Cell::new(0),
            n_reads: Cell::new(0),
        };
        (changing, start)
    }

    fn put(&self, at: RemoteAddr, value: u64) {
        self.memory.borrow_mut().put_u64(at, value);
    }
}

impl ReadMemory for Changing {
    fn read_exact(&self, at: RemoteAddr, into: &mut [u8]) -> Result<(), ReadError> {
        self.n_reads.set(self.n_reads.get() + 1);
        let pages = at.as_u64() >> 12..(at.as_u64() + into.len() as u64).div_ceil(4096);
        if self.failing.get() != 0 && pages.contains(&(self.failing.get() >> 12)) {
            let (len, kind) = (into.len(), ReadErrorKind::Os(5));
            return Err(ReadError { at, len, kind });
        }
        self.memory.borrow().read_exact(at, into)
    }
}

/// What a reader touches that reads the first word of each chunk.
fn touch_all(reader: &mut Reader<'_>, start: RemoteAddr, n: u64) -> Trail {
    for number in 0..n {
        assert_eq!(reader.u64_at(start.plus(number * CHUNK)), Ok(number));
    }
    reader.end_look()
}

#[test]
fn a_look_uses_its_own_copies() {
    let (memory, start) = Changing::chunks(2);
    let mut reader = Reader::new(&memory, Limits::default());
    assert_eq!(reader.u64_at(start), Ok(0));
    memory.put(start, 7);
    assert_eq!(reader.u64_at(start), Ok(0));
    reader.look_aside();
    assert_eq!(reader.u64_at(start), Ok(7));
    memory.put(start, 8);
    assert_eq!(reader.u64_at(start), Ok(7));
    reader.look_aside();
    assert_eq!(reader.u64_at(start), Ok(8));
    reader.look_back();
    assert_eq!(reader.u64_at(start), Ok(0));
    reader.look_anew();
    assert_eq!(reader.u64_at(start), Ok(8));
}

#[test]
fn a_whole_look_is_of_the_moment_in_which_it_begins() {
    const N: u64 = 100;
    let (memory, start) = Changing::chunks(N);
    let mut reader = Reader::new(&memory, Limits::default());
    let trail = touch_all(&mut reader, start, N);
    assert_eq!(trail.len(), 100);
    reader
        .begin_whole_look(trail.in_order_of_copies())
        .expect("it can be read");
    let n_reads = memory.n_reads.get();
    for number in 0..N {
        memory.put(start.plus(number * CHUNK), number + 1_000);
    }
    // Backwards, and still what was there before.
    for number in (0..N).rev() {
        assert_eq!(reader.u64_at(start.plus(number * CHUNK)), Ok(number));
    }
    assert_eq!(memory.n_reads.get(), n_reads, "nothing is copied twice");
    // In the order of the trail, whatever was asked for first.
    let moment = |number| reader.moment(start.plus(number * CHUNK), 8);
    for number in 1..N {
        assert!(moment(number - 1).is_not_after(moment(number)));
    }
}

#[test]
fn a_page_that_fails_costs_that_page_alone() {
    const N: u64 = 80;
    for failing in [0, 1, 17, N - 1] {
        let (memory, start) = Changing::chunks(N);
        let mut reader = Reader::new(&memory, Limits::default());
        let trail = touch_all(&mut reader, start, N);
        let bad = start.plus(failing * CHUNK);
        memory.failing.set(bad.as_u64());
        for is_whole in [true, false] {
            let begun = match is_whole {
                true => reader.begin_whole_look(trail.clone()),
                false => reader.begin_look(trail.clone()),
            };
            begun.expect("what can be read is");
            for number in 0..N {
                let at = start.plus(number * CHUNK);
                let read = reader.u64_at(at);
                match number == failing {
                    true => assert_eq!(
                        read.map_err(|error| error.kind),
                        Err(ReadErrorKind::Unmapped)
                    ),
                    false => assert_eq!(read, Ok(number)),
                }
                let end = at.plus(CHUNK - 8);
                assert_eq!(reader.u64_at(end), Ok(number), "another page of the chunk");
            }
        }
    }
}

#[test]
fn a_process_that_is_gone_ends_a_look() {
    struct Gone;
    impl ReadMemory for Gone {
        fn read_exact(&self, at: RemoteAddr, into: &mut [u8]) -> Result<(), ReadError> {
            let (len, kind) = (into.len(), ReadErrorKind::ProcessGone);
            Err(ReadError { at, len, kind })
        }
    }
    let (memory, start) = Changing::chunks(3);
    let trail = touch_all(&mut Reader::new(&memory, Limits::default()), start, 3);
    let mut reader = Reader::new(&Gone, Limits::default());
    let begun = reader.begin_whole_look(trail);
    assert_eq!(
        begun.map_err(|error| error.kind),
        Err(ReadErrorKind::ProcessGone)
    );
}

/// A ring that grows keeps what it holds, wherever its memory comes to lie.
#[test]
fn copies_outlive_the_growth_of_the_ring() {
    const N: u64 = 300;
    let (memory, start) = Changing::chunks(N);
    let mut reader = Reader::new(&memory, Limits::default());
    let trail = touch_all(&mut reader, start, N);
    assert_eq!(reader.u64_at(start), Ok(0));
    reader
        .begin_look(Trail::default())
        .expect("nothing is read");
    assert_eq!(reader.u64_at(start), Ok(0));
    memory.put(start, 1_000);
    // The same look, in a larger ring.
    let copied = reader.moment(start, 8);
    for _ in 0..4 {
        for number in 1..N {
            assert_eq!(reader.u64_at(start.plus(number * CHUNK)), Ok(number));
        }
    }
    assert!(copied.is_not_after(reader.moment(start.plus(CHUNK), 8)));
    reader.begin_whole_look(trail).expect("it can be read");
    assert_eq!(reader.u64_at(start), Ok(1_000));
}
