//! The end that asks: it alone knows how far the two have come, from what the other answers.

use std::time::{Duration, Instant};

use super::message::{Body, FILES_MAX, Held, Message, Nonce};
use super::pair::Core;
use super::secret::{Offer, nonce};
use crate::preshared::Choice;

/// A question that gets no answer is repeated after it, so often.
const REPEAT: Duration = Duration::from_secs(1);
const REPEATS_MAX: u32 = 5;

/// How long to leave the other end alone after a failure; one who never answers is asked less often.
const PAUSE: Duration = Duration::from_secs(10);
const PAUSE_UNHEARD: Duration = Duration::from_secs(60);

/// Failures in a row after which the other end is taken for one that does not speak this.
const UNHEARD_FAILURES: u32 = 2;

pub(super) struct Leader {
    question: Option<Question>,
    next_try: Instant,
    /// The other end wants another secret.
    is_nudged: bool,
    /// Whether the other end has the same main secret, as far as its last answer goes.
    is_aligned: bool,
    failures: u32,
    last_agreement: Option<Instant>,
    /// What was agreed on is on its way to the device, as the alternate: it may be one that takes none.
    is_taking: bool,
}

struct Question {
    nonce: Nonce,
    bytes: Vec<u8>,
    sent: u32,
    repeat_at: Instant,
    offer: Option<Offer>,
}

impl Leader {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            question: None,
            next_try: now,
            is_nudged: false,
            is_aligned: false,
            failures: 0,
            last_agreement: None,
            is_taking: false,
        }
    }

    pub(super) fn is_unheard(&self) -> bool {
        UNHEARD_FAILURES <= self.failures
    }

    pub(super) fn handle_view(&mut self, core: &mut Core, now: Instant) {
        if self.is_taking && core.is_in_force() {
            self.is_taking = false;
            self.is_nudged = false;
            core.swap();
            core.agreed = Some((now, core.ends));
            self.last_agreement = Some(now);
        }
        // What is no longer in force must not be asked about any more.
        if !core.may_speak() {
            self.question = None;
        }
    }

    pub(super) fn due(&self, core: &Core) -> Option<Instant> {
        let question = self.question.as_ref().map(|it| it.repeat_at);
        let renewal = core.agreed.map(|(since, _)| since + core.renewal);
        let next = if self.is_restless() || core.agreed.is_none() {
            Some(self.next_try)
        } else {
            renewal.map(|it| it.max(self.next_try))
        };
        question.or_else(|| next.filter(|_| core.may_speak()))
    }

    pub(super) fn handle_timeout(&mut self, core: &mut Core, now: Instant) {
        if let Some(question) = &mut self.question {
            if now < question.repeat_at {
                return;
            }
            if question.sent < REPEATS_MAX {
                question.sent += 1;
                question.repeat_at = now + REPEAT;
                core.send_again(&question.bytes);
                return;
            }
            self.question = None;
            self.failures += 1;
            self.next_try = now
                + if self.is_unheard() {
                    PAUSE_UNHEARD
                } else {
                    PAUSE
                };
            return;
        }
        let is_due = self.is_restless() || core.wants_another(now);
        if is_due && self.next_try <= now && core.may_speak() {
            self.ask(Nonce::default(), Body::Hello, None, core, now);
        }
    }

    pub(super) fn handle(&mut self, message: Message, core: &mut Core, now: Instant) -> bool {
        if message.body == Body::Nudge {
            self.handle_nudge(now);
            return false;
        }
        let answered = self.question.take_if(|it| it.nonce == message.echo);
        let Some(question) = answered.filter(|_| core.may_speak()) else {
            return false;
        };
        self.failures = 0;
        core.differs = message.body == Body::Differ;
        match message.body {
            Body::Answer(ciphertext) => {
                let Some(offer) = question.offer else {
                    return false;
                };
                let files = &core.view.files;
                let secrets = offer.open(&ciphertext, &core.ends, files);
                let is_theirs =
                    |it: &_| Some(core.ends.fingerprint_of(it)) == message.held.alternate;
                let secret = secrets.into_iter().find(is_theirs);
                let is_aligned = core.held().main == message.held.main;
                let Some(secret) = secret.filter(|_| is_aligned) else {
                    self.next_try = now + PAUSE;
                    return false;
                };
                core.orders.alternate = Some(Choice::Agreed(secret));
                core.is_settling = false;
                self.is_taking = true;
                self.is_aligned = false;
                self.is_nudged = false;
                self.next_try = now;
                true
            }
            Body::Differ => {
                self.next_try = now + PAUSE;
                false
            }
            Body::State => {
                self.proceed(message.held, message.nonce, core, now);
                false
            }
            // Those are for the other end.
            Body::Hello | Body::Nudge | Body::Offer { .. } | Body::Promote => false,
        }
    }

    /// Does what brings two ends together that have `theirs` and ours.
    fn proceed(&mut self, theirs: Held, echo: Nonce, core: &mut Core, now: Instant) {
        let ours = core.held();
        self.is_aligned = theirs.main == ours.main;
        if self.is_aligned {
            if !core.wants_another(now) && !self.is_nudged {
                core.is_settling = core.orders.alternate.is_some();
                return;
            }
            let Some(offer) = Offer::new() else {
                self.next_try = now + PAUSE;
                return;
            };
            let mut files = [core.ends.fingerprint(); FILES_MAX];
            for (place, file) in files.iter_mut().zip(core.view.files.iter().cycle()) {
                *place = core.ends.fingerprint_of(file);
            }
            let key = offer.public.clone();
            self.ask(echo, Body::Offer { key, files }, Some(offer), core, now);
        } else if theirs.alternate == Some(ours.main) {
            self.ask(echo, Body::Promote, None, core, now);
        } else if ours.alternate == Some(theirs.main) {
            core.swap();
            core.is_settling = false;
            self.next_try = now;
        } else {
            // What nobody agreed on comes from files alone.
            core.differs = !core.is_agreed();
            self.next_try = now + PAUSE;
        }
    }

    fn handle_nudge(&mut self, now: Instant) {
        let is_recent = self.last_agreement.is_some_and(|it| now < it + PAUSE);
        if self.question.is_none() && !is_recent {
            self.is_nudged = true;
            self.failures = 0;
            self.next_try = self.next_try.min(now);
        }
    }

    fn is_restless(&self) -> bool {
        self.is_nudged || !self.is_aligned
    }

    fn ask(
        &mut self,
        echo: Nonce,
        body: Body,
        offer: Option<Offer>,
        core: &mut Core,
        now: Instant,
    ) {
        let nonce = nonce();
        let bytes = core.send(nonce, echo, body);
        self.question = Some(Question {
            nonce,
            bytes,
            sent: 1,
            repeat_at: now + REPEAT,
            offer,
        });
    }
}
