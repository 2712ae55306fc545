//! Operators that make faults; each changes one place of a line.

use glassnet::kernels::Variant;
use regex::Regex;

/// A kernel's shader with one line changed.
#[derive(Debug, Clone)]
pub struct Fault {
    pub operator: &'static str,
    /// Where the line stands.
    pub function: String,
    pub old: String,
    pub new: String,
    /// The index among the function's lines that equal `old`.
    pub nth: usize,
    /// The whole shader with the new line.
    pub source: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}] {}: `{}` became `{}`", self.operator, self.function, self.old, self.new)
    }
}

/// A name, the text to find and its replacement.
type Operator = (&'static str, &'static str, &'static str);

/// Each match of each operator is one fault.
const OPERATORS: &[Operator] = &[
    ("second dimension forgotten", r"group\.y \* groups\.x \+ group\.x", "group.x"),
    ("texture's second row forgotten", r"i >> 13u", "0u"),
    ("bound taken along", r" < ", " <= "),
    ("bound taken along", r" >= ", " > "),
    ("bound left out", r" <= ", " < "),
    ("bound left out", r" > ", " >= "),
    ("equality", r" == ", " != "),
    ("equality", r" != ", " == "),
    ("check forgotten", r"\{ (return|continue);? \}", "{ }"),
    ("one condition of two", r" && [^&|{;,]+", ""),
    ("one condition of two", r" \|\| [^&|{;,]+", ""),
    ("sign", r" \+ ", " - "),
    ("sign", r" - ", " + "),
    ("sign", r" \+= ", " -= "),
    ("sum overwritten", r" \+= ", " = "),
    ("factor forgotten", r" \* [\w.]+(\[[\w.]+\])?", ""),
    ("divisor forgotten", r" / [\w.]+", ""),
    ("term forgotten", r" \+ [\w.]+", ""),
    ("padding forgotten", r" - i32\(p\.pad_[yx]\)", ""),
    ("padding forgotten", r" [+-] p\.pad_[yx]", ""),
    ("rows for columns", r"p\.h\b", "p.w"),
    ("rows for columns", r"p\.oh\b", "p.ow"),
    ("rows for columns", r"p\.kh\b", "p.kw"),
    ("rows for columns", r"p\.pad_y\b", "p.pad_x"),
    ("rows for columns", r"p\.stride_y\b", "p.stride_x"),
    ("rows for columns", r"p\.dilation_y\b", "p.dilation_x"),
    ("columns for rows", r"p\.w\b", "p.h"),
    ("columns for rows", r"p\.ow\b", "p.oh"),
    ("columns for rows", r"p\.kw\b", "p.kh"),
    ("columns for rows", r"p\.pad_x\b", "p.pad_y"),
    ("columns for rows", r"p\.stride_x\b", "p.stride_y"),
    ("columns for rows", r"p\.dilation_x\b", "p.dilation_y"),
    ("outputs for inputs", r"p\.c\b", "p.o"),
    ("outputs for inputs", r"p\.k\b", "p.o"),
    ("inputs for outputs", r"p\.o\b", "p.k"),
    ("inputs for outputs", r"p\.o\b", "p.c"),
    ("write left out", r"^\s*\w+\[[^=]*\] = .*;$", ";"),
    ("write left out", r"\{ \w+\[[^=]*\] = [^;]*; \}", "{ }"),
    ("zero forgotten", r"select\((?:0\.0|vec4f\(\)|vec4f\(0\.0\)), ", "select(1.0 * VALUE, "),
    ("smaller for larger", r"\bmin\(", "max("),
    ("larger for smaller", r"\bmax\(", "min("),
    ("neighbour", r"\b1u\b", "2u"),
    ("neighbour", r"\b2u\b", "1u"),
    ("neighbour", r"\b3u\b", "2u"),
    ("neighbour", r"\b4u\b", "3u"),
    ("constant", r"\b0\.0\b", "0.5"),
    ("constant", r"\b1\.0\b", "1.5"),
    ("constant", r"\b0\.5\b", "1.0"),
    ("constant", r"\b2\.0\b", "1.0"),
];

/// The lines of the functions that a kernel runs: its entry points and the functions that they call.
fn lines_of(kernel: &Variant) -> Vec<(String, usize)> {
    let lines: Vec<&str> = kernel.source.lines().collect();
    let head = Regex::new(r"^fn (\w+)").expect("a pattern");
    // Name, first line and the one after the last.
    let mut functions: Vec<(String, usize, usize)> = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        if let Some(name) = head.captures(line) {
            let whole = line.ends_with('}');
            let end = if whole { first } else { (first..).find(|i| lines[*i] == "}").expect("a function ends") };
            functions.push((name[1].to_string(), first, end + 1));
        }
    }
    let mut reached: Vec<String> = kernel.passes().map(|pass| pass.entry.to_string()).collect();
    let mut at = 0;
    while at < reached.len() {
        let (_, first, end) = functions.iter().find(|f| f.0 == reached[at]).expect("a function of the shader").clone();
        let body = lines[first..end].join("\n");
        for (name, ..) in &functions {
            let call = Regex::new(&format!(r"\b{name}\(")).expect("a pattern");
            if call.is_match(&body) && !reached.contains(name) {
                reached.push(name.clone());
            }
        }
        at += 1;
    }
    let reached = functions.iter().filter(|f| reached.contains(&f.0));
    // A function's head is skipped, unless it is on one line with its body.
    let own = reached.flat_map(|(name, first, end)| {
        let body = if end - first == 1 { *first } else { first + 1 };
        (body..*end).map(|line| (name.clone(), line))
    });
    own.filter(|(_, line)| !lines[*line].trim_start().starts_with("//") && !lines[*line].contains("@builtin")).collect()
}

