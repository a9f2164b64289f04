//! The work of several runners, dealt out by bytes.
//!
//! A plan file says how many bytes each repository has, and which of them others have too. It is made
//! once, and every runner deals it out for itself, always in the same way: what shares layers stays
//! together as far as the shares stay even. A repository that is not in the file goes by its name, as
//! without one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::deal::Assignment;
use crate::oci::digest::Digest;

/// What `kind` says in a plan file.
const KIND: &str = "gcr-push mirror plan";

/// The form of the file, and the way in which it is dealt out: runners of another version could deal
/// otherwise.
const VERSION: u32 = 1;

/// What each repository weighs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardPlan {
    kind: String,
    version: u32,
    /// The sizes of the blobs that several repositories have.
    pub(super) shared: Vec<u64>,
    pub(super) repositories: BTreeMap<String, RepositorySize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RepositorySize {
    /// The bytes that no other repository has.
    pub(super) bytes: u64,
    /// Which of the shared blobs it has besides.
    pub(super) shared: Vec<usize>,
}

/// A text that is no plan file of this version.
#[derive(Debug, thiserror::Error)]
pub enum SharesError {
    /// It is something else.
    #[error("it is no plan of `mirror`")]
    Foreign,
    /// Another version of gcr-push wrote it.
    #[error("it was made by another version of gcr-push")]
    Version,
    /// It was changed, or cut off.
    #[error("it is damaged")]
    Damaged,
}

impl ShardPlan {
    /// Of the blobs of each repository and their sizes.
    pub fn of(repositories: &BTreeMap<String, HashMap<Digest, u64>>) -> Self {
        let mut owners: HashMap<&Digest, u32> = HashMap::new();
        for digest in repositories.values().flat_map(HashMap::keys) {
            *owners.entry(digest).or_default() += 1;
        }
        let mut numbers: BTreeMap<&Digest, usize> = BTreeMap::new();
        let mut shared = Vec::new();
        let mut weights = BTreeMap::new();
        for (name, blobs) in repositories {
            let mut weight = RepositorySize::default();
            for (digest, size) in blobs {
                if owners[digest] < 2 {
                    weight.bytes += size;
                    continue;
                }
                let number = numbers.entry(digest).or_insert_with(|| {
                    shared.push(*size);
                    shared.len() - 1
                });
                weight.shared.push(*number);
            }
            weight.shared.sort_unstable();
            weights.insert(name.clone(), weight);
        }
        Self {
            kind: KIND.to_owned(),
            version: VERSION,
            shared,
            repositories: weights,
        }
    }

    /// Reads the text of a plan file.
    ///
    /// # Errors
    ///
    /// When it is none, or none that this version deals out.
    pub fn parse(text: &str) -> Result<Self, SharesError> {
        #[derive(Deserialize)]
        struct Head {
            kind: String,
            version: u32,
        }
        let head: Head = serde_json::from_str(text).map_err(|_| SharesError::Foreign)?;
        if head.kind != KIND {
            return Err(SharesError::Foreign);
        }
        if head.version != VERSION {
            return Err(SharesError::Version);
        }
        let shares: Self = serde_json::from_str(text).map_err(|_| SharesError::Damaged)?;
        let mut numbers = shares.repositories.values().flat_map(|w| &w.shared);
        let sizes = shares.repositories.values().map(|weight| weight.bytes);
        let total = sizes
            .chain(shares.shared.iter().copied())
            .try_fold(0_u64, u64::checked_add);
        match numbers.all(|number| *number < shares.shared.len()) && total.is_some() {
            true => Ok(shares),
            false => Err(SharesError::Damaged),
        }
    }

