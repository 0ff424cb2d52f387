//! Decides what the probes of our own nodes together say of a remote cluster's pods.
//!
//! | of the nodes with an opinion | the view |
//! | --- | --- |
//! | at least half reach it | reached |
//! | fewer than half do, but some | divided: what else is known decides |
//! | none does | unreached |
//! | there is none, and some node has yet to find out | undecided |
//! | nobody reports | nothing |
//!
//! One node that reaches a remote whose API server answers is enough to keep it: the others pass over
//! it by themselves, and "lost" is the word for what nobody reaches. Where the API server is silent
//! too, a node that died with a good opinion must not outvote those that live.
//!
//! Opinions that end contradict nobody: what followed from the last of them stays for a while.

/// How long the last opinion stands when nobody has one any more, in milliseconds: a lease that ends
/// is the restart of an agent, or of its node.
const MEMORY: u64 = 300_000;

/// How many of our nodes report on a remote, by what they say.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    pub reaching: usize,
    pub not_reaching: usize,
    /// Their probes have not come to a verdict yet, or were never answered.
    pub undecided: usize,
}

impl Tally {
    pub fn nodes(self) -> usize {
        self.reaching + self.not_reaching + self.undecided
    }

    fn has_opinion(self) -> bool {
        0 < self.reaching + self.not_reaching
    }

    fn view(self) -> View {
        match (self.reaching, self.not_reaching) {
            (0, 0) if self.undecided == 0 => View::Nothing,
            (0, 0) => View::Undecided,
            (0, _) => View::Unreached,
            (yes, no) if no <= yes => View::Reached,
            (_, _) => View::Divided,
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum View {
    Divided,
    Nothing,
    Reached,
    Undecided,
    Unreached,
}

/// Times are uptime in milliseconds.
#[derive(Debug, Default)]
pub(super) struct DataPlane {
    now: Tally,
    /// The last with an opinion, and until when it stands if that is over.
    last: Option<(Tally, Option<u64>)>,
}

impl DataPlane {
    /// Takes in what the nodes say now.
    pub(super) fn hear(&mut self, tally: Tally, now: u64) {
        self.now = tally;
        if tally.has_opinion() {
            self.last = Some((tally, None));
        } else if let Some((_, until @ None)) = &mut self.last {
            *until = Some(now + MEMORY);
        }
    }

    /// The remote's API server answers: an opinion that is over is of no more use to keep it.
    pub(super) fn hear_answer(&mut self) {
        let is_useless =
            |(tally, until): &mut (Tally, Option<u64>)| until.is_some() && 0 < tally.reaching;
        self.last.take_if(is_useless);
    }

    pub(super) fn view(&self, now: u64) -> View {
        match self.last {
            Some((tally, until)) if until.is_none_or(|it| now < it) => tally.view(),
            Some(_) | None => self.now.view(),
        }
    }

    pub(super) fn tally(&self) -> Tally {
        self.now
    }

    /// Who reaches it, for people.
    pub(super) fn describe(&self) -> String {
        let text = |it: Tally| {
            let (reaching, nodes) = (it.reaching, it.nodes());
            format!("{reaching} of {nodes} nodes")
        };
        match self.last {
            Some((tally, Some(_))) => {
                format!("{} reached its pods when they last said so", text(tally))
            }
            Some(_) | None => format!("{} reach its pods", text(self.now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_those_with_an_opinion() {
        for ((reaching, not_reaching, undecided), expected) in [
            ((0, 0, 0), View::Nothing),
            ((0, 0, 3), View::Undecided),
            ((1, 0, 0), View::Reached),
            ((1, 0, 9), View::Reached),
            ((1, 1, 0), View::Reached),
            ((1, 2, 0), View::Divided),
            ((2, 3, 5), View::Divided),
            ((0, 1, 0), View::Unreached),
            ((0, 1, 9), View::Unreached),
        ] {
            let tally = Tally {
                reaching,
                not_reaching,
                undecided,
            };
            assert_eq!(tally.view(), expected, "{tally:?}");
        }
    }

    #[test]
    fn remembers_the_last_opinion_for_a_while() {
        let mut plane = DataPlane::default();
        plane.hear(tally(2, 0), 0);
        plane.hear(Tally::default(), 1_000);
        plane.hear(undecided(), 2_000);
        assert_eq!(plane.view(MEMORY + 999), View::Reached);
        assert_eq!(plane.view(MEMORY + 1_000), View::Undecided);

        plane.hear(tally(0, 2), MEMORY + 2_000);
        plane.hear_answer();
        plane.hear(undecided(), MEMORY + 3_000);
        plane.hear_answer();
        assert_eq!(plane.view(2 * MEMORY), View::Unreached);
        plane.hear(tally(1, 1), 2 * MEMORY);
        plane.hear(Tally::default(), 2 * MEMORY);
        plane.hear_answer();
        assert_eq!(plane.view(2 * MEMORY), View::Nothing);
    }

    fn tally(reaching: usize, not_reaching: usize) -> Tally {
        Tally {
            reaching,
            not_reaching,
            undecided: 0,
        }
    }

    fn undecided() -> Tally {
        Tally {
            undecided: 1,
            ..Tally::default()
        }
    }
}
