//! `glassnet explain`: what the figures and the words of the program mean.

use super::output::Output;
use clap::Args;
use glassnet::terms::{self, Term};
use glassnet::{Error, Result, text};
use serde::Serialize;
use std::fmt::Write;
use std::process::ExitCode;
use textwrap::{Options, WordSplitter, fill};

/// Explain a figure or a word of the program, such as `activation gradient`, `dw/w` or `weight decay`; without one, list
/// all
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A term, a column of a table, a key of a JSON document, or a question
    #[arg(value_name = "TERM")]
    term: Vec<String>,
    /// Print all terms as docs/glossary.md
    #[arg(long, hide = true, conflicts_with_all = ["term", "json"])]
    markdown: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    terms: Vec<&'a Term>,
}

/// The columns of text.
const WIDTH: usize = 80;

pub fn run(args: &ExplainArgs) -> Result<ExitCode> {
    if args.markdown {
        args.output.say(markdown().trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let asked = args.term.join(" ");
    if asked.trim().is_empty() {
        let report = Report { terms: terms::all().iter().collect() };
        args.output.result(&report, list(terms::all().iter()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let found = terms::find(&asked).map_or_else(|| terms::search(&asked), |term| vec![term]);
    let text = match &found[..] {
        [] => {
            return Err(Error::Settings(format!(
                "there is no term {:?}; `glassnet explain` lists all of them",
                text::cut(&asked)
            )));
        }
        [term] => page(term),
        [first, others @ ..] => format!("{}\n\nAlso:\n{}", page(first), list(others.iter().copied())),
    };
    args.output.result(&Report { terms: found }, text)?;
    Ok(ExitCode::SUCCESS)
}

/// A line for each term.
fn list<'a>(terms: impl Iterator<Item = &'a Term>) -> String {
    let mut text = String::new();
    for term in terms {
        let indent = " ".repeat(24);
        let name = format!("{:22}  ", term.name);
        let options = Options::new(WIDTH).initial_indent(&name).subsequent_indent(&indent);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", fill(&term.meaning, options));
    }
    text.trim_end().to_string()
}

/// Everything about a term.
fn page(term: &Term) -> String {
    let Term { name, aliases, meaning, formula, reading, usual, wrong, source, see, .. } = term;
    let also = if aliases.is_empty() { String::new() } else { format!("  ({})", aliases.join(", ")) };
    let mut text = format!("{}\n\n{}\n", fill(&format!("{name}{also}"), WIDTH), fill(meaning, WIDTH));
    let see = (!see.is_empty()).then(|| see.join(", "));
    let parts = [
        ("formula", formula),
        ("to read it", reading),
        ("ordinary", usual),
        ("if wrong", wrong),
        ("source", source),
        ("see also", &see),
    ];
    for (label, part) in parts {
        if let Some(part) = part {
            let (first, rest) = (format!("{label:12}"), " ".repeat(12));
            let options = Options::new(WIDTH).initial_indent(&first).subsequent_indent(&rest);
            let _ = write!(text, "\n{}", fill(part, options));
        }
    }
    text
}

/// The glossary of the documentation.
fn markdown() -> String {
    let mut text = String::from(
        "# Glossary\n\nThe terms of tables, pages, reports and JSON documents. `glassnet explain TERM` prints an entry; \
         `glassnet explain\n--markdown` prints this page, from `data/terms.toml`.\n",
    );
    for term in terms::all() {
        let Term { name, aliases, figures, meaning, formula, reading, usual, wrong, source, see, .. } = term;
        let _ = write!(text, "\n## {name}\n\n{}\n", fill(meaning, 120));
        let figures = figures.iter().map(|figure| format!("`{figure}`")).collect::<Vec<_>>().join(", ");
        let links: Vec<String> = see.iter().map(|name| format!("[{name}](#{})", anchor(name))).collect();
        let parts = [
            ("Formula", formula.as_ref().map(|formula| format!("`{formula}`"))),
            ("To read it", reading.clone()),
            ("Ordinary", usual.clone()),
            ("If something is wrong", wrong.clone()),
            ("Figures", (!figures.is_empty()).then_some(figures)),
            ("Other words", (!aliases.is_empty()).then(|| aliases.join(", "))),
            ("See also", (!links.is_empty()).then(|| links.join(", "))),
            ("Source", source.clone()),
        ];
        for (label, part) in parts {
            if let Some(part) = part {
                let options = Options::new(120).initial_indent("- ").subsequent_indent("  ").break_words(false);
                // A link that is cut at a hyphen leads nowhere.
                let options = options.word_splitter(WordSplitter::NoHyphenation);
                let _ = write!(text, "\n{}", fill(&format!("**{label}:** {part}"), options));
            }
        }
        text.push('\n');
    }
    text
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    heading.to_lowercase().replace(' ', "-")
}
