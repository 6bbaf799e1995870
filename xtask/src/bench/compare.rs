//! Which rows became slower since another run, apart from the machine's speed.

use std::fmt;

use super::results::{Results, Row};
use super::table::name;

/// What passes as the same speed beyond the spread of the runs.
const MARGIN: f64 = 0.05;

/// A row whose time grew.
pub struct Slower {
    name: String,
    /// The new time over the old, on a machine of the same speed.
    by: f64,
    /// What the spread of both runs explains.
    allowed: f64,
}

/// Two runs beside each other.
pub struct Comparison {
    pub slower: Vec<Slower>,
    compared: usize,
    /// Rows of the old run that the new one does not have.
    missing: usize,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows compared", self.compared)?;
        if self.missing > 0 {
            write!(f, ", {} were not timed again", self.missing)?;
        }
        for Slower { name, by, allowed } in &self.slower {
            write!(
                f,
                "\nslower: {name}: {by:.2} times as long, {allowed:.2} is within the spread"
            )?;
        }
        Ok(())
    }
}

/// Compares the times of attr.
///
/// Where both runs have the same version of the peer, a row's time counts in units of the peer's, which
/// ran in turn with it. Elsewhere, it counts in units of how much slower the machine became: by the
/// median of the peers' times, or of attr's own where the peers cannot tell.
pub fn compare(old: &Results, new: &Results) -> Comparison {
    let same_peers = old.has_peers_of(new);
    let same =
        |a: &Row, b: &Row| (&a.model, &a.method, &a.setting) == (&b.model, &b.method, &b.setting);
    let pairs: Vec<(&Row, &Row)> = old
        .rows
        .iter()
        .filter_map(|old| Some((old, new.rows.iter().find(|new| same(old, new))?)))
        .collect();
    let peers = pairs.iter().filter_map(|(old, new)| {
        let (old, new) = (old.peer_best_ms.as_ref()?, new.peer_best_ms.as_ref()?);
        same_peers.then_some(new.median / old.median)
    });
    let own = pairs
        .iter()
        .map(|(old, new)| new.ours_ms.median / old.ours_ms.median);
    let machine = median(peers.collect())
        .or(median(own.collect()))
        .unwrap_or(1.0);

    let mut slower = Vec::new();
    for &(old, new) in &pairs {
        let mut spread = old.ours_ms.spread() + new.ours_ms.spread();
        let ratios = old.ratio.zip(new.ratio).filter(|_| same_peers);
        let by = match ratios {
            Some((old_ratio, new_ratio)) => {
                let peers = [old, new].map(|row| row.peer_best_ms);
                spread += peers
                    .iter()
                    .flatten()
                    .map(|times| times.spread())
                    .sum::<f64>();
                old_ratio / new_ratio
            }
            None => new.ours_ms.median / old.ours_ms.median / machine,
        };
        let allowed = 1.0 + MARGIN + spread;
        if by > allowed {
            let name = format!("{}, {}", new.model, name(new));
            slower.push(Slower { name, by, allowed });
        }
    }
    slower.sort_by(|a, b| b.by.total_cmp(&a.by));
    Comparison {
        slower,
        compared: pairs.len(),
        missing: old.rows.len() - pairs.len(),
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::results::Times;
    use super::*;

    /// Rows of attr's and, if any, the peer's milliseconds, each with quartiles 1% apart.
    fn results(torch: &str, rows: &[(f64, Option<f64>)]) -> Results {
        let times = |median: f64| Times {
            median,
            low: median * 0.995,
            high: median * 1.005,
            runs: 5,
        };
        let rows = rows.iter().enumerate().map(|(i, &(ours, peer))| Row {
            model: "model".into(),
            method: format!("method {i}"),
            setting: String::new(),
            peer: "Captum".into(),
            ours_ms: times(ours),
            peer_best_ms: peer.map(times),
            peer_best: None,
            peer_default_ms: None,
            ratio: peer.map(|peer| peer / ours),
            work: None,
            floor_ms: None,
            over_floor: None,
            ours_mib: None,
            peer_mib: None,
            difference: None,
            refusal: None,
        });
        Results {
            date: String::new(),
            cpu: String::new(),
            cores: 2,
            system: String::new(),
            device: "flex".into(),
            threads: "2".into(),
            versions: BTreeMap::from([("torch".into(), torch.into())]),
            rows: rows.collect(),
        }
    }

    fn slower(old: &Results, new: &Results) -> Vec<String> {
        let found = compare(old, new).slower;
        found.into_iter().map(|row| row.name).collect()
    }

    #[test]
    fn a_slower_machine_does_not_count() {
        let old = results("2", &[(10.0, Some(20.0)), (1.0, Some(5.0)), (4.0, None)]);
        let new = results("2", &[(15.0, Some(30.0)), (1.5, Some(7.5)), (6.0, None)]);
        assert!(slower(&old, &new).is_empty());
    }

    #[test]
    fn rows_that_became_slower_are_found_with_and_without_a_peer() {
        let old = results("2", &[(10.0, Some(20.0)), (1.0, Some(5.0)), (4.0, None)]);
        let new = results("2", &[(18.0, Some(30.0)), (1.5, Some(7.5)), (8.0, None)]);
        let expected = ["model, method 2", "model, method 0"];
        assert_eq!(slower(&old, &new), expected);
    }

    #[test]
    fn a_faster_peer_does_not_make_attr_slower() {
        let old = results("2", &[(10.0, Some(20.0)), (1.0, Some(5.0)), (4.0, None)]);
        let new = results("3", &[(10.0, Some(10.0)), (1.0, Some(2.5)), (4.0, None)]);
        assert!(slower(&old, &new).is_empty());
    }

    #[test]
    fn the_spread_is_allowed() {
        let old = results("2", &[(10.0, Some(20.0))]);
        let mut new = results("2", &[(11.5, Some(20.0))]);
        assert_eq!(slower(&old, &new).len(), 1);
        new.rows[0].ours_ms.high = 13.0;
        assert!(slower(&old, &new).is_empty());
    }

    #[test]
    fn rows_that_were_not_timed_again_are_counted() {
        let old = results("2", &[(10.0, Some(20.0)), (4.0, None)]);
        let new = results("2", &[(10.0, Some(20.0))]);
        assert_eq!(compare(&old, &new).missing, 1);
    }
}
