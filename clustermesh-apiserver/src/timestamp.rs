//! Spells points in time as the store's readers expect them.

use k8s_openapi::jiff::Timestamp;

/// RFC 3339 in UTC and whole seconds, from milliseconds since 1970.
pub fn rfc3339(unix_milliseconds: u64) -> String {
    rfc3339_seconds(i64::try_from(unix_milliseconds / 1000).unwrap_or(i64::MAX))
}

/// The same from whole seconds since 1970.
pub fn rfc3339_seconds(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_out_fractions_of_a_second() {
        assert_eq!(rfc3339(1_795_192_726_999), "2026-11-20T16:38:46Z");
        assert!(rfc3339(u64::MAX).starts_with("9999-12-30T"));
    }
}
