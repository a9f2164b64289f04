//! How repositories are dealt out to runners: to whom they add the least, and then until the shares are
//! even.

use std::cmp::Reverse;

use super::shares::{RepositorySize, ShardPlan};

/// The largest share is never more than so many hundredths of the smallest, where any dealing does.
const EVEN: u128 = 125;

/// What each runner has been dealt so far.
pub(super) struct Assignment<'a> {
    shared: &'a [u64],
    weights: Vec<&'a RepositorySize>,
    /// The bytes of each runner.
    loads: Vec<u64>,
    /// For each runner how many of its repositories have each shared blob.
    held: Vec<Vec<u32>>,
    /// The runner of each repository.
    holder: Vec<usize>,
    /// What a runner should have at most, were nothing read twice.
    fair: u64,
}

impl<'a> Assignment<'a> {
    pub(super) fn empty(shares: &'a ShardPlan, total: usize) -> Self {
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

    /// The runner of each repository, in their order.
    pub(super) fn into_holders(self) -> Vec<usize> {
        self.holder
    }

    /// The bytes of each runner.
    pub(super) fn into_loads(self) -> Vec<u64> {
        self.loads
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

    pub(super) fn give(&mut self, number: usize, runner: usize) {
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
    pub(super) fn give_best(&mut self, number: usize) {
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
    pub(super) fn level(&mut self) {
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
