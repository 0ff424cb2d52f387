//! The same random commands to our server and to etcd: every answer and every event must be equal.
//!
//! Commands that only read go out side by side, as their order does not matter; several lanes, each
//! with two servers of its own, keep the machine busy while one of them waits.

mod answer;
mod command;
mod observer;

use std::time::Duration;

use etcd_client::Client;
use futures_util::future::join_all;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use crate::support::{Kind, Running};
use answer::Answer;
use command::{Command, LAST_KEY, MARK_KEY};
use observer::Observer;

/// `DIFFERENTIAL_COMMANDS` asks for more, `DIFFERENTIAL_SEED` for those of a former run.
const COMMANDS: u64 = 100_000;
const LANES: u64 = 3;

/// Commands that may go out side by side.
const BATCH_MAX: usize = 32;

#[test]
fn answers_as_etcd_does() {
    let commands = variable("DIFFERENTIAL_COMMANDS").unwrap_or(COMMANDS);
    let seed = variable("DIFFERENTIAL_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}, {commands} commands");
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            scope.spawn(move || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                runtime.block_on(Lane::run(seed ^ lane, commands.div_ceil(LANES)));
            });
        }
    });
}

/// One pair of servers, and the commands that both get.
struct Lane {
    seed: u64,
    random: SmallRng,
    clients: [Client; 2],
    observers: [Observer; 2],
    /// The revision after the last write.
    head: i64,
    sent: u64,
    /// How often a mark was written.
    marks: usize,
}

impl Lane {
    async fn run(seed: u64, commands: u64) {
        let (ours, theirs) =
            tokio::join!(Running::start(Kind::Embedded), Running::start(Kind::Etcd));
        let mut clients = [ours.client().await, theirs.client().await];
        let observers = [
            Observer::start(&mut clients[0]).await,
            Observer::start(&mut clients[1]).await,
        ];
        let mut lane = Self {
            seed,
            random: SmallRng::seed_from_u64(seed),
            clients,
            observers,
            head: 1,
            sent: 0,
            marks: 0,
        };
        while lane.sent < commands {
            lane.step().await;
        }
        lane.compare_events().await;
    }

    async fn step(&mut self) {
        let mut batch = Vec::new();
        let last = loop {
            let command = command::random(&mut self.random, self.head);
            if !command.only_reads() {
                break Some(command);
            }
            batch.push(command);
            if batch.len() == BATCH_MAX {
                break None;
            }
        };
        self.send(batch).await;
        if let Some(command) = last {
            if matches!(command, Command::Compact(_)) {
                // A watch that has yet to see what is compacted would end, rightly.
                for command in Command::sign(MARK_KEY) {
                    self.send(vec![command]).await;
                }
                self.marks += 1;
                for observer in &mut self.observers {
                    observer.catch_up(self.marks).await;
                }
            }
            self.send(vec![command]).await;
        }
    }

    async fn send(&mut self, commands: Vec<Command>) {
        let [ours, theirs] = self.clients.clone();
        let (ours, theirs) = tokio::join!(
            answers(ours, commands.clone()),
            answers(theirs, commands.clone())
        );
        for (command, (ours, theirs)) in commands.iter().zip(ours.iter().zip(&theirs)) {
            assert_eq!(
                ours, theirs,
                "seed {}, command {}: {command:?}",
                self.seed, self.sent
            );
            self.sent += 1;
            self.head = self.head.max(ours.revision());
        }
    }

    async fn compare_events(self) {
        let [ours, theirs] = self.clients;
        let (ours, theirs) = tokio::join!(put_last(ours), put_last(theirs));
        assert_eq!(ours, theirs, "seed {}", self.seed);
        let [ours, theirs] = self.observers;
        let (ours, theirs) = (ours.finish().await, theirs.finish().await);
        for (index, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            assert!(!ours.is_empty());
            for (number, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                assert_eq!(
                    ours, theirs,
                    "seed {}, watch {index}, event {number}",
                    self.seed
                );
            }
            assert_eq!(
                ours.len(),
                theirs.len(),
                "seed {}, watch {index}",
                self.seed
            );
        }
    }
}

/// Those of commands that go out side by side.
async fn answers(client: Client, commands: Vec<Command>) -> Vec<Answer> {
    let mut requests = Vec::new();
    for command in commands {
        requests.push(command.run(client.clone()));
    }
    join_all(requests).await
}

async fn put_last(client: Client) -> Vec<Answer> {
    let mut answers = Vec::new();
    for command in Command::sign(LAST_KEY) {
        answers.push(command.run(client.clone()).await);
    }
    answers
}

/// Whatever a whole watch may take at the end.
const FINISH: Duration = Duration::from_secs(60);

#[expect(
    clippy::disallowed_methods,
    reason = "how long the test runs is the caller's business"
)]
fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} must be a number")),
    )
}
