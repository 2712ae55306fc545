//! Which variants a GPU runs for the operations of a program, as data: a run records them, so that it keeps its bits.

use super::Program;
use crate::kernels::{Adapter, Op};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The names of variants by operation and shape ([`Op::shape`]).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Choices(BTreeMap<String, String>);

/// A recorded choice that a device cannot follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Operation and shape.
    pub operation: String,
    /// The recorded variant, which does not exist or does not fit the adapter.
    pub recorded: String,
    /// The variant that replaces it.
    pub used: &'static str,
}

impl Choices {
    /// The variants that an adapter of this kind runs for a program, for every operation that it has several of.
    pub fn of(program: &Program, adapter: Adapter) -> Choices {
        let mut choices = Choices::default();
        for op in program.instructions.iter().map(|instruction| &instruction.op) {
            if op.variants(adapter).count() > 1 {
                choices.set(op, op.chosen(adapter).name);
            }
        }
        choices
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The recorded variant of an operation.
    pub fn get(&self, op: &Op) -> Option<&str> {
        self.0.get(&key(op)).map(String::as_str)
    }

    /// Records the variant of an operation.
    pub fn set(&mut self, op: &Op, variant: &str) {
        self.0.insert(key(op), variant.to_string());
    }

    /// Operations with their shapes, and the names of their variants.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(operation, variant)| (operation.as_str(), variant.as_str()))
    }

    /// Makes a program run these variants. An operation without a record keeps what it has. Returns the choices that an
    /// adapter of this kind cannot follow, each once; their operations keep what they have too.
    pub fn apply(&self, program: &mut Program, adapter: Adapter) -> Vec<Lost> {
        let mut lost: Vec<Lost> = Vec::new();
        for op in program.instructions.iter_mut().map(|instruction| &mut instruction.op) {
            let Some(name) = self.get(op) else { continue };
            match op.named(name, adapter) {
                Some(variant) => op.variant = Some(variant),
                None => {
                    let (operation, recorded) = (key(op), name.to_string());
                    let one = Lost { operation, recorded, used: op.chosen(adapter).name };
                    if !lost.contains(&one) {
                        lost.push(one);
                    }
                }
            }
        }
        lost
    }
}

fn key(op: &Op) -> String {
    format!("{} {}", op.operation.name, op.shape())
}
