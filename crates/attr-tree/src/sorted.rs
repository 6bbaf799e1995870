//! Rows on their way down a tree, sorted by what they share.

use crate::tree::{Branch, Test, is_member};

/// A path's features, one bit each, in the order in which it tests them. A bit is set while a row passes
/// everything that the path asks of the feature; bits of no feature are set.
pub(crate) type Pattern = u128;

/// Rows at one node: those of the same pattern together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sorted {
    groups: Vec<(Pattern, u32)>,
    rows: Vec<u32>,
}

impl Sorted {
    /// All rows before the first branch.
    pub fn fill(&mut self, rows: usize) {
        self.groups.clear();
        self.rows.clear();
        self.rows.extend(0..rows as u32);
        if rows > 0 {
            self.groups.push((Pattern::MAX, rows as u32));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Patterns and how many rows have each.
    pub fn counts(&self) -> impl Iterator<Item = (Pattern, u32)> {
        let mut start = 0;
        self.groups.iter().map(move |&(pattern, end)| {
            let count = end - start;
            start = end;
            (pattern, count)
        })
    }

    /// Patterns and the rows that have each.
    pub fn groups(&self) -> impl Iterator<Item = (Pattern, &[u32])> {
        let mut start = 0;
        self.groups.iter().map(move |&(pattern, end)| {
            let rows = &self.rows[start as usize..end as usize];
            start = end;
            (pattern, rows)
        })
    }

    /// Drops the patterns that nobody wants.
    pub fn keep(&mut self, wanted: impl Fn(Pattern) -> bool) {
        let (mut kept, mut filled, mut start) = (0, 0, 0);
        for at in 0..self.groups.len() {
            let (pattern, end) = self.groups[at];
            if wanted(pattern) {
                self.rows.copy_within(start..end as usize, filled);
                filled += end as usize - start;
                self.groups[kept] = (pattern, filled as u32);
                kept += 1;
            }
            start = end as usize;
        }
        self.groups.truncate(kept);
        self.rows.truncate(filled);
    }

    /// Becomes what another node's rows are behind one side of its branch: each pattern splits into the rows
    /// that go there and those that do not. `column` has the value of the branch's feature for each row.
    pub fn split(&mut self, from: &Self, column: &[f32], branch: &Branch, side: bool, slot: usize) {
        let bit = 1 << slot;
        let nan = branch.missing_passes;
        // One loop for each kind of test, and no choice inside.
        match &branch.test {
            Test::LessOrEqual(t) => {
                self.split_by(from, bit, |row| {
                    passes(column[row], nan, |v| v <= *t) == side
                });
            }
            Test::Less(t) => {
                self.split_by(from, bit, |row| {
                    passes(column[row], nan, |v| v < *t) == side
                });
            }
            Test::GreaterOrEqual(t) => {
                self.split_by(from, bit, |row| {
                    passes(column[row], nan, |v| v >= *t) == side
                });
            }
            Test::Greater(t) => {
                self.split_by(from, bit, |row| {
                    passes(column[row], nan, |v| v > *t) == side
                });
            }
            Test::Equal(t) => {
                self.split_by(from, bit, |row| {
                    passes(column[row], nan, |v| v == *t) == side
                });
            }
            Test::NotEqual(t) => {
                self.split_by(from, bit, |row| {
                    passes(column[row], nan, |v| v != *t) == side
                });
            }
            Test::Member(all) => self.split_by(from, bit, |row| {
                passes(column[row], nan, |v| is_member(all, v)) == side
            }),
        }
    }

    fn split_by(&mut self, from: &Self, bit: Pattern, goes: impl Fn(usize) -> bool) {
        self.groups.clear();
        self.rows.resize(from.rows.len(), 0);
        let mut start = 0;
        for &(pattern, end) in &from.groups {
            let rows = &from.rows[start..end as usize];
            let into = &mut self.rows[start..end as usize];
            if pattern & bit == 0 {
                // They have failed at this feature before.
                into.copy_from_slice(rows);
                self.groups.push((pattern, end));
                start = end as usize;
                continue;
            }
            // Those that go there fill it from the front, the others from the back. Each row is written to
            // both places and one of them counts: nothing to guess for the processor.
            let (mut front, mut back) = (0, rows.len());
            for &row in rows {
                let goes = goes(row as usize);
                into[front] = row;
                into[back - 1] = if goes { into[back - 1] } else { row };
                front += usize::from(goes);
                back -= usize::from(!goes);
            }
            if front > 0 {
                self.groups.push((pattern, (start + front) as u32));
            }
            if back < rows.len() {
                self.groups.push((pattern & !bit, end));
            }
            start = end as usize;
        }
    }
}

fn passes(value: f32, missing_passes: bool, test: impl Fn(f32) -> bool) -> bool {
    test(value) | (missing_passes & value.is_nan())
}
