//! The rows that a watcher gets who comes late: bounded, thinned evenly.

use std::sync::Arc;

/// The number of rows of statistics beyond which every second one is dropped.
const MOST_STEPS: usize = 800;
/// The same limit for rows of epochs, and of changes.
const MOST_OTHERS: usize = 2000;

/// Rows that a watcher gets at a time.
pub(super) const MOST_NEWS: usize = 50;

/// A row as JSON, with its position among all messages.
#[derive(Debug, Clone)]
struct Row {
    sequence: u64,
    json: Arc<str>,
}

/// A list in which the distance between rows doubles whenever it is full.
#[derive(Debug)]
struct Thinned {
    rows: Vec<Row>,
    most: usize,
    /// One in so many rows is kept.
    every: u64,
    /// Rows offered so far.
    offered: u64,
}

impl Thinned {
    fn new(most: usize) -> Thinned {
        Thinned { rows: Vec::new(), most, every: 1, offered: 0 }
    }

    fn push(&mut self, row: Row) {
        // The newest row is always kept; the next one replaces it unless it is one of the evenly spaced ones.
        if self.rows.len() as u64 > self.offered.div_ceil(self.every) {
            self.rows.pop();
        }
        self.rows.push(row);
        self.offered += 1;
        if self.rows.len() > self.most {
            let mut i = 0;
            self.rows.retain(|_| {
                i += 1;
                i % 2 == 1
            });
            self.every *= 2;
        }
    }
}

/// Rows of `metrics.jsonl` as messages for a page.
#[derive(Debug)]
pub(super) struct Rows {
    steps: Thinned,
    others: Thinned,
}

impl Default for Rows {
    fn default() -> Self {
        Rows { steps: Thinned::new(MOST_STEPS), others: Thinned::new(MOST_OTHERS) }
    }
}

impl Rows {
    pub fn push_step(&mut self, sequence: u64, json: String) {
        self.steps.push(Row { sequence, json: json.into() });
    }

    pub fn push_other(&mut self, sequence: u64, json: String) {
        self.others.push(Row { sequence, json: json.into() });
    }

    /// The first [`MOST_NEWS`] rows behind `sequence`, in order, and the sequence of the last.
    pub fn behind(&self, sequence: u64) -> (Vec<Arc<str>>, u64) {
        let mut rows: Vec<&Row> = [&self.steps.rows, &self.others.rows]
            .into_iter()
            .flat_map(|rows| &rows[rows.partition_point(|row| row.sequence <= sequence)..])
            .collect();
        rows.sort_unstable_by_key(|row| row.sequence);
        rows.truncate(MOST_NEWS);
        let last = rows.last().map_or(sequence, |row| row.sequence);
        (rows.into_iter().map(|row| row.json.clone()).collect(), last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(rows: &[Arc<str>]) -> Vec<u64> {
        rows.iter().map(|row| row.parse().expect("a number")).collect()
    }

    #[test]
    fn a_watcher_gets_what_is_new_in_order() {
        let mut rows = Rows::default();
        for i in 1..=6 {
            match i % 3 {
                0 => rows.push_other(i, i.to_string()),
                _ => rows.push_step(i, i.to_string()),
            }
        }
        let (all, last) = rows.behind(0);
        assert_eq!((numbers(&all), last), (vec![1, 2, 3, 4, 5, 6], 6));
        assert_eq!(numbers(&rows.behind(4).0), [5, 6]);
        assert_eq!(rows.behind(6), (Vec::new(), 6));
    }

    #[test]
    fn however_long_the_run_rows_are_bounded_and_even() {
        let mut rows = Rows::default();
        for i in 1..=50_000 {
            rows.push_step(i, i.to_string());
            assert!(rows.steps.rows.len() <= MOST_STEPS);
            assert_eq!(rows.behind(i - 1).0.len(), 1, "the newest is never left out: {i}");
        }
        let mut kept: Vec<u64> = Vec::new();
        loop {
            let (some, _) = rows.behind(kept.last().copied().unwrap_or(0));
            if some.is_empty() {
                break;
            }
            assert!(some.len() <= MOST_NEWS);
            kept.extend(numbers(&some));
        }
        assert_eq!(kept[0], 1, "nor the first");
        let gaps: Vec<u64> = kept.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let (last, before) = gaps.split_last().expect("many");
        assert!(before.iter().all(|gap| *gap == rows.steps.every) && *last <= rows.steps.every, "{gaps:?}");
        assert!(kept.len() > MOST_STEPS / 3);
    }
}
