//! The rows for watchers who come late: a bounded number, thinned evenly.

use super::message::Message;
use std::sync::Arc;

/// The number of rows of statistics beyond which every second one is dropped.
const MOST_STEPS: usize = 800;
/// The same limit for rows of epochs, and of changes.
const MOST_OTHERS: usize = 2000;

/// The most rows that a watcher receives at a time.
pub const MOST_NEWS: usize = 50;

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
    /// One row out of this number is kept.
    every: u64,
    /// The number of rows offered so far.
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
pub struct PageRows {
    /// The sequence of the last row.
    sequence: u64,
    steps: Thinned,
    others: Thinned,
}

impl Default for PageRows {
    fn default() -> Self {
        PageRows { sequence: 0, steps: Thinned::new(MOST_STEPS), others: Thinned::new(MOST_OTHERS) }
    }
}

impl PageRows {
    /// Adds a row; its sequence is one more than that of the row before.
    pub fn push(&mut self, message: &Message<'_>) {
        self.push_json(matches!(message, Message::Step(_)), message.to_json());
    }

    fn push_json(&mut self, step: bool, json: String) {
        self.sequence += 1;
        let rows = if step { &mut self.steps } else { &mut self.others };
        rows.push(Row { sequence: self.sequence, json: json.into() });
    }

    /// The first [`MOST_NEWS`] rows after `sequence`, in order, and the sequence of the last.
    pub fn after(&self, sequence: u64) -> (Vec<Arc<str>>, u64) {
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
        let mut rows = PageRows::default();
        for i in 1..=6 {
            rows.push_json(i % 3 != 0, i.to_string());
        }
        let (all, last) = rows.after(0);
        assert_eq!((numbers(&all), last), (vec![1, 2, 3, 4, 5, 6], 6));
        assert_eq!(numbers(&rows.after(4).0), [5, 6]);
        assert_eq!(rows.after(6), (Vec::new(), 6));
    }

    #[test]
    fn however_long_the_run_rows_are_bounded_and_even() {
        let mut rows = PageRows::default();
        for i in 1..=50_000 {
            rows.push_json(true, i.to_string());
            assert!(rows.steps.rows.len() <= MOST_STEPS);
            assert_eq!(rows.after(i - 1).0.len(), 1, "the newest is never left out: {i}");
        }
        let mut kept: Vec<u64> = Vec::new();
        loop {
            let (some, _) = rows.after(kept.last().copied().unwrap_or(0));
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
