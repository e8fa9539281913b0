//! The streams of one connection, and what is still known of those that are over (RFC 9113 §5.1).

use super::flow::Receiving;
use std::cell::Cell;
use std::collections::VecDeque;

/// How many of those that are over are remembered.
const REMEMBERED: usize = 256;

/// One that is open, or half of it.
#[derive(Debug)]
pub(super) struct Stream {
    pub id: u32,
    /// What the owner calls it.
    pub tag: u64,
    /// What we may send, in bytes.
    pub window: i64,
    pub receiving: Receiving,
    /// Content that the owner has and has not taken yet.
    pub untaken: usize,
    /// How long the content is said to be, and how long it is so far.
    pub expected: Option<u64>,
    pub received: u64,
    /// The client has ended its side.
    pub ended: bool,
    /// We have ended ours.
    pub answered: bool,
}

/// How a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Past {
    /// We took it back: the client may send more before it knows.
    Reset,
    /// In another way, after which nothing may come.
    Closed,
}

#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Ordered by number, which they come in.
    open: VecDeque<Stream>,
    past: VecDeque<(u32, Past)>,
    /// The highest number so far.
    pub last: u32,
    /// Where one was found last: mostly it is looked for again.
    hint: Cell<usize>,
}

impl Streams {
    pub fn len(&self) -> usize {
        self.open.len()
    }

    fn place(&self, id: u32) -> Option<usize> {
        let hint = self.hint.get();
        if self.open.get(hint).is_some_and(|stream| stream.id == id) {
            return Some(hint);
        }
        let place = self.open.binary_search_by_key(&id, |stream| stream.id).ok()?;
        self.hint.set(place);
        Some(place)
    }

    pub fn get(&self, id: u32) -> Option<&Stream> {
        self.open.get(self.place(id)?)
    }

    pub fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        let place = self.place(id)?;
        self.open.get_mut(place)
    }

    /// Adds one whose number is higher than all before.
    pub fn push(&mut self, stream: Stream) {
        debug_assert!(self.open.back().is_none_or(|last| last.id < stream.id), "numbers only grow");
        self.hint.set(self.open.len());
        self.open.push_back(stream);
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.open.iter_mut()
    }

    /// It is over.
    pub fn remove(&mut self, id: u32, how: Past) -> Option<Stream> {
        let place = self.place(id)?;
        let stream = self.open.remove(place);
        self.remember(id, how);
        stream
    }

    pub fn remember(&mut self, id: u32, how: Past) {
        if self.past.len() == REMEMBERED {
            self.past.pop_front();
        }
        self.past.push_back((id, how));
    }

    /// How it ended, if that is known.
    pub fn past(&self, id: u32) -> Option<Past> {
        self.past.iter().rev().find(|(past, _)| *past == id).map(|(_, how)| *how)
    }
}
