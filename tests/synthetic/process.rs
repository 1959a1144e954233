//! A small Python process made up by hand, with a layout of its own. It uses none of the readers'
//! tables, so a mistake there shows.

use asyncio_agent::asyncio::{Knowledge, Read, Stillness, Workspace, find_asyncio, read_graph};
use asyncio_agent::cpython::{Modules, OffsetsError, RUNTIME_SECTION, RuntimeSite, find_runtime};
use asyncio_agent::elf::{ElfImage, Section};
use asyncio_agent::graph::text;
use asyncio_agent::limits::Limits;
use asyncio_agent::memory::{Reader, RemoteAddr, SynthMemory};
use asyncio_agent::procfs::{Maps, parse_maps};

/// Where this process keeps its fields. Deliberately not where any real build has them.
pub(crate) mod layout {
    pub(crate) const RUNTIME_SIZE: u64 = 4096;
    pub(crate) const INTERPRETERS_HEAD: u64 = 1024;
    pub(crate) const INTERPRETER_SIZE: u64 = 1536;
    pub(crate) const INTERPRETER_ID: u64 = 96;
    pub(crate) const INTERPRETER_NEXT: u64 = 104;
    pub(crate) const THREADS_HEAD: u64 = 112;
    pub(crate) const IMPORTS: u64 = 120;
    pub(crate) const INTERPRETER_TASKS: u64 = 1200;
    pub(crate) const THREAD_SIZE: u64 = 256;
    pub(crate) const THREAD_NEXT: u64 = 16;
    pub(crate) const THREAD_INTERP: u64 = 24;
    pub(crate) const THREAD_NATIVE: u64 = 200;
    pub(crate) const THREAD_IMPL_SIZE: u64 = 400;
    pub(crate) const RUNNING_LOOP: u64 = 300 + 4;
    pub(crate) const RUNNING_TASK: u64 = 312;
    pub(crate) const THREAD_TASKS: u64 = 320;
    pub(crate) const TYPE_NAME: u64 = 40;
    pub(crate) const TYPE_FLAGS: u64 = 48;
    pub(crate) const GEN_STATE: u64 = 35;
    pub(crate) const GEN_FRAME: u64 = 64;
    pub(crate) const FRAME_EXECUTABLE: u64 = 8;
    pub(crate) const FRAME_INSTR: u64 = 24;
    pub(crate) const FRAME_OWNER: u64 = 33;
    pub(crate) const FRAME_STACK: u64 = 40;
    pub(crate) const FRAME_LOCALS: u64 = 56;
    pub(crate) const CODE_SIZE: u64 = 192;
    pub(crate) const CODE_FILE: u64 = 32;
    pub(crate) const CODE_QUALNAME: u64 = 40;
    pub(crate) const CODE_LINES: u64 = 48;
    pub(crate) const CODE_FIRST_LINE: u64 = 100;
    pub(crate) const CODE_START: u64 = 184;
    pub(crate) const TASK_SIZE: u64 = 200;
    pub(crate) const TASK_NAME: u64 = 24;
    pub(crate) const TASK_AWAITED_BY: u64 = 32;
    pub(crate) const TASK_IS_TASK: u64 = 84;
    pub(crate) const TASK_IS_SET: u64 = 92;
    pub(crate) const TASK_CORO: u64 = 112;
    pub(crate) const TASK_NODE: u64 = 160;
    pub(crate) const SET_USED: u64 = 32;
    pub(crate) const SET_MASK: u64 = 40;
    pub(crate) const SET_TABLE: u64 = 24;
}
use layout::*;

pub(crate) const HEAPTYPE: u64 = 1 << 9;
pub(crate) const LONG: u64 = 1 << 24;
pub(crate) const UNICODE: u64 = 1 << 28;

/// A made-up process and the places in it that tests damage.
pub(crate) struct Synth {
    pub(crate) memory: SynthMemory,
    pub(crate) maps: Maps,
    pub(crate) runtime: RemoteAddr,
    pub(crate) asyncio_table: RemoteAddr,
    pub(crate) interpreter: RemoteAddr,
    pub(crate) thread: RemoteAddr,
    pub(crate) types: Types,
    /// Task objects in the order of their creation.
    pub(crate) tasks: Vec<RemoteAddr>,
    pub(crate) coroutines: Vec<RemoteAddr>,
    pub(crate) codes: Vec<RemoteAddr>,
}

