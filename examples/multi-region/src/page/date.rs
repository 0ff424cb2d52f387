//! Writes a moment as date and time of day in UTC.

/// Such as `2026-11-20 18:04:12 UTC`, for milliseconds since 1970.
pub(crate) fn utc(unix_milliseconds: u64) -> String {
    let seconds = unix_milliseconds / 1_000;
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let (year, month, day) = date(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day, that many days after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    // Years that start in March end with the leap day, which makes every month's start a formula.
    // 719 468 days lie between 0000-03-01 and 1970-01-01; 400 years have 146 097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + later, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_leap_days_and_turns_of_years() {
        check(0, "1970-01-01 00:00:00 UTC");
        check(951_782_400, "2000-02-29 00:00:00 UTC");
        check(1_709_251_199, "2024-02-29 23:59:59 UTC");
        check(1_767_225_600, "2026-01-01 00:00:00 UTC");
        check(4_107_542_400, "2100-03-01 00:00:00 UTC");
    }

    #[track_caller]
    fn check(seconds: u64, expected: &str) {
        assert_eq!(utc(seconds * 1_000 + 999), expected);
    }
}
