//! Decides where a time is drawn, and which times the axis names.

/// Maps seconds to pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    seconds: f64,
    left: f64,
    right: f64,
}

/// How many times the axis names at most.
const TICKS_MAX: f64 = 16.0;

impl Scale {
    /// From `left` at 0 seconds to `right` at `seconds`. A story without a length has one second.
    pub(crate) fn new(seconds: f64, left: f64, right: f64) -> Self {
        let seconds = if seconds.is_finite() && 0.0 < seconds {
            seconds
        } else {
            1.0
        };
        Self {
            seconds,
            left,
            right,
        }
    }

    /// Never outside of the scale.
    pub(crate) fn x(self, seconds: f64) -> f64 {
        let share = (seconds / self.seconds).clamp(0.0, 1.0);
        // The clamp passes on what is not a number.
        let share = if share.is_nan() { 0.0 } else { share };
        self.left + share * (self.right - self.left)
    }

    pub(crate) fn left(self) -> f64 {
        self.left
    }

    pub(crate) fn right(self) -> f64 {
        self.right
    }

    /// Round numbers of seconds, evenly spaced from 0.
    pub(crate) fn ticks(self) -> Vec<f64> {
        let powers = (0..8).flat_map(|it| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(it)));
        let enough = |step: &f64| self.seconds / step <= TICKS_MAX;
        let step = powers.into_iter().find(enough).unwrap_or(self.seconds);
        let ticks = (0..32).map(|it| step * f64::from(it));
        ticks.take_while(|it| *it <= self.seconds).collect()
    }
}

/// Spreads `wanted` places, in ascending order, so that each two are at least `distance` apart and
/// all of them between `left` and `right`, if there is room; each stays as near as it can.
pub(crate) fn spread(wanted: &[f64], distance: f64, left: f64, right: f64) -> Vec<f64> {
    let mut placed: Vec<f64> = Vec::with_capacity(wanted.len());
    for place in wanted {
        let least = placed.last().map_or(left, |it| it + distance);
        placed.push(place.max(least));
    }
    let mut most = right;
    for place in placed.iter_mut().rev() {
        *place = place.min(most);
        most = *place - distance;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_times_and_keeps_strange_ones_inside() {
        let scale = Scale::new(50.0, 100.0, 200.0);

        let x = [0.0, 25.0, 50.0, -3.0, 60.0, f64::NAN].map(|it| scale.x(it));
        assert_eq!(x, [100.0, 150.0, 200.0, 100.0, 200.0, 100.0]);
        assert_eq!(Scale::new(0.0, 0.0, 10.0).x(1.0), 10.0);
    }

    #[test]
    fn names_round_times() {
        let ticks = |seconds| Scale::new(seconds, 0.0, 1.0).ticks();

        assert_eq!(ticks(4.5), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(ticks(73.0).len(), 15);
        assert_eq!(ticks(73.0)[1], 5.0);
        assert_eq!(ticks(600.0)[1], 50.0);
    }

    #[test]
    fn moves_places_apart_as_little_as_it_can() {
        check(&[0.0, 5.0, 50.0], &[0.0, 20.0, 50.0]);
        check(&[90.0, 95.0, 99.0], &[60.0, 80.0, 100.0]);
        check(&[-5.0, 30.0], &[0.0, 30.0]);
        check(&[], &[]);
    }

    #[track_caller]
    fn check(wanted: &[f64], expected: &[f64]) {
        assert_eq!(spread(wanted, 20.0, 0.0, 100.0), expected);
    }
}
