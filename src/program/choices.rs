//! Which variants a GPU runs for the operations of a program, as data: a run records them, so that it keeps its bits.

use super::{Instruction, Program};
use crate::kernels::{Adapter, Op};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The names of variants by operation and shape ([`Op::shape`]).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Choices(BTreeMap<String, String>);

/// A recorded choice that a device or a program cannot follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The names of the instructions that it is for, such as `conv1.forward`; or of the operation, such as
    /// `conv.forward`, if the program has none of the recorded shape.
    pub names: Vec<String>,
    /// The recorded variant. If there are instructions for it, it does not exist or does not fit the adapter.
    pub recorded: String,
    /// The variant that replaces it; `None` if the program has no operation of the recorded shape.
    pub used: Option<&'static str>,
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
        let mut lost: Vec<(String, Lost)> = Vec::new();
        for Instruction { name, op } in &mut program.instructions {
            let Some(recorded) = self.get(op) else { continue };
            if let Some(variant) = op.named(recorded, adapter) {
                op.variant = Some(variant);
                continue;
            }
            let key = key(op);
            match lost.iter_mut().find(|(known, _)| *known == key) {
                Some((_, one)) => one.names.push(name.clone()),
                None => {
                    let (recorded, used) = (recorded.to_string(), Some(op.chosen(adapter).name));
                    lost.push((key, Lost { names: vec![name.clone()], recorded, used }));
                }
            }
        }
        lost.into_iter().map(|(_, lost)| lost).collect()
    }

    /// The choices for operations that a program does not have, or has in other shapes.
    pub fn unmatched(&self, program: &Program) -> Vec<Lost> {
        let known: BTreeSet<String> = program.instructions.iter().map(|instruction| key(&instruction.op)).collect();
        let unknown = self.iter().filter(|(key, _)| !known.contains(*key));
        let lost = |(key, recorded): (&str, &str)| {
            let operation = key.split(' ').next().unwrap_or(key);
            Lost { names: vec![operation.to_string()], recorded: recorded.to_string(), used: None }
        };
        unknown.map(lost).collect()
    }
}

fn key(op: &Op) -> String {
    format!("{} {}", op.operation.name, op.shape())
}