    /// The text of the plan file.
    pub fn json(&self) -> String {
        #[expect(
            clippy::expect_used,
            reason = "strings, numbers and lists always make JSON"
        )]
        let mut text = serde_json::to_string(self).expect("a plan is JSON");
        text.push('\n');
        text
    }

    /// The repositories that it knows.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.repositories.keys().map(String::as_str)
    }

    /// Which of `total` runners does each repository.
    pub fn deal(&self, total: usize) -> HashMap<String, usize> {
        let mut hands = Assignment::empty(self, total);
        for number in self.order() {
            hands.give_best(number);
        }
        hands.level();
        let names = self.repositories.keys().cloned();
        names.zip(hands.into_holders()).collect()
    }

    /// The bytes of each of the runners' shares; a blob that two of them need counts for both.
    pub fn sizes(&self, total: usize) -> Vec<u64> {
        let dealt = self.deal(total);
        let mut hands = Assignment::empty(self, total);
        for (number, name) in self.repositories.keys().enumerate() {
            hands.give(number, dealt[name]);
        }
        hands.into_loads()
    }

    /// What shares layers comes one after the other, the heaviest family and the heaviest of it first.
    fn order(&self) -> Vec<usize> {
        let weights: Vec<_> = self.repositories.values().collect();
        let families = self.families(&weights);
        let whole = |weight: &RepositorySize| -> u64 {
            let shared: u64 = weight.shared.iter().map(|blob| self.shared[*blob]).sum();
            weight.bytes.saturating_add(shared)
        };
        let mut heaviest: HashMap<usize, u64> = HashMap::new();
        for (number, weight) in weights.iter().enumerate() {
            let sum = heaviest.entry(families[number]).or_default();
            *sum = sum.saturating_add(whole(weight));
        }
        let mut order: Vec<_> = (0..weights.len()).collect();
        order.sort_by_key(|number| {
            let family = families[*number];
            let weight = whole(weights[*number]);
            (Reverse(heaviest[&family]), family, Reverse(weight), *number)
        });
        order
    }

    /// The family of each repository: all that share a blob, or share one with one that does.
    fn families(&self, weights: &[&RepositorySize]) -> Vec<usize> {
        fn root(parents: &mut [usize], mut number: usize) -> usize {
            while parents[number] != number {
                parents[number] = parents[parents[number]];
                number = parents[number];
            }
            number
        }

        let mut parents: Vec<_> = (0..weights.len()).collect();
        let mut first: Vec<Option<usize>> = vec![None; self.shared.len()];
        for (number, weight) in weights.iter().enumerate() {
            for blob in &weight.shared {
                let other = *first[*blob].get_or_insert(number);
                let (one, other) = (root(&mut parents, number), root(&mut parents, other));
                parents[one.max(other)] = one.min(other);
            }
        }
        (0..weights.len())
            .map(|number| root(&mut parents, number))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Repositories by their own bytes and the bases that they have, each of a size.
    fn shares(bases: &[u64], repositories: &[(u64, Vec<usize>)]) -> ShardPlan {
        let blob = |name: String| Digest::of(name.as_bytes());
        let named = repositories.iter().enumerate().map(|(number, (own, has))| {
            let bases = has
                .iter()
                .map(|base| (blob(format!("base {base}")), bases[*base]));
            let own = (blob(format!("own {number}")), *own);
            let name = format!("r.example/app{number}");
            (name, bases.chain([own]).collect())
        });
        ShardPlan::of(&named.collect())
    }

    fn ratio(sizes: &[u64]) -> f64 {
        let (largest, smallest) = (sizes.iter().max().unwrap(), sizes.iter().min().unwrap());
        *largest as f64 / (*smallest).max(1) as f64
    }

    #[test]
    fn families_stay_together_where_balanced() {
        // Eight bases, each below ten images: two bases for each of four runners.
        let repositories: Vec<_> = (0..80).map(|number| (10, vec![number % 8])).collect();
        let shares = shares(&[1000; 8], &repositories);
        let dealt = shares.deal(4);
        for number in 8..80 {
            let name = |number: usize| format!("r.example/app{number}");
            assert_eq!(dealt[&name(number)], dealt[&name(number % 8)]);
        }
        assert_eq!(shares.sizes(4), [2200; 4]);
    }

    #[test]
    fn family_of_everything_is_still_divided() {
        let repositories: Vec<_> = (0..200).map(|number| (50 + number, vec![0])).collect();
        let sizes = shares(&[10_000], &repositories).sizes(4);
        assert!(ratio(&sizes) <= 1.3, "{sizes:?}");
    }

    #[test]
    fn plan_reads_back_and_other_text_is_recognized() {
        let shares = shares(&[7], &[(1, vec![0]), (2, vec![0]), (3, vec![])]);
        assert_eq!(ShardPlan::parse(&shares.json()).unwrap(), shares);
        let told = |text: &str| ShardPlan::parse(text).unwrap_err().to_string();
        assert_eq!(told("{}"), "it is no plan of `mirror`");
        assert_eq!(told("images: []"), "it is no plan of `mirror`");
        let newer = shares.json().replace("\"version\":1", "\"version\":2");
        assert_eq!(told(&newer), "it was made by another version of gcr-push");
        let changed = shares.json().replace("\"shared\":[7]", "\"shared\":[]");
        assert_eq!(told(&changed), "it is damaged");
    }

    prop_compose! {
        fn any_shares()(bases in proptest::collection::vec(0..5_000_u64, 1..6))
            (repositories in proptest::collection::vec(
                (1..1_000_u64, proptest::collection::vec(0..bases.len(), 0..3)), 1..120),
             bases in Just(bases)) -> ShardPlan {
            let repositories: Vec<_> = repositories
                .into_iter()
                .map(|(own, mut has)| {
                    has.sort_unstable();
                    has.dedup();
                    (own, has)
                })
                .collect();
            shares(&bases, &repositories)
        }
    }

    proptest! {
        #[test]
        fn every_repository_is_assigned_to_one_runner(shares in any_shares(), total in 1..9_usize) {
            let dealt = shares.deal(total);
            prop_assert_eq!(dealt.len(), shares.repositories.len());
            prop_assert!(shares.names().all(|name| dealt[name] < total));
            // Every runner deals for itself, from the file.
            prop_assert_eq!(dealt, ShardPlan::parse(&shares.json()).unwrap().deal(total));
        }

        #[test]
        fn shares_are_even_given_enough_repositories(
            bases in proptest::collection::vec(0..5_000_u64, 1..6),
            repositories in proptest::collection::vec((1..1_000_u64, 0..7_usize), 100..200),
            total in 2..6_usize,
        ) {
            let repositories: Vec<_> = repositories
                .into_iter()
                .map(|(own, base)| (own, (base < bases.len()).then_some(base).into_iter().collect()))
                .collect();
            let sizes = shares(&bases, &repositories).sizes(total);
            prop_assert!(ratio(&sizes) <= 1.3, "{sizes:?}");
        }

        #[test]
        fn random_text_causes_no_panic(text in "\\PC{0,200}") {
            let _ = ShardPlan::parse(&text);
        }
    }
}
