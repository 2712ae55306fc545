//! Text from outside this program: files in the encodings that editors save, and values quoted in messages.

use std::borrow::Cow;
use std::fmt::Display;
use std::path::Path;

/// The most characters of one quoted value.
const MAX_QUOTED: usize = 80;

/// The most characters of a path.
const MAX_PATH: usize = 1024;

/// The most characters of another library's message.
const MAX_MESSAGE: usize = 320;

/// The most lines, and the most characters, of a driver's or a shader compiler's text.
const MAX_LINES: usize = 4;
const MAX_FIRST_LINES: usize = 400;

/// The number of characters kept from the end of a shortened message, where the location of the error is given.
const END: usize = 100;

/// Decodes a text file: UTF-8, or UTF-16 in either byte order, with or without a byte order mark, which is removed.
///
/// # Errors
/// A phrase that says what is wrong with the bytes and what to do.
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, String> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Err("the text is UTF-32; save it as UTF-8".into()),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest, 3).map(Cow::Borrowed),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes).map(Cow::Owned),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes).map(Cow::Owned),
        // No text begins with a zero character, so these two bytes are one UTF-16 character.
        [1..=0xff, 0, ..] => utf16(bytes, u16::from_le_bytes).map(Cow::Owned),
        [0, 1..=0xff, ..] => utf16(bytes, u16::from_be_bytes).map(Cow::Owned),
        _ => utf8(bytes, 0).map(Cow::Borrowed),
    }
}

fn utf8(bytes: &[u8], skipped: usize) -> Result<&str, String> {
    std::str::from_utf8(bytes)
        .map_err(|error| format!("byte {} is not UTF-8 text; save the file as UTF-8", skipped + error.valid_up_to()))
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, String> {
    let (units, rest) = bytes.as_chunks();
    let mut text = String::with_capacity(units.len());
    for character in char::decode_utf16(units.iter().map(|bytes| unit(*bytes))) {
        text.push(character.map_err(|_| "the text is not valid UTF-16; save it as UTF-8")?);
    }
    if rest.is_empty() {
        Ok(text)
    } else {
        Err("the text is UTF-16 with half a character at its end; save it as UTF-8".into())
    }
}

/// A foreign value as a message quotes it: in one line, without control characters, cut to 80 characters.
pub fn cut(value: impl Display) -> String {
    shorten(&one_line(&value.to_string()), MAX_QUOTED, 0)
}

/// Words in a row, such as `a`, `a or b`, `a, b or c`.
pub fn joined<T: AsRef<str>>(words: &[T], conjunction: &str) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match &words[..] {
        [first @ .., last] if !first.is_empty() => format!("{} {conjunction} {last}", first.join(", ")),
        _ => words.concat(),
    }
}

/// The first `most` names of a list, and the number of others, such as `a, b and 3 more`.
pub fn listed<T: Display>(names: impl IntoIterator<Item = T>, most: usize) -> String {
    let mut names = names.into_iter();
    let first: Vec<String> = names.by_ref().take(most).map(|name| name.to_string()).collect();
    match names.count() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// A path for a message: in one line, and shortened in the middle if it is longer than any system allows.
pub fn path(path: &Path) -> String {
    shorten(&one_line(&path.display().to_string()), MAX_PATH, MAX_PATH / 2)
}

/// Another library's message for one of ours: in one line, without control characters, with each quoted value cut to 80
/// characters.
pub fn message(error: impl Display) -> String {
    let text = one_line(error.to_string().trim_end());
    let mut told = String::new();
    let mut rest = text.as_str();
    while let Some(start) = rest.find(['"', '`']) {
        let (before, quoted) = rest.split_at(start + 1);
        told += before;
        let quote = before.chars().next_back().unwrap_or('"');
        let end = end_of_quoted(quoted, quote).unwrap_or(quoted.len());
        told += &shorten(&quoted[..end], MAX_QUOTED, 0);
        rest = &quoted[end..];
        if let Some(behind) = rest.strip_prefix(quote) {
            told.push(quote);
            rest = behind;
        }
    }
    shorten(&(told + rest), MAX_MESSAGE, END)
}

/// The first lines of a driver's or a shader compiler's text, which may be as long as a shader, joined into one line
/// without control characters.
pub fn first_lines(text: impl Display) -> String {
    let text = text.to_string();
    let lines: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(one_line).collect();
    let left_out = if lines.len() > MAX_LINES { " …" } else { "" };
    shorten(&(lines[..lines.len().min(MAX_LINES)].join(" / ") + left_out), MAX_FIRST_LINES, 0)
}

/// Text for a terminal. Line ends remain; other control characters are escaped, so that a file's content cannot move
/// the cursor.
pub fn tame(text: impl Display) -> String {
    escaped(&text.to_string(), &['\n', '\t'])
}

fn one_line(text: &str) -> String {
    escaped(text, &[])
}

/// Escapes control characters, and those that change the reading direction, as Rust does.
fn escaped(text: &str, kept: &[char]) -> String {
    let hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(hidden) {
        return text.to_string();
    }
    let mut told = String::with_capacity(text.len());
    for c in text.chars() {
        match hidden(c) && !kept.contains(&c) {
            true => told.extend(c.escape_debug()),
            false => told.push(c),
        }
    }
    told
}

/// The end of quoted text: before the next quote without a backslash in front.
fn end_of_quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(index, c)| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && quote == '"' && !escaped;
        ends.then_some(index)
    })
}

