//! The values of settings, and what they may be.

use super::{OptimizerName, ScheduleName};
use crate::{Error, Result};
use serde::Serialize;
use std::fmt;

/// The value of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    Word(&'static str),
    Flag(bool),
    Whole(u64),
    Number(f64),
}

/// As messages quote it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Word(word) => f.write_str(word),
            Value::Flag(flag) => flag.fmt(f),
            Value::Whole(whole) => whole.fmt(f),
            Value::Number(number) => {
                let text = format!("{number:?}");
                f.write_str(text.strip_suffix(".0").unwrap_or(&text))
            }
        }
    }
}

impl From<OptimizerName> for Value {
    fn from(name: OptimizerName) -> Value {
        Value::Word(name.name)
    }
}

impl From<ScheduleName> for Value {
    fn from(name: ScheduleName) -> Value {
        Value::Word(super::name_of(name, &ScheduleName::ALL))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Value {
        Value::Flag(flag)
    }
}

impl From<u64> for Value {
    fn from(whole: u64) -> Value {
        Value::Whole(whole)
    }
}

impl From<usize> for Value {
    fn from(whole: usize) -> Value {
        Value::Whole(whole as u64)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Number(number)
    }
}

impl From<Value> for toml::Value {
    fn from(value: Value) -> toml::Value {
        match value {
            Value::Word(word) => word.into(),
            Value::Flag(flag) => flag.into(),
            // TOML has no larger ones.
            Value::Whole(whole) => i64::try_from(whole).unwrap_or(i64::MAX).into(),
            Value::Number(number) => number.into(),
        }
    }
}

/// What a setting may be. Kernels compute in f32, whose limits most rules have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Any value of its type.
    Any,
    /// A whole number from 1 to this.
    Count(u64),
    /// A number above 0 that is neither 0 nor infinite in f32.
    Positive,
    /// As [`Rule::Positive`], or 0.
    PositiveOrZero,
    /// A number of at least 0 that is not infinite in f32.
    NotNegative,
    /// A number of at least 0 and below 1 in f32, where 0.99999999 is 1.
    BelowOne,
    /// A number of at least 0 and below 1.
    Share,
    /// A finite number above 0.
    AboveZero,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Any => f.write_str("any value"),
            Rule::Count(u64::MAX) => f.write_str("a whole number >= 1"),
            Rule::Count(most) => write!(f, "a whole number from 1 to {most}"),
            Rule::Positive => f.write_str("a number from 1.2e-38 to 3.4e38"),
            Rule::PositiveOrZero => f.write_str("0 or a number from 1.2e-38 to 3.4e38"),
            Rule::NotNegative => f.write_str("a number from 0 to 3.4e38"),
            Rule::BelowOne => f.write_str("a number from 0 to 0.9999999"),
            Rule::Share => f.write_str("a number >= 0 and < 1"),
            Rule::AboveZero => f.write_str("a finite number > 0"),
        }
    }
}

impl Rule {
    fn accepts(self, value: Value) -> bool {
        let is_normal = |number: f64| (number as f32).is_normal() && number > 0.0;
        match (self, value) {
            (Rule::Any, _) => true,
            (Rule::Count(most), Value::Whole(whole)) => (1..=most).contains(&whole),
            (Rule::Count(most), Value::Number(number)) => {
                number.fract() == 0.0 && number >= 1.0 && number <= most as f64
            }
            (Rule::Positive, Value::Number(number)) => is_normal(number),
            (Rule::PositiveOrZero, Value::Number(number)) => number == 0.0 || is_normal(number),
            (Rule::NotNegative, Value::Number(number)) => (number as f32).is_finite() && number >= 0.0,
            (Rule::BelowOne, Value::Number(number)) => (0.0..1.0).contains(&number) && (number as f32) < 1.0,
            (Rule::Share, Value::Number(number)) => (0.0..1.0).contains(&number),
            (Rule::AboveZero, Value::Number(number)) => number.is_finite() && number > 0.0,
            _ => false,
        }
    }

    /// Checks the setting `name` against this rule.
    ///
    /// # Errors
    /// [`Error::Setting`] where it breaks the rule.
    pub fn check(self, name: &'static str, value: impl Into<Value>) -> Result<()> {
        let value = value.into();
        if self.accepts(value) {
            return Ok(());
        }
        Err(Error::Setting { name, value: value.to_string(), rule: self.to_string() })
    }
}
