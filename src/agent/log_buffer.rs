//! The lines of the log that wait to be written, by a thread of its own: whoever reads the log may stand still, and the
//! disk may be full. They are bounded in bytes. What is too much is lost, counted, and told as soon as there is room.

use super::{log_share, told};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tracing::Metadata;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that wait.
const BYTES_MAX: usize = 4 << 20;
/// Lines that wait, each of which takes a place of the channel, and some memory beside its text.
const LINES_MAX: usize = 10_000;
/// What a short line counts as, so that the channel is never full: it does not tell what it loses.
const LINE_BYTES_MIN: usize = BYTES_MAX.div_ceil(LINES_MAX);
const _: () = assert!(BYTES_MAX / LINE_BYTES_MIN <= LINES_MAX);
/// Bytes that lines about processes may have of it: they must not push out who was answered what.
const OF_PROCESSES_MAX: usize = BYTES_MAX / 2;
/// What was lost is told when no more wait than this, so that a log that is too slow has few such lines.
const TELL_BELOW: usize = BYTES_MAX / 4;

/// Where lines are put.
#[derive(Debug)]
pub(super) struct LogBuffer {
    lines: NonBlocking,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Bytes that wait, those included that are being written.
    waiting: AtomicUsize,
    lost: AtomicU64,
}

/// How many lines were lost.
#[derive(Debug)]
pub(super) struct Lost(Arc<Counts>);

impl LogBuffer {
    /// Starts the thread, which ends when the guard is dropped.
    pub(super) fn start(writer: impl io::Write + Send + 'static) -> (Self, WorkerGuard) {
        let counts = Arc::<Counts>::default();
        let writer = Writing {
            writer,
            counts: Arc::clone(&counts),
            n_told: 0,
        };
        let (lines, guard) = NonBlockingBuilder::default()
            // One for the word that it is over.
            .buffered_lines_limit(LINES_MAX + 1)
            .lossy(true)
            .thread_name("log")
            .finish(writer);
        (Self { lines, counts }, guard)
    }

    pub(super) fn lost(&self) -> Lost {
        Lost(Arc::clone(&self.counts))
    }
}

impl Lost {
    /// How many so far.
    pub(super) fn count(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

impl Counts {
    /// Makes room for a line, if there is any.
    fn take(&self, line: &[u8], bytes_max: usize) -> bool {
        let bytes = cost(line);
        let add = |waiting: usize| {
            let waiting = waiting.checked_add(bytes)?;
            (waiting <= bytes_max).then_some(waiting)
        };
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.waiting.fetch_update(set, fetch, add).is_ok()
    }

    /// Gives it back; returns how much still waits.
    fn give_back(&self, line: &[u8]) -> usize {
        let bytes = cost(line);
        let before = self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        before.saturating_sub(bytes)
    }

    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

fn cost(line: &[u8]) -> usize {
    line.len().max(LINE_BYTES_MIN)
}

impl<'a> MakeWriter<'a> for LogBuffer {
    type Writer = Waiting<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Waiting {
            buffer: self,
            bytes_max: BYTES_MAX,
        }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        let of_processes = [told::MODULE, log_share::MODULE];
        Waiting {
            buffer: self,
            bytes_max: match of_processes.contains(&meta.target()) {
                true => OF_PROCESSES_MAX,
                false => BYTES_MAX,
            },
        }
    }
}

/// Takes one line.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    buffer: &'a LogBuffer,
    bytes_max: usize,
}

impl io::Write for Waiting<'_> {
    /// Each line is one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let LogBuffer { lines, counts } = self.buffer;
        match counts.take(line, self.bytes_max) {
            true => lines.clone().write(line),
            false => {
                counts.lose();
                Ok(line.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes lines and counts those that cannot be written: whoever calls it passes over errors.
#[derive(Debug)]
struct Writing<W> {
    writer: W,
    counts: Arc<Counts>,
    /// Lost lines that were told.
    n_told: u64,
}

impl<W: io::Write> io::Write for Writing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    /// Each line is one call.
    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.writer.write_all(line);
        let waiting = self.counts.give_back(line);
        if written.is_err() {
            self.counts.lose();
            return written;
        }
        let n_lost = self.counts.lost.load(Ordering::Relaxed);
        let lines = n_lost.saturating_sub(self.n_told);
        if lines > 0 && waiting <= TELL_BELOW {
            self.n_told = n_lost;
            // It waits behind the others, as all lines do.
            tracing::warn!(
                lines,
                "lines of the log were lost: nobody took them in time, or they could not be written"
            );
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::sync::mpsc;

    /// Takes a line only when it is told to.
    struct Slow(mpsc::Receiver<()>);

    impl io::Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_and_leaves_room_for_others() {
        let (go_on, turn) = mpsc::channel();
        let (buffer, guard) = LogBuffer::start(Slow(turn));
        let lost = buffer.lost();
        let put = |bytes_max, line: &[u8]| {
            let buffer = &buffer;
            Waiting { buffer, bytes_max }.write_all(line).unwrap();
        };
        let long = vec![b'x'; 1 << 20];
        for _ in 0..3 {
            put(OF_PROCESSES_MAX, &long);
        }
        assert_eq!(lost.count(), 1, "half of it is for others");
        for _ in 0..3 {
            put(BYTES_MAX, &long);
        }
        assert_eq!(lost.count(), 2);
        put(BYTES_MAX, b"short\n");
        assert_eq!(lost.count(), 3);
        // What is written makes room.
        go_on.send(()).unwrap();
        while buffer.counts.waiting.load(Ordering::Relaxed) > 3 << 20 {
            std::thread::yield_now();
        }
        // Short lines take memory beside their text: the channel is never full.
        let n = (1 << 20) / LINE_BYTES_MIN;
        for _ in 0..n {
            put(BYTES_MAX, b"short\n");
        }
        assert_eq!(lost.count(), 3);
        put(BYTES_MAX, b"short\n");
        assert_eq!(lost.count(), 4);
        drop(go_on);
        drop(guard);
        assert_eq!(buffer.counts.waiting.load(Ordering::Relaxed), 0);
    }
}
