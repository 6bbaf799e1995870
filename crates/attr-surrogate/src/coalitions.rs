//! The coalitions that KernelSHAP evaluates, and their weights: outer sizes first, then drawn
//! pairs.

use std::collections::HashMap;

use attr_core::build::Random;

/// The coalitions of a regression, each once, with their weights.
pub(crate) struct Coalitions {
    pub players: usize,
    pub members: Vec<Vec<usize>>,
    pub weights: Vec<f64>,
    /// Which coalitions were drawn together, and how often; enumerated ones are not included.
    pub draws: Vec<Draw>,
    /// The weight that one draw gives to each of its coalitions.
    pub draw_weight: f64,
}

/// Coalitions that were drawn together, and how often.
pub(crate) struct Draw {
    pub coalitions: Vec<usize>,
    pub count: f64,
}

impl Coalitions {
    /// Chooses at most `budget` coalitions between no players and all.
    pub fn choose(players: usize, budget: usize, random: &mut Random) -> Self {
        let mut all = Self {
            players,
            members: Vec::new(),
            weights: Vec::new(),
            draws: Vec::new(),
            draw_weight: 0.0,
        };
        // The total weight of coalitions of a size and of their complements.
        let groups = players / 2;
        let weigh = |size: usize| {
            let one = (players - 1) as f64 / (size * (players - size)) as f64;
            if 2 * size == players { one } else { 2.0 * one }
        };
        let total: f64 = (1..=groups).map(weigh).sum();
        let everything = players < usize::BITS as usize - 1 && budget >= (1 << players) - 2;
        let mut left = budget;
        let mut weight_left = 1.0;
        let mut size = 1;
        while size <= groups {
            let share = weigh(size) / total;
            let paired = 2 * size != players;
            let count = choose(players, size) * if paired { 2.0 } else { 1.0 };
            let enough = left as f64 * share / weight_left >= count * (1.0 - 1e-8);
            if !(everything || enough) {
                break;
            }
            combinations(players, size, |members| {
                let weight = share / count;
                if paired {
                    all.add(complement(members, players), weight);
                }
                all.add(members.to_vec(), weight);
            });
            left = left.saturating_sub(count as usize);
            weight_left -= share;
            size += 1;
        }
        if size <= groups && left > 0 {
            all.draw(size..=groups, left, weight_left.max(0.0), &weigh, random);
        }
        all
    }

    fn add(&mut self, members: Vec<usize>, weight: f64) -> usize {
        self.members.push(members);
        self.weights.push(weight);
        self.members.len() - 1
    }

    /// Draws coalitions of some sizes, and their complements, until `left` different ones are
    /// found.
    fn draw(
        &mut self,
        sizes: std::ops::RangeInclusive<usize>,
        left: usize,
        weight: f64,
        weigh: &dyn Fn(usize) -> f64,
        random: &mut Random,
    ) {
        let first = self.members.len();
        let total: f64 = sizes.clone().map(weigh).sum();
        let mut known: HashMap<Vec<usize>, usize> = HashMap::new();
        let mut draws = 0.0;
        // Small games run out of coalitions before the draws find all of them.
        for _ in 0..4 * left {
            let mut at = random.uniform() * total;
            let mut size = *sizes.end();
            for candidate in sizes.clone() {
                at -= weigh(candidate);
                if at < 0.0 {
                    size = candidate;
                    break;
                }
            }
            let mut members = random.permutation(self.players);
            members.truncate(size);
            members.sort_unstable();
            // Either coalition could name a pair; the one with the first player does.
            let mut other = complement(&members, self.players);
            if other.first() == Some(&0) {
                std::mem::swap(&mut members, &mut other);
            }
            if let Some(&draw) = known.get(&members) {
                self.draws[draw].count += 1.0;
                draws += 1.0;
                continue;
            }
            let room = left - (self.members.len() - first);
            if room == 0 {
                break;
            }
            draws += 1.0;
            known.insert(members.clone(), self.draws.len());
            let mut coalitions = vec![self.add(members, 0.0)];
            // The last sample may be without its pair.
            if room > 1 {
                coalitions.push(self.add(other, 0.0));
            }
            self.draws.push(Draw {
                coalitions,
                count: 1.0,
            });
        }
        self.draw_weight = weight / (2.0 * draws);
        for draw in &self.draws {
            for &coalition in &draw.coalitions {
                self.weights[coalition] = draw.count * self.draw_weight;
            }
        }
    }
}

/// Returns the other players.
fn complement(members: &[usize], players: usize) -> Vec<usize> {
    (0..players)
        .filter(|player| members.binary_search(player).is_err())
        .collect()
}

/// Returns the number of ways to choose `size` of `n`.
fn choose(n: usize, size: usize) -> f64 {
    (0..size).fold(1.0, |ways, i| ways * (n - i) as f64 / (i + 1) as f64)
}

/// Calls `f` with every choice of `size` out of `n`, in order. If `size` is half of `n`, a choice
/// and its complement are both visited.
fn combinations(n: usize, size: usize, mut f: impl FnMut(&[usize])) {
    let mut members: Vec<usize> = (0..size).collect();
    loop {
        f(&members);
        let Some(i) = (0..size).rev().find(|&i| members[i] < n - size + i) else {
            return;
        };
        members[i] += 1;
        for j in i + 1..size {
            members[j] = members[j - 1] + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coalitions_are_different_and_paired() {
        for (players, budget) in [(5, 13), (8, 60), (13, 100), (30, 500), (2, 1), (3, 1)] {
            let coalitions = Coalitions::choose(players, budget, &mut Random::new(3));
            let mut members = coalitions.members.clone();
            assert!(members.len() <= budget, "{players} {budget}");
            members.sort();
            members.dedup();
            assert_eq!(members.len(), coalitions.members.len());
            let inside = |m: &Vec<usize>| !m.is_empty() && m.len() < players;
            assert!(members.iter().all(inside));
            let single = coalitions.draws.iter().filter(|d| d.coalitions.len() == 1);
            assert!(single.count() <= 1);
        }
    }
}