/// Whether a match is in code that must not be changed, because the loop might never end.
fn is_loop_step(line: &str, at: usize, operator: &str) -> bool {
    let in_head = line.trim_start().starts_with("for (") || line.trim_start().starts_with("while");
    let end = line.find('{').unwrap_or(line.len());
    in_head && at < end && !operator.starts_with("bound")
}

/// Every fault that the operators make in a kernel, in the operators' order.
pub fn faults(kernel: &Variant) -> Vec<Fault> {
    let (lines, places) = (kernel.source.lines().collect::<Vec<_>>(), lines_of(kernel));
    let mut faults = Vec::new();
    for (operator, pattern, with) in OPERATORS {
        let pattern = Regex::new(pattern).expect("a pattern");
        for (function, number) in &places {
            let line = lines[*number];
            let code = line.split("//").next().unwrap_or_default();
            for found in pattern.find_iter(code) {
                if is_loop_step(line, found.start(), operator) {
                    continue;
                }
                let mut new = format!("{}{with}{}", &line[..found.start()], &line[found.end()..]);
                if with.contains("VALUE") {
                    let Some(value) = second_argument(&line[found.end()..]) else { continue };
                    new = new.replace("1.0 * VALUE", value);
                }
                let mut all = lines.clone();
                all[*number] = &new;
                let source = all.join("\n");
                let (function, old) = (function.clone(), line.trim().to_string());
                let alike = |(f, at): &&(String, usize)| *f == function && at < number && lines[*at] == line;
                let nth = places.iter().filter(alike).count();
                faults.push(Fault { operator, function, old, new: new.trim().to_string(), nth, source });
            }
        }
    }
    faults
}

/// The text up to the comma that ends an argument.
fn second_argument(text: &str) -> Option<&str> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => return Some(&text[..at]),
            _ => {}
        }
    }
    None
}

/// A kernel's shader with the first `old` within its functions replaced; `None` if they do not contain it.
pub fn replaced(kernel: &Variant, operator: &'static str, old: &str, new: &str) -> Option<Fault> {
    let lines: Vec<&str> = kernel.source.lines().collect();
    let (function, number) = lines_of(kernel).into_iter().find(|(_, line)| lines[*line].contains(old))?;
    let changed = lines[number].replacen(old, new, 1);
    let mut all = lines.clone();
    all[number] = &changed;
    Some(Fault { operator, function, old: old.into(), new: new.into(), nth: 0, source: all.join("\n") })
}
