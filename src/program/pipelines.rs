//! The pipelines that a GPU runs a program with, listed without one.

use super::Program;
use crate::kernels::{Adapter, Dispatch, Variant};
use std::collections::BTreeMap;

/// A pipeline with its workgroups, as an operation dispatches it.
#[derive(Debug, Clone)]
pub struct PipelineUse {
    /// The operation's name, such as `conv.forward`.
    pub operation: &'static str,
    pub variant: &'static Variant,
    /// The entry point in the variant's WGSL text.
    pub entry: &'static str,
    /// The pipeline-overridable constants by name; others keep the shader's own values.
    pub constants: BTreeMap<&'static str, u32>,
    /// The number of workgroups in x, y and z.
    pub workgroups: [u32; 3],
    /// The number of invocations of a workgroup in x, y and z.
    pub workgroup_size: [u32; 3],
    /// Whether it is the operation's choice where nothing was measured.
    pub is_default: bool,
}

impl PipelineUse {
    /// Whether both have the same pipeline and the same workgroups; variants have unique names.
    fn is_same(&self, other: &PipelineUse) -> bool {
        let key = |it: &PipelineUse| (it.variant.name, it.entry, it.workgroups);
        key(self) == key(other) && self.constants == other.constants
    }
}

impl Program {
    /// The pipelines for the variants that an adapter of this kind runs where nothing was measured, in the order of
    /// their first dispatch. Equal dispatches are listed once.
    pub fn pipelines(&self, adapter: Adapter) -> Vec<PipelineUse> {
        let mut uses = self.candidates(adapter);
        uses.retain(|one| one.is_default);
        uses
    }

    /// The pipelines for every variant that an adapter of this kind can run, each operation's default first.
    pub fn candidates(&self, adapter: Adapter) -> Vec<PipelineUse> {
        let mut uses: Vec<PipelineUse> = Vec::new();
        for op in self.instructions.iter().map(|instruction| &instruction.op) {
            let default = op.chosen(adapter);
            let others = op.variants(adapter).filter(|variant| variant.name != default.name);
            for variant in std::iter::once(default).chain(others) {
                for (Dispatch { entry, launch }, pass) in op.dispatches(variant).into_iter().zip(variant.passes()) {
                    let one = PipelineUse {
                        operation: op.operation.name,
                        variant,
                        entry,
                        constants: launch.constants.into_iter().collect(),
                        workgroups: launch.workgroups,
                        workgroup_size: [pass.workgroup, 1, 1],
                        is_default: variant.name == default.name,
                    };
                    match uses.iter_mut().find(|known| known.is_same(&one)) {
                        Some(known) => known.is_default |= one.is_default,
                        None => uses.push(one),
                    }
                }
            }
        }
        uses
    }
}
