//! The work of several runners, dealt out by bytes.
//!
//! A plan file says how many bytes each repository has, and which of them others have too. It is made
//! once, and every runner deals it out for itself, always in the same way: what shares layers stays
//! together as far as the shares stay even. A repository that is not in the file goes by its name, as
//! without one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// What `kind` says in a plan file.
const KIND: &str = "gcr-push mirror plan";

/// The form of the file, and the way in which it is dealt out: runners of another version could deal
/// otherwise.
const VERSION: u32 = 1;

/// The largest share is never more than so many hundredths of the smallest, where any dealing does.
const EVEN: u128 = 125;

/// What each repository weighs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    kind: String,
    version: u32,
    /// The sizes of the blobs that several repositories have.
    shared: Vec<u64>,
    repositories: BTreeMap<String, Weight>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weight {
    /// The bytes that no other repository has.
    bytes: u64,
    /// Which of the shared blobs it has besides.
    shared: Vec<usize>,
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

impl Shares {
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
            let mut weight = Weight::default();
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
        let mut hands = Hands::empty(self, total);
        for number in self.order() {
            hands.give_best(number);
        }
        hands.level();
        let names = self.repositories.keys().cloned();
        names.zip(hands.holder).collect()
    }

    /// The bytes of each of the runners' shares; a blob that two of them need counts for both.
    pub fn sizes(&self, total: usize) -> Vec<u64> {
        let dealt = self.deal(total);
        let mut hands = Hands::empty(self, total);
        for (number, name) in self.repositories.keys().enumerate() {
            hands.give(number, dealt[name]);
        }
        hands.loads
    }

    /// What shares layers comes one after the other, the heaviest family and the heaviest of it first.
    fn order(&self) -> Vec<usize> {
        let weights: Vec<_> = self.repositories.values().collect();
        let families = self.families(&weights);
        let whole = |weight: &Weight| -> u64 {
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
    fn families(&self, weights: &[&Weight]) -> Vec<usize> {
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

/// What each runner has been dealt so far.
struct Hands<'a> {
    shared: &'a [u64],
    weights: Vec<&'a Weight>,
    /// The bytes of each runner.
    loads: Vec<u64>,
    /// For each runner how many of its repositories have each shared blob.
    held: Vec<Vec<u32>>,
    /// The runner of each repository.
    holder: Vec<usize>,
    /// What a runner should have at most, were nothing read twice.
    fair: u64,
}

impl<'a> Hands<'a> {
    fn empty(shares: &'a Shares, total: usize) -> Self {
        let weights: Vec<_> = shares.repositories.values().collect();
        let own = weights.iter().map(|weight| weight.bytes);
        let all: u64 = own.chain(shares.shared.iter().copied()).sum();
        Self {
            shared: &shares.shared,
            loads: vec![0; total],
            held: vec![vec![0; shares.shared.len()]; total],
            holder: vec![0; weights.len()],
            fair: all.div_ceil(total.max(1) as u64),
            weights,
        }
    }

    /// The bytes that a repository adds to a runner, beside what that has already.
    fn adds(&self, number: usize, runner: usize) -> u64 {
        let weight = self.weights[number];
        let new = weight.shared.iter().filter(|b| self.held[runner][**b] == 0);
        weight.bytes + new.map(|blob| self.shared[*blob]).sum::<u64>()
    }

    /// The bytes that its runner is relieved of without a repository.
    fn frees(&self, number: usize) -> u64 {
        let weight = self.weights[number];
        let held = &self.held[self.holder[number]];
        let last = weight.shared.iter().filter(|blob| held[**blob] == 1);
        weight.bytes + last.map(|blob| self.shared[*blob]).sum::<u64>()
    }

    fn give(&mut self, number: usize, runner: usize) {
        self.loads[runner] += self.adds(number, runner);
        for blob in &self.weights[number].shared {
            self.held[runner][*blob] += 1;
        }
        self.holder[number] = runner;
    }

    fn take_back(&mut self, number: usize) {
        let runner = self.holder[number];
        self.loads[runner] -= self.frees(number);
        for blob in &self.weights[number].shared {
            self.held[runner][*blob] -= 1;
        }
    }

    /// Gives a repository to whom it adds the least of those who have room for it, else to who has
    /// the least then.
    fn give_best(&mut self, number: usize) {
        let offers = (0..self.loads.len()).map(|runner| {
            let (load, adds) = (self.loads[runner], self.adds(number, runner));
            let is_over = load + adds > self.fair;
            let cost = if is_over { load + adds } else { adds };
            (is_over, cost, load, runner)
        });
        if let Some((.., runner)) = offers.min() {
            self.give(number, runner);
        }
    }

    /// Moves one repository after the other, as long as that makes the shares more even and they are
    /// not even enough.
    fn level(&mut self) {
        for _ in 0..self.weights.len() * 2 {
            let (largest, smallest) = extremes(&self.loads);
            if u128::from(self.loads[largest]) * 100 <= u128::from(self.loads[smallest]) * EVEN {
                return;
            }
            let Some((number, runner)) = self.best_move(largest, smallest) else {
                return;
            };
            self.take_back(number);
            self.give(number, runner);
        }
    }

    /// The move from the largest share, or to the smallest, after which they are the most even.
    fn best_move(&self, largest: usize, smallest: usize) -> Option<(usize, usize)> {
        let mut best = (self.loads[largest], self.loads[smallest]);
        let mut found = None;
        for number in 0..self.weights.len() {
            let from = self.holder[number];
            for to in 0..self.loads.len() {
                if from == to || (from != largest && to != smallest) {
                    continue;
                }
                let mut loads = self.loads.clone();
                loads[from] -= self.frees(number);
                loads[to] += self.adds(number, to);
                let (largest, smallest) = extremes(&loads);
                let after = (loads[largest], loads[smallest]);
                if is_more_even(after, best) {
                    best = after;
                    found = Some((number, to));
                }
            }
        }
        found
    }
}

/// Whether the first pair of largest and smallest is nearer to each other, as a ratio.
fn is_more_even(first: (u64, u64), second: (u64, u64)) -> bool {
    let product = |large: u64, small: u64| u128::from(large) * u128::from(small);
    product(first.0, second.1) < product(second.0, first.1)
}

/// The largest and the smallest share.
fn extremes(loads: &[u64]) -> (usize, usize) {
    let runners = || 0..loads.len();
    let largest = runners().max_by_key(|runner| (loads[*runner], Reverse(*runner)));
    let smallest = runners().min_by_key(|runner| (loads[*runner], *runner));
    (largest.unwrap_or(0), smallest.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Repositories by their own bytes and the bases that they have, each of a size.
    fn shares(bases: &[u64], repositories: &[(u64, Vec<usize>)]) -> Shares {
        let blob = |name: String| Digest::of(name.as_bytes());
        let named = repositories.iter().enumerate().map(|(number, (own, has))| {
            let bases = has
                .iter()
                .map(|base| (blob(format!("base {base}")), bases[*base]));
            let own = (blob(format!("own {number}")), *own);
            let name = format!("r.example/app{number}");
            (name, bases.chain([own]).collect())
        });
        Shares::of(&named.collect())
    }

    fn ratio(sizes: &[u64]) -> f64 {
        let (largest, smallest) = (sizes.iter().max().unwrap(), sizes.iter().min().unwrap());
        *largest as f64 / (*smallest).max(1) as f64
    }

    #[test]
    fn families_stay_together_where_that_is_even() {
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
    fn a_family_of_all_is_divided_all_the_same() {
        let repositories: Vec<_> = (0..200).map(|number| (50 + number, vec![0])).collect();
        let sizes = shares(&[10_000], &repositories).sizes(4);
        assert!(ratio(&sizes) <= 1.3, "{sizes:?}");
    }

    #[test]
    fn a_plan_reads_back_and_another_text_is_told_from_it() {
        let shares = shares(&[7], &[(1, vec![0]), (2, vec![0]), (3, vec![])]);
        assert_eq!(Shares::parse(&shares.json()).unwrap(), shares);
        let told = |text: &str| Shares::parse(text).unwrap_err().to_string();
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
             bases in Just(bases)) -> Shares {
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
        fn every_repository_is_dealt_to_one_runner(shares in any_shares(), total in 1..9_usize) {
            let dealt = shares.deal(total);
            prop_assert_eq!(dealt.len(), shares.repositories.len());
            prop_assert!(shares.names().all(|name| dealt[name] < total));
            // Every runner deals for itself, from the file.
            prop_assert_eq!(dealt, Shares::parse(&shares.json()).unwrap().deal(total));
        }

        #[test]
        fn shares_are_even_where_there_is_enough_to_deal(
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
        fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
            let _ = Shares::parse(&text);
        }
    }
}
