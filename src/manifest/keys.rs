//! The order of identity keys: whole numbers by their value, so that class 2 is person 2, whether they are padded with zeros or not, and after
//! them all others as text.

use std::cmp::Ordering;

/// Compares two keys.
pub fn compare(a: &str, b: &str) -> Ordering {
    match (number(a), number(b)) {
        (Some(x), Some(y)) => x.cmp(&y).then_with(|| a.cmp(b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Position of `key` among `keys`, which are in this order.
pub fn find(keys: &[String], key: &str) -> Option<usize> {
    keys.binary_search_by(|known| compare(known, key)).ok()
}

/// A whole number, without a plus.
fn number(key: &str) -> Option<i128> {
    key.parse().ok().filter(|_| !key.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_their_order_before_names() {
        let mut keys = ["b", "10", "2", "007", "-1", "a", "2.5", "+3"].map(str::to_owned);
        keys.sort_by(|a, b| compare(a, b));
        assert_eq!(keys, ["-1", "2", "007", "10", "+3", "2.5", "a", "b"]);
        assert_eq!((find(&keys, "10"), find(&keys, "a"), find(&keys, "7")), (Some(3), Some(6), None));
        let mut padded: Vec<String> = (0..12).map(|n| format!("{n:02}")).rev().collect();
        padded.push("7".into());
        padded.sort_by(|a, b| compare(a, b));
        assert_eq!(padded[6..9], ["06", "07", "7"]);
    }
}
