//! The end that is asked: it does what a fresh question asks, once, and says so when its device has
//! done it.

use std::time::{Duration, Instant};

use super::message::{Body, Message, Nonce};
use super::pair::{Core, common};
use super::secret::{answer, nonce};
use crate::preshared::Choice;

/// Who wants to be asked says so this often.
const NUDGE: Duration = Duration::from_secs(10);

/// Nobody asked for so long: the other end does not speak this.
const UNHEARD: Duration = Duration::from_secs(30);

/// Answers in a second; a pair that agrees needs four.
const ANSWERS_PER_SECOND_MAX: u32 = 10;

pub(super) struct Follower {
    /// What the next question must repeat in order to change anything.
    fresh: Nonce,
    /// The last question that was answered, and how.
    answered: Option<(Nonce, Vec<u8>)>,
    /// What to answer once the device has what it should.
    pending: Option<(Nonce, Body)>,
    next_nudge: Instant,
    heard: Instant,
    second: Instant,
    answers: u32,
}

impl Follower {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            fresh: nonce(),
            answered: None,
            pending: None,
            next_nudge: now,
            heard: now,
            second: now,
            answers: 0,
        }
    }

    pub(super) fn is_unheard(&self, now: Instant) -> bool {
        self.heard + UNHEARD <= now
    }

    pub(super) fn handle_view(&mut self, core: &mut Core) {
        if core.is_in_force()
            && let Some((nonce, body)) = self.pending.take()
        {
            self.answer(nonce, body, core);
        }
    }

    pub(super) fn due(&self, core: &Core) -> Option<Instant> {
        (core.agreed.is_none() && core.may_speak()).then_some(self.next_nudge)
    }

    /// Without a secret that this process has seen made, it asks to be asked.
    pub(super) fn handle_timeout(&mut self, core: &mut Core, now: Instant) {
        if core.agreed.is_none() && core.may_speak() && self.next_nudge <= now {
            self.next_nudge = now + NUDGE;
            core.send(nonce(), Nonce::default(), Body::Nudge);
        }
    }

    pub(super) fn handle(&mut self, message: Message, core: &mut Core, now: Instant) -> bool {
        if !matches!(
            message.body,
            Body::Hello | Body::Offer { .. } | Body::Promote
        ) || !self.may_answer(now)
        {
            return false;
        }
        self.heard = now;
        if let Some((nonce, bytes)) = &self.answered
            && *nonce == message.nonce
        {
            core.send_again(bytes);
            return false;
        }
        if !core.may_speak() {
            return false;
        }
        let is_fresh = message.echo == self.fresh && self.fresh != Nonce::default();
        // Whatever was said before this question changes nothing any more.
        self.fresh = nonce();
        let ours = core.held();
        let asked = message.nonce;
        match message.body {
            Body::Offer { key, files } if is_fresh && message.held.main == ours.main => {
                let Some(file) = common(&core.ends, &core.view.files, &files) else {
                    core.differs = true;
                    self.answer(asked, Body::Differ, core);
                    return false;
                };
                let Some((ciphertext, secret)) = answer(&key, &core.ends, file) else {
                    return false;
                };
                core.differs = false;
                core.orders.alternate = Some(Choice::Agreed(secret));
                core.is_settling = false;
                self.pending = Some((asked, Body::Answer(ciphertext)));
                false
            }
            Body::Promote if is_fresh && ours.alternate == Some(message.held.main) => {
                core.swap();
                core.is_settling = true;
                core.agreed = core.is_agreed().then_some((now, core.ends));
                self.pending = Some((asked, Body::State));
                core.agreed.is_some()
            }
            Body::Answer(_)
            | Body::Differ
            | Body::Hello
            | Body::Nudge
            | Body::Offer { .. }
            | Body::Promote
            | Body::State => {
                self.answer(asked, Body::State, core);
                false
            }
        }
    }

    fn answer(&mut self, asked: Nonce, body: Body, core: &mut Core) {
        let bytes = core.send(self.fresh, asked, body);
        self.answered = Some((asked, bytes));
    }

    fn may_answer(&mut self, now: Instant) -> bool {
        if self.second + Duration::from_secs(1) <= now {
            self.second = now;
            self.answers = 0;
        }
        self.answers += 1;
        self.answers <= ANSWERS_PER_SECOND_MAX
    }
}