#[derive(Clone, Copy)]
pub(crate) struct Types {
    pub(crate) coroutine: RemoteAddr,
    pub(crate) code: RemoteAddr,
    pub(crate) text: RemoteAddr,
    pub(crate) int: RemoteAddr,
    pub(crate) set: RemoteAddr,
    pub(crate) future_iter: RemoteAddr,
    pub(crate) future: RemoteAddr,
}

pub(crate) fn make_type(memory: &mut SynthMemory, name: &str, flags: u64) -> RemoteAddr {
    let text = memory.alloc(64);
    memory.put(text, name.as_bytes());
    let at = memory.alloc(64);
    memory.put_addr(at.plus(TYPE_NAME), text);
    memory.put_u64(at.plus(TYPE_FLAGS), flags);
    at
}

pub(crate) fn object(memory: &mut SynthMemory, kind: RemoteAddr, size: u64) -> RemoteAddr {
    let at = memory.alloc(size);
    memory.put_addr(at.plus(8), kind);
    at
}

/// The table of debug offsets, positions as CPython 3.14 has them.
pub(crate) fn debug_offsets(memory: &mut SynthMemory, at: RemoteAddr) {
    memory.put(at, b"xdebugpy");
    let words: &[(u64, u64)] = &[
        (8, 0x030e_0af0),
        (16, 0),
        (24, RUNTIME_SIZE),
        (32, 8),
        (40, INTERPRETERS_HEAD),
        (48, INTERPRETER_SIZE),
        (56, INTERPRETER_ID),
        (64, INTERPRETER_NEXT),
        (72, THREADS_HEAD),
        (96, IMPORTS),
        (176, THREAD_SIZE),
        (192, THREAD_NEXT),
        (200, THREAD_INTERP),
        (208, 32),
        (216, 40),
        (224, THREAD_NATIVE),
        (248, 64),
        (256, 16),
        (264, FRAME_EXECUTABLE),
        (272, FRAME_INSTR),
        (280, FRAME_LOCALS),
        (288, FRAME_OWNER),
        (296, FRAME_STACK),
        (304, 0),
        (312, CODE_SIZE),
        (320, CODE_FILE),
        (336, CODE_QUALNAME),
        (344, CODE_LINES),
        (352, CODE_FIRST_LINE),
        (384, CODE_START),
        (392, 0),
        (400, 16),
        (408, 8),
        (416, 64),
        (424, TYPE_NAME),
        (440, TYPE_FLAGS),
        (448, 40),
        (456, 32),
        (464, 16),
        (472, 40),
        (480, 24),
        (488, 16),
        (496, 64),
        (504, SET_USED),
        (512, SET_TABLE),
        (520, SET_MASK),
        (528, 64),
        (536, 24),
        (568, 32),
        (576, 16),
        (584, 24),
        (592, 40),
        (600, 16),
        (608, 32),
        (616, 64),
        (624, 32),
        (632, 16),
        (640, 40),
        (664, 128),
        (680, GEN_FRAME),
        (688, GEN_STATE),
        (696, 0),
        (704, 8),
        (752, 512),
    ];
    for (place, value) in words {
        memory.put_u64(at.plus(*place), *value);
    }
}

pub(crate) fn asyncio_table(memory: &mut SynthMemory, at: RemoteAddr) {
    let words = [
        TASK_SIZE,
        TASK_NAME,
        TASK_AWAITED_BY,
        TASK_IS_TASK,
        TASK_IS_SET,
        TASK_CORO,
        TASK_NODE,
        INTERPRETER_SIZE,
        INTERPRETER_TASKS,
        THREAD_IMPL_SIZE,
        RUNNING_LOOP,
        RUNNING_TASK,
        THREAD_TASKS,
    ];
    for (index, word) in (0..).zip(words) {
        memory.put_u64(at.plus(8 * index), word);
    }
}

