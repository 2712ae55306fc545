//! Words and numbers as users write them. Words may be in any case, and with hyphens, underscores, spaces or nothing
//! between their parts.

use std::str::FromStr;

/// Whether two words are the same to a user, such as `one-cycle`, `One_Cycle` and `OneCycle`.
pub fn same(one: &str, other: &str) -> bool {
    let letters = |word: &str| {
        word.bytes().filter(|byte| !b"-_ ".contains(byte)).map(|byte| byte.to_ascii_lowercase()).collect::<Vec<_>>()
    };
    letters(one) == letters(other)
}

/// The value of `word` in a table of names: by its exact spelling if possible, else by [`same`].
pub fn find<T: Copy>(word: &str, table: &[(T, &str)]) -> Option<T> {
    let exact = table.iter().find(|(_, name)| *name == word);
    exact.or_else(|| table.iter().find(|(_, name)| same(name, word))).map(|(value, _)| *value)
}

/// Reads a number.
///
/// # Errors
/// A phrase that says what is expected.
pub fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "expected a number, such as 0.01".to_string())
}

/// Reads a whole number.
///
/// # Errors
/// A phrase that says what is expected.
pub fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    let too_large = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    let expected = if too_large { "the number is too large" } else { "expected a whole number, 0 or more" };
    text.parse().map_err(|_| expected.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_what_joins_the_parts_do_not_matter() {
        for spelled in ["one-cycle", "OneCycle", "ONE_CYCLE", "one cycle"] {
            assert!(same(spelled, "one-cycle"), "{spelled}");
        }
        for other in ["one-cycles", "on-ecycl", "", "öne-cycle"] {
            assert!(!same(other, "one-cycle"), "{other}");
        }
        assert_eq!(find("Adam", &[(1, "sgd"), (2, "adam")]), Some(2));
        assert_eq!(find("lamb", &[(1, "sgd"), (2, "adam")]), None);
    }
}
