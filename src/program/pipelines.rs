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
}

impl PipelineUse {
    /// Whether both have the same pipeline and the same workgroups; variants have unique names.
    fn is_same(&self, other: &PipelineUse) -> bool {
        let key = |it: &PipelineUse| (it.variant.name, it.entry, it.workgroups);
        key(self) == key(other) && self.constants == other.constants
    }
}

impl Program {
    /// The pipelines for the variants that an adapter of this kind runs, in the order of their first dispatch. Equal
    /// dispatches are listed once.
    pub fn pipelines(&self, adapter: Adapter) -> Vec<PipelineUse> {
        let mut uses: Vec<PipelineUse> = Vec::new();
        for op in self.instructions.iter().map(|instruction| &instruction.op) {
            let variant = op.chosen(adapter);
            for (Dispatch { entry, launch }, pass) in op.dispatches(variant).into_iter().zip(variant.passes()) {
                let one = PipelineUse {
                    operation: op.operation.name,
                    variant,
                    entry,
                    constants: launch.constants.into_iter().collect(),
                    workgroups: launch.workgroups,
                    workgroup_size: [pass.workgroup, 1, 1],
                };
                if !uses.iter().any(|known| known.is_same(&one)) {
                    uses.push(one);
                }
            }
        }
        uses
    }
}
