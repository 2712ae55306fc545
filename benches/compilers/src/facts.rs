//! The facts that count, out of the numbers that each driver has under names of its own.

use crate::device::Compiled;
use crate::gradients;
use crate::list::Pipeline;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// One device's results.
#[derive(Default, Serialize, Deserialize)]
pub struct Report {
    /// The GPU, such as NAVI31.
    pub name: String,
    /// The device's name, the driver and its version.
    pub driver: String,
    pub pipelines: Vec<(Pipeline, Facts)>,
    /// The weight gradients to compare with.
    pub before: Vec<Before>,
}

#[derive(Serialize, Deserialize)]
pub struct Before {
    pub entry: String,
    pub unit_stride: bool,
    pub facts: Facts,
}

#[derive(Serialize, Deserialize)]
pub struct Facts {
    /// Registers of an invocation (AMD, NVIDIA), or of a subgroup, 32 bytes each, 128 at most (Intel).
    pub registers: u64,
    /// The driver's counts of spilled registers, or bytes of scratch memory, unless zero.
    pub spills: BTreeMap<String, u64>,
    /// Bytes of workgroup memory that the WGSL text declares; a driver may pack or round them.
    pub memory: u32,
    /// AMD: waves of 32 invocations in flight on a SIMD unit, at most 32. RADV calls it subgroups per SIMD, but counts
    /// a wave of 64 as two (`radv_get_max_waves`); a pipeline in waves of 32 reaches 16 at most. It rounds up what
    /// workgroup memory allows on the SIMD unit's share, a quarter of 128 KiB.
    pub waves: Option<u64>,
    pub instructions: u64,
    /// Intel: static cycles of a subgroup. Each loop that is not unrolled counts as ten iterations.
    pub cycles: Option<u64>,
    /// Invocations of a subgroup: AMD's wave, NVIDIA's warp, Intel's dispatch width.
    pub width: u32,
    /// Intel: multiply-adds of all invocations of a subgroup in that many cycles, loops counted likewise.
    pub multiply_adds: Option<u64>,
}

/// What drivers call spills. NVIDIA's SLM is memory of an invocation; Glassnet's kernels use none of their own.
const SPILLS: [&str; 7] =
    ["Spilled SGPRs", "Spilled VGPRs", "Scratch size", "Spill Count", "Fill Count", "Scratch Memory Size", "SLM Size"];

impl Facts {
    /// `memory` is what the WGSL text declares.
    pub fn new(compiled: &Compiled, memory: u32) -> Facts {
        let get = |names: &[&str]| names.iter().find_map(|name| compiled.statistics.get(*name).copied());
        let spills = SPILLS.iter().filter_map(|name| Some(((*name).to_owned(), get(&[name])?)));
        Facts {
            registers: get(&["VGPRs", "Number of GPRs", "Max live registers"]).unwrap_or_default(),
            spills: spills.filter(|(_, count)| *count > 0).collect(),
            memory,
            waves: get(&["Subgroups per SIMD"]),
            instructions: get(&["Instructions", "Instruction count", "Instruction Count"]).unwrap_or_default(),
            cycles: get(&["Cycle Count"]),
            width: compiled.subgroup,
            multiply_adds: compiled.assembly.as_deref().map(gradients::multiply_adds),
        }
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} registers, ", self.registers)?;
        for (name, count) in &self.spills {
            write!(f, "SPILLS: {name} {count}, ")?;
        }
        write!(f, "{} bytes, width {}, {} instructions", self.memory, self.width, self.instructions)?;
        if let Some(waves) = self.waves {
            write!(f, ", {waves} of 32 waves")?;
        }
        if let Some(cycles) = self.cycles {
            write!(f, ", {cycles} cycles")?;
        }
        Ok(())
    }
}
