//! What is seen of the tasks of one snapshot, before it is known what that means.

use super::coroutines::Group;
use super::facts::TaskKey;
use super::held_up::{Speaker, Speakers};
use crate::graph::{TaskIdx, TextIdx};
use crate::ids::Tid;
use rustc_hash::{FxHashMap, FxHashSet};

/// What is seen of the tasks of a snapshot.
#[derive(Default)]
pub(super) struct Sight<'g> {
    pub(super) present: FxHashSet<TaskKey>,
    /// Threads of which a task is new or has gone on.
    pub(super) moved: FxHashSet<Tid>,
    /// Threads that execute a task.
    pub(super) busy: FxHashSet<Tid>,
    /// Of the others: one that may be told for all.
    pub(super) speakers: Speakers,
    /// Tasks that may be stuck.
    pub(super) candidates: Vec<(TaskKey, TaskIdx)>,
    /// By the names of their coroutines.
    pub(super) groups: FxHashMap<Option<TextIdx>, Group<'g>>,
}

impl Sight<'_> {
    /// Takes up a task of a thread, as one that may be told for it.
    pub(super) fn note_speaker(&mut self, tid: Tid, speaker: Speaker, is_running: bool) {
        if is_running {
            self.busy.insert(tid);
            self.speakers.remove(&tid);
        } else if tid != Tid(0) && !self.busy.contains(&tid) {
            speaker.note(&mut self.speakers, tid);
        }
    }
}