impl Synth {
    /// One interpreter, one thread, no tasks.
    pub(crate) fn new() -> Self {
        let mut memory = SynthMemory::new();
        let types = Types {
            coroutine: make_type(&mut memory, "coroutine", 0),
            code: make_type(&mut memory, "code", 0),
            text: make_type(&mut memory, "str", UNICODE),
            int: make_type(&mut memory, "int", LONG),
            set: make_type(&mut memory, "set", 0),
            future_iter: make_type(&mut memory, "_asyncio.FutureIter", HEAPTYPE),
            future: make_type(&mut memory, "_asyncio.Future", HEAPTYPE),
        };
        // Data of a mapped file, so that it can be searched.
        let data = RemoteAddr::new(0x60_0000);
        let runtime = data.plus(0x100);
        let asyncio_at = data.plus(0x3000);
        memory.put(data, &[0; 0x4000]);
        debug_offsets(&mut memory, runtime);
        asyncio_table(&mut memory, asyncio_at);
        let interpreter = memory.alloc(INTERPRETER_SIZE);
        let thread = memory.alloc(THREAD_IMPL_SIZE);
        memory.put_addr(runtime.plus(INTERPRETERS_HEAD), interpreter);
        memory.put_addr(interpreter.plus(THREADS_HEAD), thread);
        memory.put_addr(thread.plus(THREAD_INTERP), interpreter);
        memory.put_u64(thread.plus(THREAD_NATIVE), 4242);
        for head in [
            interpreter.plus(INTERPRETER_TASKS),
            thread.plus(THREAD_TASKS),
        ] {
            memory.put_addr(head, head);
            memory.put_addr(head.plus(8), head);
        }
        let maps = parse_maps(b"600000-604000 rw-p 00000000 08:01 77 /opt/app/server\n");
        let maps = maps.expect("one mapping");
        Self {
            memory,
            maps,
            runtime,
            asyncio_table: asyncio_at,
            interpreter,
            thread,
            types,
            tasks: Vec::new(),
            coroutines: Vec::new(),
            codes: Vec::new(),
        }
    }

