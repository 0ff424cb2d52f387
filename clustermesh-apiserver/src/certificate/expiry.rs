//! Decides when to warn that a certificate ends: once at each of a few distances.

use std::collections::BTreeMap;

use topology::report::CertificateReport;

const DAY_MILLISECONDS: u64 = 24 * 60 * 60 * 1_000;

/// How near the end of a certificate is; the nearer, the greater.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Urgency {
    /// At most 30 days are left: time to plan.
    Month,
    /// At most 7 days are left.
    Week,
    /// At most one day is left.
    Day,
    /// Peers and agents refuse it.
    Expired,
}

impl Urgency {
    /// `None` while more than 30 days are left.
    pub fn of(not_after: u64, now: u64) -> Option<Self> {
        match days_until(not_after, now) {
            _ if not_after <= now => Some(Self::Expired),
            0 => Some(Self::Day),
            1..7 => Some(Self::Week),
            7..30 => Some(Self::Month),
            _ => None,
        }
    }
}

/// Whole days from `now` to `then`, both in milliseconds since 1970.
pub fn days_until(then: u64, now: u64) -> u64 {
    then.saturating_sub(now) / DAY_MILLISECONDS
}

/// What was warned about already.
#[derive(Debug, Default)]
pub struct Expiries {
    /// By file: the end of the certificate it was about, and how near that was.
    warned: BTreeMap<String, (u64, Urgency)>,
}

impl Expiries {
    /// The certificates to warn about now. A file that is not named any more is forgotten, and a
    /// certificate that replaced another is warned about from the start.
    pub fn due<'a>(
        &mut self,
        certificates: impl IntoIterator<Item = &'a CertificateReport>,
        now: u64,
    ) -> Vec<(&'a CertificateReport, Urgency)> {
        let mut due = Vec::new();
        let before = std::mem::take(&mut self.warned);
        // What could not be read has no end; what is in use has one, whatever became of its file.
        for certificate in certificates.into_iter().filter(|it| it.not_after != 0) {
            let Some(urgency) = Urgency::of(certificate.not_after, now) else {
                continue;
            };
            let warned = before.get(&certificate.file).copied();
            if warned.is_none_or(|it| it.0 != certificate.not_after || it.1 < urgency) {
                due.push((certificate, urgency));
            }
            let warning = (certificate.not_after, urgency);
            self.warned.insert(certificate.file.clone(), warning);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warns_once_at_each_distance() {
        let mut expiries = Expiries::default();
        let end = 100 * DAY_MILLISECONDS;
        let mut warnings = Vec::new();
        for hour in 0..=101 * 24 {
            let now = hour * 60 * 60 * 1_000;
            let certificates = [certificate(end)];
            let due = expiries.due(&certificates, now);
            warnings.extend(due.into_iter().map(|it| (hour, it.1)));
        }

        assert_eq!(
            warnings,
            [
                (70 * 24 + 1, Urgency::Month),
                (93 * 24 + 1, Urgency::Week),
                (99 * 24 + 1, Urgency::Day),
                (100 * 24, Urgency::Expired),
            ]
        );
    }

    #[test]
    fn starts_again_with_a_new_certificate() {
        let mut expiries = Expiries::default();
        let (old, new) = ([certificate(1_000)], [certificate(2_000)]);

        assert_eq!(expiries.due(&old, 5_000).len(), 1);
        assert_eq!(expiries.due(&old, 5_000).len(), 0);
        assert_eq!(expiries.due(&new, 5_000).len(), 1);
        assert_eq!(expiries.due(&[], 5_000).len(), 0);
        assert_eq!(expiries.due(&new, 5_000).len(), 1);
    }

    fn certificate(not_after: u64) -> CertificateReport {
        CertificateReport {
            file: "/pki/server.crt".to_owned(),
            not_after,
            ..CertificateReport::default()
        }
    }
}
