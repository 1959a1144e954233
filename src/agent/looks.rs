//! How much of the machine may be looked at to find out what somebody may ask for: each thread of each process has user
//! ids of its own, and whoever asks may have very many threads.

use crate::limits::Stop;

/// The looks at threads that a request still has.
#[derive(Debug)]
pub struct Looks {
    left: u32,
    stop: Stop,
    ended: Option<LooksEnded>,
}

/// Why no more threads are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LooksEnded {
    /// There were more of them than may be looked at for a request.
    TooMany,
    /// It took too long.
    Stopped,
}

impl Looks {
    /// At so many threads, and at none once `stop` says so.
    pub fn new(at_most: u32, stop: &Stop) -> Self {
        Self {
            left: at_most,
            stop: stop.clone(),
            ended: None,
        }
    }

    /// Takes one. If there is none, that is remembered: what was found out then is not whole.
    pub fn take(&mut self) -> bool {
        if self.left == 0 {
            self.ended.get_or_insert(LooksEnded::TooMany);
        }
        self.left = self.left.saturating_sub(1);
        self.go_on()
    }

    /// Whether to go on at all; likewise.
    pub fn go_on(&mut self) -> bool {
        if self.stop.is_stopped() {
            self.ended.get_or_insert(LooksEnded::Stopped);
        }
        self.ended.is_none()
    }

    /// Why one was not to be had, if that was so.
    pub fn ended(&self) -> Option<LooksEnded> {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_end() {
        let stop = Stop::default();
        let mut looks = Looks::new(2, &stop);
        assert!(looks.take() && looks.take() && looks.ended().is_none());
        assert!(!looks.take());
        stop.stop();
        assert!(!looks.take());
        assert_eq!(looks.ended(), Some(LooksEnded::TooMany), "that came first");
        let mut looks = Looks::new(2, &stop);
        assert!(!looks.go_on());
        assert_eq!(looks.ended(), Some(LooksEnded::Stopped));
    }
}
