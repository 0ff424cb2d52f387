//! Decides in which order the keys of one owner are written.
//!
//! Commands are numbered by generation, and the oldest goes first. Within a generation puts come
//! before deletes, so that traffic finds its new home before it loses its old one, and what announces
//! that the rest is complete comes last.

use std::collections::VecDeque;

use super::Key;
use crate::measures::Backlog;

/// The keys of one owner that differ, or may differ, from the store.
#[derive(Debug, Default)]
pub(super) struct Lane {
    puts: VecDeque<Item>,
    deletes: VecDeque<Item>,
    announcements: VecDeque<Item>,
    /// Whether it waits for its turn.
    pub(super) is_waiting: bool,
    /// Counts what waits here.
    pub(super) backlog: Backlog,
}

/// A key that is to be written, and since which generation.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) generation: u64,
    pub(super) key: Key,
}

/// Where a key waits, if it does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Queue {
    #[default]
    None,
    Puts,
    Deletes,
    Announcements,
}

impl Lane {
    pub(super) fn new(backlog: Backlog) -> Self {
        Self {
            backlog,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, queue: Queue, item: Item) {
        if let Some(queue) = self.queue(queue) {
            queue.push_back(item);
        }
    }

    pub(super) fn pop(&mut self, queue: Queue) {
        if let Some(queue) = self.queue(queue) {
            queue.pop_front();
        }
    }

    /// The key to write next. A key that waits elsewhere by now, as `queue_of` says, is dropped.
    pub(super) fn front(&mut self, queue_of: impl Fn(&Key) -> Queue) -> Option<(Queue, Item)> {
        for queue in QUEUES {
            let items = self.queue(queue)?;
            while items.front().is_some_and(|it| queue_of(&it.key) != queue) {
                items.pop_front();
            }
        }
        let front = |queue, items: &VecDeque<Item>| Some((queue, items.front()?.clone()));
        let fronts = [
            front(Queue::Puts, &self.puts),
            front(Queue::Deletes, &self.deletes),
            front(Queue::Announcements, &self.announcements),
        ];
        // The first of equal ones wins.
        let fronts = fronts.into_iter().flatten();
        fronts.min_by_key(|(_, item)| item.generation)
    }

    /// Since when something waits here.
    pub(super) fn oldest_generation(&self) -> Option<u64> {
        let queues = [&self.puts, &self.deletes, &self.announcements];
        let fronts = queues.into_iter().filter_map(|it| it.front());
        fronts.map(|it| it.generation).min()
    }

    fn queue(&mut self, queue: Queue) -> Option<&mut VecDeque<Item>> {
        match queue {
            Queue::None => None,
            Queue::Puts => Some(&mut self.puts),
            Queue::Deletes => Some(&mut self.deletes),
            Queue::Announcements => Some(&mut self.announcements),
        }
    }
}

const QUEUES: [Queue; 3] = [Queue::Puts, Queue::Deletes, Queue::Announcements];

/// A transaction on its way to the store.
#[derive(Debug, Default)]
pub(super) struct Flight {
    pub(super) number: u64,
    pub(super) keys: Vec<Key>,
    /// Of each lane on board: its number, and its oldest and newest generation.
    lanes: Vec<(usize, u64, u64)>,
}

impl Flight {
    pub(super) fn board(&mut self, lane: usize, item: Item) {
        let generation = item.generation;
        match self.lanes.iter_mut().find(|it| it.0 == lane) {
            Some((_, oldest, newest)) => {
                *oldest = generation.min(*oldest);
                *newest = generation.max(*newest);
            }
            None => self.lanes.push((lane, generation, generation)),
        }
        self.keys.push(item.key);
    }

    /// Whether a key must wait for this to land, because of what must be seen before it.
    pub(super) fn delays(&self, lane: usize, queue: Queue, generation: u64) -> bool {
        let on_board = self.lanes.iter().find(|it| it.0 == lane);
        on_board.is_some_and(|(_, oldest, newest)| match queue {
            Queue::None | Queue::Puts => false,
            Queue::Deletes => (*oldest..=*newest).contains(&generation),
            Queue::Announcements => *oldest <= generation,
        })
    }

    pub(super) fn oldest_generation(&self) -> Option<u64> {
        self.lanes.iter().map(|it| it.1).min()
    }
}
