//! Fills one transaction, lane by lane in turns.

use std::sync::Arc;

use super::lane::{Flight, Queue};
use super::{Key, Operation, Plan, Step};

/// Keys and values in one transaction: well below etcd's bound on a request, 1.5 MiB.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Keys that a lane may write before it is another's turn: a large share of a transaction, and small
/// enough that many busy lanes all have a part in each few.
const TURN_OPERATIONS_MAX: usize = 32;

impl Plan {
    /// Starts one transaction, or says what keeps it from starting.
    pub fn next_step(&mut self) -> Step {
        let mut batch = Batch {
            flight: Flight::default(),
            operations: Vec::new(),
            bytes: 0,
        };
        let mut delayed = Vec::new();
        let mut needs_lease = false;
        while let Some(lane) = self.turns.pop_front() {
            match self.take_turn(lane, &mut batch) {
                Turn::Delayed => delayed.push(lane),
                Turn::Done => self.turns.push_back(lane),
                Turn::Empty => self.lanes[lane].is_waiting = false,
                Turn::Full => {
                    self.turns.push_front(lane);
                    break;
                }
                Turn::NeedsLease => {
                    self.turns.push_front(lane);
                    needs_lease = true;
                    break;
                }
            }
        }
        self.turns.extend(delayed);
        if batch.operations.is_empty() {
            return if needs_lease { Step::Grant } else { Step::Idle };
        }
        self.flights_started += 1;
        batch.flight.number = self.flights_started;
        self.flights.push(batch.flight);
        Step::Write {
            number: self.flights_started,
            operations: batch.operations,
        }
    }

    fn take_turn(&mut self, number: usize, batch: &mut Batch) -> Turn {
        for _ in 0..TURN_OPERATIONS_MAX {
            let rows = &self.rows;
            let queue_of = |key: &Key| rows.get(key).map_or(Queue::None, |it| it.queue);
            let Some((queue, item)) = self.lanes[number].front(queue_of) else {
                return Turn::Empty;
            };
            let Some(row) = self.rows.get_mut(&item.key) else {
                return Turn::Empty;
            };
            let mut flights = self.flights.iter();
            if row.is_in_flight || flights.any(|it| it.delays(number, queue, item.generation)) {
                return Turn::Delayed;
            }
            let value_bytes = row.desired.as_ref().map_or(0, |it| it.len());
            if !batch.has_room(item.key.len() + value_bytes, self.operations_max) {
                return Turn::Full;
            }
            let key = Arc::clone(&item.key);
            let operation = match &row.desired {
                Some(value) => {
                    let Some(lease) = self.leases.take(row.lease) else {
                        return Turn::NeedsLease;
                    };
                    row.lease = lease;
                    let value = Arc::clone(value);
                    Operation::Put { key, value, lease }
                }
                None => {
                    self.leases.release(std::mem::take(&mut row.lease));
                    Operation::Delete { key }
                }
            };
            row.queue = Queue::None;
            row.is_in_flight = true;
            batch.operations.push(operation);
            batch.bytes += item.key.len() + value_bytes;
            let lane = &mut self.lanes[number];
            lane.pop(queue);
            lane.backlog.leave(&item.key);
            batch.flight.board(number, item);
        }
        Turn::Done
    }
}

/// One transaction being filled.
struct Batch {
    flight: Flight,
    operations: Vec<Operation>,
    bytes: usize,
}

impl Batch {
    fn has_room(&self, bytes: usize, operations_max: usize) -> bool {
        self.operations.is_empty()
            || (self.operations.len() < operations_max && self.bytes + bytes <= BATCH_BYTES_MAX)
    }
}

/// How a lane's turn ended.
enum Turn {
    /// Its next key waits for a transaction on its way.
    Delayed,
    /// It had its share.
    Done,
    Empty,
    /// The transaction has no room left.
    Full,
    NeedsLease,
}
