//! The terms by which the program names what it shows, each defined once: `data/terms.toml`.

use crate::words;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// One term.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// As tables, pages and the command line call it.
    pub name: String,
    /// Other words for it.
    pub aliases: Vec<String>,
    /// The keys of JSON documents and the columns of tables that it explains.
    #[serde(default)]
    pub figures: Vec<String>,
    /// What it is, in one sentence.
    pub meaning: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formula: Option<String>,
    /// How to read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reading: Option<String>,
    /// The values that are ordinary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usual: Option<String>,
    /// What it looks like when something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong: Option<String>,
    /// Where the definition comes from; `None` where it is the program's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The names of related terms.
    #[serde(default)]
    pub see: Vec<String>,
    /// Questions that it answers.
    #[serde(default)]
    pub asked: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    term: Vec<Term>,
}

static TERMS: LazyLock<Vec<Term>> = LazyLock::new(|| {
    let file: File = toml::from_str(include_str!("../data/terms.toml")).expect("a test reads data/terms.toml");
    file.term
});

/// All terms, in the order of the file, which puts related ones together.
pub fn all() -> &'static [Term] {
    &TERMS
}

/// The term with this name, this alias, or this figure.
pub fn find(word: &str) -> Option<&'static Term> {
    let word = word.trim().trim_end_matches('?');
    let is_name = |term: &&Term| words::same(&term.name, word);
    let is_alias = |term: &&Term| term.aliases.iter().any(|alias| words::same(alias, word));
    all().iter().find(is_name).or_else(|| all().iter().find(is_alias)).or_else(|| of_figure(word))
}

/// The term that explains a figure, by its key in JSON or its column.
pub fn of_figure(key: &str) -> Option<&'static Term> {
    all().iter().find(|term| term.figures.iter().any(|figure| words::same(figure, key)))
}

/// The terms whose texts have the most words of a question, the best first; words that most terms have count little.
pub fn search(question: &str) -> Vec<&'static Term> {
    let lower = |text: &str| text.to_lowercase();
    let texts: Vec<String> = all().iter().map(|term| lower(&term.text())).collect();
    let asked = lower(question);
    let letters = |c: char| c.is_alphanumeric();
    let words: Vec<&str> = asked.split(|c| !letters(c)).filter(|word| word.chars().count() > 2).collect();
    // A rare word says more about what is meant.
    let weight = |word: &str| {
        let having = texts.iter().filter(|text| text.contains(word)).count();
        if having == 0 { 0.0 } else { (texts.len() as f64 / having as f64).ln() }
    };
    let weights: Vec<f64> = words.iter().map(|word| weight(word)).collect();
    let score = |text: &str| {
        let has = words.iter().zip(&weights).filter(|(word, _)| text.contains(*word));
        has.map(|(_, weight)| weight).sum::<f64>()
    };
    let mut scored: Vec<(f64, &Term)> = texts.iter().zip(all()).map(|(text, term)| (score(text), term)).collect();
    // Stable, so that terms of equal scores keep the file's order.
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let best = scored.first().map_or(0.0, |(score, _)| *score);
    scored.into_iter().filter(|(score, _)| *score > 0.0 && *score >= 0.6 * best).map(|(_, term)| term).collect()
}

impl Term {
    /// Name, aliases, meaning and questions, which say what it is about.
    fn text(&self) -> String {
        let parts =
            [&self.name, &self.meaning].into_iter().chain(&self.aliases).chain(&self.figures).chain(&self.asked);
        parts.map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_word_means_one_term_and_every_reference_exists() {
        let mut words = HashSet::new();
        for term in all() {
            for word in std::iter::once(&term.name).chain(&term.aliases) {
                assert!(words.insert(word.to_lowercase()), "{word} stands for two terms");
            }
            assert!(term.see.iter().all(|name| all().iter().any(|other| other.name == *name)), "{:?}", term.see);
            assert!(!term.see.contains(&term.name), "{} refers to itself", term.name);
        }
        let figures: Vec<&String> = all().iter().flat_map(|term| &term.figures).collect();
        assert_eq!(figures.iter().collect::<HashSet<_>>().len(), figures.len(), "a figure has two terms");
    }

    #[test]
    fn texts_are_sentences() {
        for term in all() {
            let texts = [Some(&term.meaning), term.reading.as_ref(), term.usual.as_ref(), term.wrong.as_ref()];
            for text in texts.into_iter().flatten() {
                assert!(text.ends_with('.') && !text.contains("  ") && !text.contains('\n'), "{}: {text}", term.name);
            }
            assert!(term.asked.iter().all(|question| question.ends_with('?')), "{:?}", term.asked);
        }
    }

    #[test]
    fn terms_are_found_by_name_alias_and_figure_as_users_write_them() {
        for (word, name) in [
            ("activation gradient", "activation gradient"),
            ("Activation-Gradients", "activation gradient"),
            ("grad", "activation gradient"),
            ("weight_decay_loss", "weight-decay loss"),
            ("L2 weight decay loss", "weight-decay loss"),
            ("dw/w", "update ratio"),
            ("relu", "ReLU"),
            ("forward_ns", "forward time"),
        ] {
            assert_eq!(find(word).map(|term| term.name.as_str()), Some(name), "{word}");
        }
        assert_eq!(find("colour"), None);
    }

    #[test]
    fn every_question_leads_to_its_term() {
        for term in all() {
            for question in &term.asked {
                let found = search(question);
                let place = found.iter().position(|other| other.name == term.name);
                assert!(
                    place.is_some_and(|place| place < 3),
                    "{question}: {:?}",
                    found.iter().map(|t| &t.name).collect::<Vec<_>>()
                );
            }
        }
        assert!(search("zzz qqq").is_empty());
    }
}
