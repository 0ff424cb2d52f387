//! Serial numbers of zones, which go round (RFC 1982).

/// Whether `new` comes after `old`. Of two numbers that are exactly half a round apart, neither does.
pub fn is_newer(new: u32, old: u32) -> bool {
    let distance = new.wrapping_sub(old);
    0 < distance && distance < 1 << 31
}

/// The number after `serial`. Zero is passed over: to some servers it means that there is no zone.
pub fn next(serial: u32) -> u32 {
    serial.wrapping_add(1).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn goes_round() {
        assert!(is_newer(1, 0) && is_newer(0, u32::MAX) && is_newer(44, 0));
        assert!(!is_newer(5, 5) && !is_newer(4, 5));
        assert!(!is_newer(1 << 31, 0) && !is_newer(0, 1 << 31));
        assert_eq!((next(7), next(u32::MAX)), (8, 1));
    }

    proptest! {
        #[test]
        fn is_an_order_of_neighbors(serial: u32) {
            prop_assert!(is_newer(next(serial), serial));
            prop_assert!(!is_newer(serial, next(serial)));
        }
    }
}
