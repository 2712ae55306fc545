//! The command line as users type it: options with underscores or capitals, negative numbers, and names from other
//! programs.

use super::Cli;
use super::defaults;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};
use glassnet::text::cut;
use std::ffi::OsString;

/// Hints for options that no command has.
const MEANT: [(&[&str], &str); 15] = [
    (&["--gpu", "--cuda", "--mps"], "to compute on the GPU, use --device gpu"),
    (&["--cpu", "--no-cuda", "--no-gpu"], "to compute on the processor, use --device cpu"),
    (
        &["--data", "--data-path", "--data-root", "--root"],
        "--dataset names a data set, --data-dir the folder with its files, --images a folder of pictures",
    ),
    (&["--model", "--arch", "--network"], "choose a network with --preset, or describe one in a file with --net"),
    (&["--model", "--run", "--checkpoint", "--weights"], "pass the path without an option"),
    (
        &["--threads", "--workers", "--num-workers", "--jobs"],
        "set the number of threads in the environment, such as RAYON_NUM_THREADS=4",
    ),
    (
        &["--verbose", "--debug", "--log-level", "-v"],
        "set RUST_LOG=info or RUST_LOG=debug in the environment to see more",
    ),
    (
        &["--dropout", "--activation", "--layers", "--initializer", "--init"],
        "this belongs to the network; describe one in a TOML file, and train it with --net",
    ),
    (
        &["--augment", "--augmentation"],
        "the network's [augmentation] table controls this; --no-augmentation turns it off",
    ),
    (
        &["--val-split", "--validation-split", "--test-split"],
        "a tenth of the training set is held out for validation, unless --images has folders `train` and `val`",
    ),
    (&["--save", "--save-dir", "--output", "--output-dir", "-o"], "name the file or folder to write with --out"),
    (&["--betas", "--adam-betas"], "give Adam's two values separately, such as --beta1 0.9 --beta2 0.999"),
    (&["--nesterov"], "use --optimizer nesterov for Nesterov's momentum; --momentum sets its value"),
    (&["--optim", "--solver", "--opt"], "choose the optimizer with --optimizer"),
    (&["--quiet", "-q", "--silent"], "use --json to get a single document on standard output"),
];

/// Commands for which the hint for `--model` and similar options is to give the name alone.
const NAMED_ALONE: [&str; 3] = ["report", "view", "convert"];

/// Reads the command line. On an error, or if help is requested, prints the text and ends the program.
pub fn read() -> Cli {
    let matches = defaults::explained(Cli::command()).try_get_matches_from(spelled(std::env::args_os().collect()));
    matches
        .and_then(|matches| Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut Cli::command())))
        .unwrap_or_else(|error| shortened(explained(error)).exit())
}

/// Cuts each quoted value of the command line to a length that suits a message.
fn shortened(mut error: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue, ContextKind::InvalidSubcommand] {
        if let Some(ContextValue::String(value)) = error.get(kind) {
            let value = cut(value);
            error.insert(kind, ContextValue::String(value));
        }
    }
    error
}

/// Options in lower case with hyphens, as this program spells them. A negative number counts as the value of the option
/// before it, so that an error message is about that option's values.
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

/// The word after a single hyphen, as in `-epochs 3` or `-lr=0.1`, where two hyphens are meant. Options of one letter
/// stay unchanged.
fn word(text: &str) -> Option<&str> {
    let word = text.strip_prefix('-')?;
    (word.len() > 1 && word.starts_with(|c: char| c.is_ascii_alphabetic())).then_some(word)
}

/// Whether this is an option that takes no value.
fn is_bare_option(text: &str) -> bool {
    text.len() > 2 && text.starts_with("--") && !text.contains('=')
}

/// Whether this begins like a negative number; more numbers, as in `-1,2`, may follow.
fn is_negative(text: &str) -> bool {
    let number = text.strip_prefix('-').unwrap_or_default();
    number.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || ["inf", "infinity", "nan"].iter().any(|word| number.eq_ignore_ascii_case(word))
}

/// Adds a hint about what was probably meant.
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
        // A similar name would not help.
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