/// Shortens `text` to at most `most` characters, the last `end` of them from its end, with an ellipsis for the rest.
fn shorten(text: &str, most: usize, end: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_string();
    }
    let first = text.chars().take(most - end - 1);
    let last = text.chars().skip(count - end);
    first.chain(['…']).chain(last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_of_an_editor_is_the_same_text() {
        let text = "name = \"ü€𝄞\"\r\n";
        let units: Vec<u16> = text.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        let files = [
            text.as_bytes().to_vec(),
            [&[0xef, 0xbb, 0xbf], text.as_bytes()].concat(),
            [&[0xff, 0xfe], &little[..]].concat(),
            [&[0xfe, 0xff], &big[..]].concat(),
            little,
            big,
        ];
        for file in files {
            assert_eq!(decode(&file).as_deref(), Ok(text), "{file:02x?}");
        }
        assert_eq!(decode(b"").as_deref(), Ok(""));
    }

    #[test]
    fn what_is_no_text_is_told() {
        for (bytes, expected) in [
            (&b"ab\xff"[..], "byte 2 is not UTF-8"),
            (b"\xef\xbb\xbfa\xff", "byte 4 is not UTF-8"),
            (b"\xff\xfea\x00b", "half a character"),
            (b"\xff\xfe\x00\xd8a\x00", "not valid UTF-16"),
            (b"\xff\xfe\x00\x00a\x00\x00\x00", "UTF-32"),
        ] {
            let why = decode(bytes).expect_err(expected);
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn quoted_values_are_short_and_in_one_line() {
        assert_eq!(cut("plain"), "plain");
        assert_eq!(cut("a\nb\u{1b}[2Jc\u{202e}"), "a\\nb\\u{1b}[2Jc\\u{202e}");
        let long = cut("é".repeat(200_000));
        assert_eq!((long.chars().count(), long.chars().last()), (80, Some('…')));
    }

    #[test]
    fn a_long_value_in_a_message_leaves_its_place_to_be_seen() {
        let text =
            format!("invalid type: string \"a\\\"{}\", expected f64 at line 1 column 171659", "x".repeat(171_657));
        let told = message(text);
        assert!(told.starts_with("invalid type: string \"a\\\"xxx") && told.len() < 200, "{told}");
        assert!(told.ends_with("…\", expected f64 at line 1 column 171659"), "{told}");
        let told = message(format!("unknown field `{}`, expected one of {}", "k".repeat(999), "`a`, ".repeat(999)));
        assert!(told.starts_with("unknown field `kkk") && told.chars().count() == MAX_MESSAGE, "{told}");
        assert_eq!(message("bad \"quote\n"), "bad \"quote");
    }

    #[test]
    fn of_a_long_list_the_first_are_named() {
        assert_eq!([0, 1, 3, 4].map(|count| listed(1..=count, 3)), ["", "1", "1, 2, 3", "1, 2, 3 and 1 more"]);
    }

    #[test]
    fn of_a_long_text_the_first_lines_are_told() {
        assert_eq!(first_lines("one\n\n  two\u{1b}[2J\r\n"), "one / two\\u{1b}[2J");
        assert_eq!(first_lines("1\n2\n3\n4\n5"), "1 / 2 / 3 / 4 …");
        assert_eq!(first_lines("x".repeat(10_000)).chars().count(), MAX_FIRST_LINES);
    }

    #[test]
    fn a_terminal_is_sent_no_escape_sequence() {
        assert_eq!(tame("two\n\tlines\r\u{1b}]0;x\u{7}\u{9b}2J"), "two\n\tlines\\r\\u{1b}]0;x\\u{7}\\u{9b}2J");
    }
}
