//! Help texts that clap's derive cannot make: which optimizers have a constant, and its defaults, from their table; and
//! options of training that mean nothing in a comparison.

use clap::Command;
use glassnet::kernels::optimizer::OPTIMIZERS;
use glassnet::text;
use std::collections::BTreeSet;
use std::iter;

/// The command line with these help texts.
pub fn explained(command: Command) -> Command {
    let hidden = |compare: Command| compare.mut_arg("checkpoint_every", |option| option.hide(true));
    with_optimizers(command).mut_subcommand("compare", hidden)
}

fn with_optimizers(mut command: Command) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_string()).collect();
    for name in names {
        command = command.mut_subcommand(name, |mut sub| {
            for option in options() {
                if sub.get_arguments().any(|argument| argument.get_id() == option) {
                    sub = sub.mut_arg(option, |argument| {
                        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                        argument.help(format!("{help} {}", defaults(option)))
                    });
                }
            }
            sub
        });
    }
    command
}

/// The options that are an optimizer's constants, or hold for all of them.
fn options() -> BTreeSet<&'static str> {
    let constants = OPTIMIZERS.iter().flat_map(|optimizer| optimizer.constants).map(|(name, _)| *name);
    iter::once("learning_rate").chain(constants).collect()
}

/// All optimizers by name, for the help of `--optimizer`.
pub fn optimizer_help() -> String {
    let names: Vec<String> = (OPTIMIZERS.iter())
        .map(|optimizer| match optimizer.aliases {
            [] => optimizer.name.to_string(),
            aliases => format!("{} (also {})", optimizer.name, aliases.join(", ")),
        })
        .collect();
    format!(
        "The rule that turns gradients into updates: {} [default: the network's own, else adadelta]",
        text::joined(&names, "or")
    )
}

/// The optimizers that have a constant, unless all have it, and its defaults.
fn defaults(option: &str) -> String {
    let mut groups: Vec<(f64, Vec<&str>)> = Vec::new();
    let mut having = Vec::new();
    for optimizer in OPTIMIZERS {
        let value = match option {
            "learning_rate" => Some(optimizer.learning_rate),
            _ => optimizer.constants.iter().find(|(name, _)| *name == option).map(|(_, value)| *value),
        };
        let Some(value) = value else { continue };
        having.push(optimizer.name);
        match groups.iter_mut().find(|(known, _)| *known == value) {
            Some((_, names)) => names.push(optimizer.name),
            None => groups.push((value, vec![optimizer.name])),
        }
    }
    let values: Vec<String> = match &groups[..] {
        [(value, _)] => vec![number(*value)],
        groups => groups
            .iter()
            .map(|(value, names)| format!("{} for {}", number(*value), text::joined(names, "and")))
            .collect(),
    };
    let whose =
        if having.len() == OPTIMIZERS.len() { String::new() } else { format!("of {}; ", text::joined(&having, "and")) };
    format!("[{whose}default: the network's own, else {}]", values.join("; "))
}

/// A number with few digits: 0.001, 1e-6.
fn number(value: f64) -> String {
    if value < 1e-3 { format!("{value:e}") } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_grouped() {
        assert_eq!(defaults("momentum"), "[of momentum and nesterov; default: the network's own, else 0.9]");
        let rho =
            "[of windowgrad and adadelta; default: the network's own, else 0.99 for windowgrad; 0.95 for adadelta]";
        assert_eq!(defaults("rho"), rho);
        assert!(defaults("epsilon").contains("else 1e-10 for adagrad; 1e-8 for windowgrad"));
        let rate = defaults("learning_rate");
        assert!(rate.starts_with("[default: ") && rate.contains("1 for adadelta; 0.001 for adam and adamw"), "{rate}");
        assert!(optimizer_help().contains("windowgrad (also rmsprop), adadelta, adam or adamw ["));
    }
}
