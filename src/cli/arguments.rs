//! The command line as people type it: options with underscores or capitals, numbers below zero, and the names that other
//! programs have for things.

use super::Cli;
use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use glassnet::text::cut;
use std::ffi::OsString;

/// What is meant by options that no command of ours has.
const MEANT: [(&[&str], &str); 15] = [
    (&["--gpu", "--cuda", "--mps"], "to compute on the GPU, give --device gpu"),
    (&["--cpu", "--no-cuda", "--no-gpu"], "to compute on the processor, give --device cpu"),
    (
        &["--data", "--data-path", "--data-root", "--root"],
        "--dataset names a data set, --data-dir the folder with its files, --images a folder of pictures",
    ),
    (&["--model", "--arch", "--network"], "a network is named with --preset, or described in a file with --net"),
    (&["--model", "--run", "--checkpoint", "--weights"], "pass the path without an option"),
    (
        &["--threads", "--workers", "--num-workers", "--jobs"],
        "the number of threads is set in the environment, as RAYON_NUM_THREADS=4",
    ),
    (
        &["--verbose", "--debug", "--log-level", "-v"],
        "set RUST_LOG=info or RUST_LOG=debug in the environment to see more",
    ),
    (
        &["--dropout", "--activation", "--layers", "--initializer", "--init"],
        "that is part of the network: describe one in a TOML file, and train it with --net",
    ),
    (
        &["--augment", "--augmentation"],
        "the network's [augmentation] table says how pictures vary; --no-augmentation turns it off",
    ),
    (
        &["--val-split", "--validation-split", "--test-split"],
        "a tenth of the training set is held out for validation, unless --images has folders `train` and `val`",
    ),
    (&["--save", "--save-dir", "--output", "--output-dir", "-o"], "the file or folder to write is named with --out"),
    (&["--betas", "--adam-betas"], "Adam's two are given one by one, as --beta1 0.9 --beta2 0.999"),
    (&["--nesterov"], "--optimizer nesterov takes Nesterov's momentum; --momentum says how much"),
    (&["--optim", "--solver", "--opt"], "the rule that updates the weights is named with --optimizer"),
    (&["--quiet", "-q", "--silent"], "with --json standard output has one document and nothing else"),
];

/// The options where the tip for `--model` and the like is that the name stands alone.
const NAMED_ALONE: [&str; 3] = ["report", "view", "convert"];

/// Reads the command line; prints what is wrong with it, or the help that it asks for, and ends the program.
pub fn read() -> Cli {
    Cli::try_parse_from(spelled(std::env::args_os().collect()))
        .unwrap_or_else(|error| shortened(explained(error)).exit())
}

/// With each value of the command line cut to what a message should quote.
fn shortened(mut error: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue, ContextKind::InvalidSubcommand] {
        if let Some(ContextValue::String(value)) = error.get(kind) {
            let value = cut(value);
            error.insert(kind, ContextValue::String(value));
        }
    }
    error
}

/// Options in small letters and with hyphens, as ours are. A number below zero is not taken for options but for the value
/// of the one before, so that what is said is which values that takes.
fn spelled(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut spelled: Vec<OsString> = Vec::with_capacity(arguments.len());
    let mut options = true;
    for argument in arguments {
        options &= argument != "--";
        let option = argument.to_str().filter(|text| options && !spelled.is_empty() && text.starts_with('-'));
        let Some(text) = option else {
            spelled.push(argument);
            continue;
        };
        let before = spelled.last_mut().filter(|before| before.to_str().is_some_and(is_bare_option));
        if let Some(before) = before.filter(|_| is_negative(text)) {
            before.push("=");
            before.push(text);
        } else if let Some(option) = text.strip_prefix("--").or_else(|| word(text)) {
            let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
            let name = name.replace('_', "-").to_ascii_lowercase();
            spelled.push(value.map_or(format!("--{name}"), |value| format!("--{name}={value}")).into());
        } else {
            spelled.push(argument);
        }
    }
    spelled
}

/// What stands behind one hyphen where that is a word, as in `-epochs 3` or `-lr=0.1`: two hyphens are meant. Options of one
/// letter stay.
fn word(text: &str) -> Option<&str> {
    let word = text.strip_prefix('-')?;
    (word.len() > 1 && word.starts_with(|c: char| c.is_ascii_alphabetic())).then_some(word)
}

/// Whether this is an option without a value of its own.
fn is_bare_option(text: &str) -> bool {
    text.len() > 2 && text.starts_with("--") && !text.contains('=')
}

/// Whether this begins as a number below zero does; others, as in `-1,2`, may follow.
fn is_negative(text: &str) -> bool {
    let number = text.strip_prefix('-').unwrap_or_default();
    number.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || ["inf", "infinity", "nan"].iter().any(|word| number.eq_ignore_ascii_case(word))
}

/// With a tip about what was meant, where that can be told.
fn explained(mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else { return error };
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let takes = |option: &str| usage.contains(option);
    let alone = NAMED_ALONE.iter().any(|command| usage.contains(&format!("glassnet {command}")));
    let tip = if !unknown.starts_with('-') && takes("--model") {
        Some("name the model with --model FILE")
    } else {
        let name = unknown.split(['=', ' ']).next().unwrap_or_default();
        let mut meant = MEANT.iter().filter(|(names, _)| names.contains(&name)).map(|(_, tip)| *tip);
        if alone { meant.next_back() } else { meant.next() }
    };
    if let Some(tip) = tip {
        // A similar name would be no help.
        error.remove(ContextKind::SuggestedArg);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Vec<String> {
        let own = std::iter::once(&"glassnet").chain(arguments).map(OsString::from).collect();
        spelled(own).iter().skip(1).map(|text| text.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn options_are_spelled_as_ours_are_and_values_stay() {
        assert_eq!(read(&["train", "--Batch_Size", "20"]), ["train", "--batch-size", "20"]);
        assert_eq!(read(&["--out=My_Run", "My_Run"]), ["--out=My_Run", "My_Run"]);
        assert_eq!(read(&["--learning_rate", "-inf", "--seed", "-1"]), ["--learning-rate=-inf", "--seed=-1"]);
        assert_eq!(read(&["train", "-lr", "0.1", "-Batch_Size=9"]), ["train", "--lr", "0.1", "--batch-size=9"]);
        assert_eq!(read(&["train", "-h", "-", "-5"]), ["train", "-h", "-", "-5"]);
        assert_eq!(read(&["predict", "--", "--My_Picture.png"]), ["predict", "--", "--My_Picture.png"]);
    }

    #[test]
    fn the_command_line_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
