//! Assigns the images to several runners.
//!
//! Runners start at different times and see different states of a registry, so a shard is decided by
//! the name of the source's repository alone. Rendezvous hashing (Thaler and Ravishankar, 1998) gives
//! each name to the shard whose hash with it is the highest: every repository has exactly one shard,
//! and one that is added moves no other.

use crate::oci::digest::Digest;

/// The part of the work that one of several runners does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The index of the runner, from 0.
    pub index: usize,
    /// The number of runners, at least 1.
    pub total: usize,
}

impl Shard {
    /// The shard of the runner `number`, if the first runner has the number `first`. `None` if
    /// `number` is out of range.
    pub fn counted(number: usize, first: usize, total: usize) -> Option<Self> {
        let index = number.checked_sub(first)?;
        (index < total).then_some(Self { index, total })
    }

    /// True if this runner copies the images of `repository` (`host/path`).
    pub fn has(self, repository: &str) -> bool {
        let weight = |index: &usize| Digest::of(format!("{index} {repository}").as_bytes());
        (0..self.total).max_by_key(weight) == Some(self.index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shard_of(repository: &str, total: usize) -> Vec<usize> {
        let mut shards: Vec<_> = (0..total).collect();
        shards.retain(|&index| Shard { index, total }.has(repository));
        shards
    }

    proptest! {
        #[test]
        fn each_repository_has_one_shard(name in "[a-z/]{1,30}", total in 1..12_usize) {
            prop_assert_eq!(shard_of(&name, total).len(), 1);
        }

        #[test]
        fn added_shard_moves_nothing_between_others(
            name in "[a-z/]{1,30}", total in 1..12_usize,
        ) {
            let (before, after) = (shard_of(&name, total), shard_of(&name, total + 1));
            prop_assert!(after == before || after == [total]);
        }
    }

    #[test]
    fn shards_are_counted_from_one_or_zero() {
        let counted = |number, first| Shard::counted(number, first, 5);
        assert_eq!(counted(2, 1), Some(Shard { index: 1, total: 5 }));
        assert_eq!(counted(0, 0), Some(Shard { index: 0, total: 5 }));
        assert_eq!(counted(0, 1), None);
        assert_eq!(counted(6, 1), None);
    }

    #[test]
    fn no_shard_is_left_without_work() {
        let mut counts = [0; 4];
        for number in 0..400 {
            counts[shard_of(&format!("r.example/app{number}"), 4)[0]] += 1;
        }
        assert!(
            counts.iter().all(|count| (70..130).contains(count)),
            "{counts:?}"
        );
    }
}
