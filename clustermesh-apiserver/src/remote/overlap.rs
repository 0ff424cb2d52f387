//! Finds pod prefixes that two clusters claim.

use std::collections::BTreeMap;

use ipnet::IpNet;
use topology::id::ClusterName;

/// Two clusters with pods in the same addresses: neither can tell whose a packet is.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Overlap {
    pub first: (ClusterName, IpNet),
    pub second: (ClusterName, IpNet),
}

/// One overlap for each pair of clusters that have any.
pub fn overlaps(mut claims: Vec<(ClusterName, IpNet)>) -> Vec<Overlap> {
    // What contains a prefix comes before it, and nothing that does not lies between but what is
    // contained as well.
    claims.sort_by_key(|(name, prefix)| (prefix.network(), prefix.prefix_len(), name.clone()));
    let mut containing: Vec<(ClusterName, IpNet)> = Vec::new();
    let mut found = BTreeMap::new();
    for claim in claims {
        while containing.last().is_some_and(|it| !it.1.contains(&claim.1)) {
            containing.pop();
        }
        for outer in containing.iter().filter(|it| it.0 != claim.0) {
            let (first, second) = match outer.0 < claim.0 {
                true => (outer.clone(), claim.clone()),
                false => (claim.clone(), outer.clone()),
            };
            let pair = (first.0.clone(), second.0.clone());
            found.entry(pair).or_insert(Overlap { first, second });
        }
        // A cluster's own nodes never contain each other, so this stays as short as there are clusters.
        if !containing.contains(&claim) {
            containing.push(claim);
        }
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_each_pair_once() {
        check("a=10.1.0.0/24 a=10.1.1.0/24 b=10.2.0.0/24", "");
        check(
            "a=10.1.0.0/16 b=10.1.7.0/24 b=10.1.8.0/24",
            "a=10.1.0.0/16 b=10.1.7.0/24",
        );
        check("b=10.1.0.0/24 a=10.1.0.0/24", "a=10.1.0.0/24 b=10.1.0.0/24");
        check(
            "a=10.0.0.0/8 a=10.1.0.0/16 b=10.2.0.0/16 c=10.2.0.0/24",
            "a=10.0.0.0/8 b=10.2.0.0/16, a=10.0.0.0/8 c=10.2.0.0/24, b=10.2.0.0/16 c=10.2.0.0/24",
        );
        check(
            "a=fd00::/64 b=10.0.0.0/8 c=fd00::/48",
            "a=fd00::/64 c=fd00::/48",
        );
    }

    #[track_caller]
    fn check(claims: &str, expected: &str) {
        let claims = claims.split(' ').map(|it| {
            let (name, prefix) = it.split_once('=').unwrap();
            (name.parse().unwrap(), prefix.parse().unwrap())
        });
        let found = overlaps(claims.collect());
        let found = found.iter().map(|it| {
            let ((first, one), (second, other)) = (&it.first, &it.second);
            format!("{first}={one} {second}={other}")
        });
        assert_eq!(found.collect::<Vec<_>>().join(", "), expected);
    }
}