    pub(crate) fn text(&mut self, text: &str) -> RemoteAddr {
        let widest = text.chars().map(u32::from).max().unwrap_or(0);
        let (kind, bytes): (u32, Vec<u8>) = match widest {
            0..=0xff => (1, text.chars().flat_map(u8::try_from).collect()),
            0x100..=0xffff => (2, text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
            _ => (
                4,
                text.chars()
                    .flat_map(|c| u32::from(c).to_le_bytes())
                    .collect(),
            ),
        };
        let ascii = text.is_ascii();
        let at = object(&mut self.memory, self.types.text, 64 + bytes.len() as u64);
        self.memory
            .put_u64(at.plus(16), text.chars().count() as u64);
        let state = (kind << 2) | (1 << 5) | (u32::from(ascii) << 6);
        self.memory.put(at.plus(32), &state.to_le_bytes());
        self.memory
            .put(at.plus(if ascii { 40 } else { 56 }), &bytes);
        at
    }

    pub(crate) fn int(&mut self, value: u32) -> RemoteAddr {
        let at = object(&mut self.memory, self.types.int, 32);
        self.memory.put_u64(at.plus(16), 1 << 3);
        self.memory.put(at.plus(24), &value.to_le_bytes());
        at
    }

    /// A function of 20 code units at `line`, with two locals and a stack of three words.
    pub(crate) fn code(&mut self, name: &str, file: &str, line: u32) -> RemoteAddr {
        let (name, file) = (self.text(name), self.text(file));
        let at = object(&mut self.memory, self.types.code, CODE_SIZE + 40);
        let lines = self.memory.alloc(64);
        // Two entries of eight units on the first line, then one line further.
        let table = [
            0x80 | (13 << 3) | 7,
            0,
            0x80 | (13 << 3) | 7,
            0,
            0x80 | (13 << 3) | 7,
            2,
        ];
        self.memory.put_u64(lines.plus(16), table.len() as u64);
        self.memory.put(lines.plus(32), &table);
        self.memory.put_u64(at.plus(16), 20);
        self.memory.put_addr(at.plus(CODE_QUALNAME), name);
        self.memory.put_addr(at.plus(CODE_FILE), file);
        self.memory.put_addr(at.plus(CODE_LINES), lines);
        self.memory
            .put(at.plus(CODE_FIRST_LINE - 4), &3_u32.to_le_bytes());
        self.memory
            .put(at.plus(CODE_FIRST_LINE), &line.to_le_bytes());
        self.memory
            .put(at.plus(CODE_FIRST_LINE + 4), &2_u32.to_le_bytes());
        self.codes.push(at);
        at
    }

    /// A coroutine suspended in an await of `awaited`, at unit `unit` of `code`.
    pub(crate) fn coroutine(
        &mut self,
        code: RemoteAddr,
        unit: u64,
        awaited: RemoteAddr,
    ) -> RemoteAddr {
        let at = object(&mut self.memory, self.types.coroutine, 256);
        let frame = at.plus(GEN_FRAME);
        let stack = frame.plus(FRAME_LOCALS + 2 * 8);
        self.memory.put(at.plus(GEN_STATE), &[0xff]); // -1: awaiting, in 3.14
        self.memory
            .put_u64(frame.plus(FRAME_EXECUTABLE), code.as_u64() | 1);
        self.memory
            .put_addr(frame.plus(FRAME_INSTR), code.plus(CODE_START + 2 * unit));
        self.memory.put(frame.plus(FRAME_OWNER), &[1]);
        self.memory.put_addr(frame.plus(FRAME_STACK), stack.plus(8));
        self.memory.put_addr(stack, awaited);
        self.coroutines.push(at);
        at
    }

    pub(crate) fn future_iter(&mut self) -> RemoteAddr {
        let future = object(&mut self.memory, self.types.future, 128);
        let at = object(&mut self.memory, self.types.future_iter, 24);
        self.memory.put_addr(at.plus(16), future);
        at
    }

    /// Appends a task to the thread's list.
    pub(crate) fn task(&mut self, name: RemoteAddr, coroutine: RemoteAddr) -> RemoteAddr {
        let at = object(&mut self.memory, self.types.future, TASK_SIZE);
        self.memory.put_addr(at.plus(TASK_NAME), name);
        self.memory.put(at.plus(TASK_IS_TASK), &[1]);
        self.memory.put_addr(at.plus(TASK_CORO), coroutine);
        let head = self.thread.plus(THREAD_TASKS);
        let last = self.tasks.last().map_or(head, |task| task.plus(TASK_NODE));
        let node = at.plus(TASK_NODE);
        self.memory.put_addr(last, node);
        self.memory.put_addr(node.plus(8), last);
        self.memory.put_addr(node, head);
        self.memory.put_addr(head.plus(8), node);
        self.tasks.push(at);
        at
    }

    pub(crate) fn awaited_by_one(&mut self, task: RemoteAddr, awaiter: RemoteAddr) {
        self.memory.put_addr(task.plus(TASK_AWAITED_BY), awaiter);
    }

    pub(crate) fn awaited_by_set(
        &mut self,
        task: RemoteAddr,
        awaiters: &[RemoteAddr],
    ) -> RemoteAddr {
        let set = object(&mut self.memory, self.types.set, 64);
        let table = self.memory.alloc(8 * 16);
        self.memory
            .put_u64(set.plus(SET_USED), awaiters.len() as u64);
        self.memory.put_u64(set.plus(SET_MASK), 7);
        self.memory.put_addr(set.plus(SET_TABLE), table);
        // A deleted slot first: a dummy key with hash -1.
        self.memory.put_u64(table, 0x1234_5670);
        self.memory.put_u64(table.plus(8), u64::MAX);
        for (slot, awaiter) in (1_u64..).zip(awaiters) {
            self.memory.put_addr(table.plus(16 * slot), *awaiter);
            self.memory.put_u64(table.plus(16 * slot + 8), 99 + slot);
        }
        self.memory.put_addr(task.plus(TASK_AWAITED_BY), set);
        self.memory.put(task.plus(TASK_IS_SET), &[1]);
        set
    }

    /// main awaits worker 1 and 2; worker 1 awaits worker 2 as well, and has a default name.
    pub(crate) fn example() -> Self {
        let mut synth = Self::new();
        let main_code = synth.code("main", "/app/主.py", 10);
        let work_code = synth.code("Worker.run", "/app/work.py", 70);
        let leaf_code = synth.code("sleep", "/app/🎵.py", 700);
        for name in [
            synth_name("main"),
            SynthName::Number(7),
            synth_name("héllo"),
        ] {
            let iter = synth.future_iter();
            let leaf = synth.coroutine(leaf_code, 19, iter);
            let code = if synth.tasks.is_empty() {
                main_code
            } else {
                work_code
            };
            let outer = synth.coroutine(code, 3, leaf);
            let name = match name {
                SynthName::Text(text) => synth.text(text),
                SynthName::Number(number) => synth.int(number),
            };
            synth.task(name, outer);
        }
        let [main, one, two] = synth.tasks[..] else {
            panic!("three tasks were made")
        };
        synth.awaited_by_one(one, main);
        synth.awaited_by_set(two, &[main, one]);
        synth
    }

    /// The runtime, found by the section of the one mapped file.
    pub(crate) fn site(&self) -> Result<Option<RuntimeSite>, OffsetsError> {
        let section = Section {
            name: RUNTIME_SECTION.to_owned(),
            addr: 0x100,
        };
        let image = ElfImage {
            base: 0,
            sections: vec![section],
        };
        let mut modules = Modules::new(&self.maps, |_| Some(image.clone()));
        find_runtime(&self.memory, &self.maps, &mut modules)
    }

    /// The runtime, found without any file.
    pub(crate) fn site_in_memory(&self) -> Result<Option<RuntimeSite>, OffsetsError> {
        let mut modules = Modules::new(&self.maps, |_| None);
        find_runtime(&self.memory, &self.maps, &mut modules)
    }

    /// Reads it as a process that slept; to read it as one that ran must end as well, and be right.
    pub(crate) fn read_with(&self, limits: Limits) -> Read {
        let read = self.walk(limits, Stillness::Slept(&mut || true));
        for ran in [Stillness::Slept(&mut || false), Stillness::Runs] {
            let again = self.walk(limits, ran);
            // To look more than once is more work.
            if again.n_problems == 0 {
                assert_eq!(text::print(&again.graph), text::print(&read.graph));
                assert_eq!(read.n_problems, 0);
            }
        }
        read
    }

    /// Reads it as a process that slept, of which more is told: awaits that CPython does not note.
    pub(crate) fn read_asleep(&self) -> Read {
        self.walk(Limits::default(), Stillness::Slept(&mut || true))
    }

    pub(crate) fn walk(&self, limits: Limits, stillness: Stillness<'_>) -> Read {
        let site = self.site().expect("a runtime").expect("a runtime");
        let mut modules = Modules::new(&self.maps, |_| None);
        let asyncio = find_asyncio(&self.memory, &self.maps, &mut modules, &site.offsets)
            .expect("a plausible table")
            .expect("a table");
        let mut reader = Reader::new(&self.memory, limits);
        let (knowledge, workspace) = (&mut Knowledge::default(), &mut Workspace::default());
        read_graph(
            &mut reader,
            &site,
            &asyncio,
            knowledge,
            workspace,
            stillness,
        )
        .expect("the memory does not go away")
    }

    pub(crate) fn read(&self) -> Read {
        let read = self.read_with(Limits::default());
        for ran in [Stillness::Slept(&mut || false), Stillness::Runs] {
            let again = self.walk(Limits::default(), ran);
            assert_eq!(text::print(&again.graph), text::print(&read.graph));
        }
        read
    }
}

pub(crate) enum SynthName {
    Text(&'static str),
    Number(u32),
}

pub(crate) fn synth_name(text: &'static str) -> SynthName {
    SynthName::Text(text)
}
