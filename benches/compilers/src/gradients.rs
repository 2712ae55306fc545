//! Static cycles per useful multiply-add of the convolutions' weight gradients on Intel, next to those of the kernels
//! before (`shaders/conv_blocked.wgsl`, which software adapters still run).
//!
//! Useful are the K*O multiply-adds that an output pixel needs, K = KH*KW*C. A kernel also computes places of its
//! blocks that have no weight: its share of useful ones follows from the shape and the block. Cycles and multiply-adds
//! are both counted by the compiler's estimate, in which every loop that is not unrolled has ten iterations:
//!
//! cycles per useful multiply-add = cycles / (multiply-adds of all lanes * useful share)

use crate::facts::{Before, Facts};
use crate::list::Pipeline;

/// The entry points of the kernels before.
pub const WIDE: &str = "backward_weight";
pub const NARROW: &str = "backward_weight_narrow";

/// Iterations of a loop in the estimate of Intel's compiler (`loop_weight` in `brw_ir_performance.cpp`).
const ITERATIONS: u64 = 10;

/// Cycles per useful multiply-add, now and before.
pub struct Cost {
    pub now: f64,
    pub before: f64,
}

impl Cost {
    pub fn ratio(&self) -> f64 {
        self.now / self.before
    }
}

/// The multiply-adds of floats in Intel's assembly: lanes of each instruction, times the iterations of its loops.
pub fn multiply_adds(assembly: &str) -> u64 {
    let lines: Vec<&str> = assembly.lines().map(str::trim).collect();
    let label = |name: &str| lines.iter().position(|line| line.strip_suffix(':') == Some(name));
    // A loop goes from the label to which a `while` jumps back.
    let loops: Vec<(usize, usize)> = (lines.iter().enumerate())
        .filter(|(_, line)| line.contains("while("))
        .filter_map(|(end, line)| {
            let target = line.split_once("JIP:")?.1.split_whitespace().next()?;
            Some((label(target)?, end))
        })
        .collect();
    let mut sum = 0;
    for (at, line) in lines.iter().enumerate() {
        let Some((lanes, rest)) = line.strip_prefix("mad(").and_then(|rest| rest.split_once(')')) else { continue };
        let is_float = rest.split_whitespace().next().is_some_and(|target| target.ends_with(">F"));
        let depth = loops.iter().filter(|(start, end)| (*start..*end).contains(&at)).count() as u32;
        if is_float {
            sum += lanes.parse::<u64>().unwrap_or(0) * ITERATIONS.pow(depth);
        }
    }
    sum
}

/// The cost of a weight gradient that runs where nothing was measured; others run only where they were measured to be
/// faster. None if the kernels before did not do its shape: they needed O in fours, and fully connected layers (one
/// pixel, one tap) had kernels of their own. Windows are squares in all presets.
pub fn cost(pipeline: &Pipeline, facts: &Facts, before: &[Before]) -> Option<Cost> {
    if !pipeline.default || !pipeline.operation.starts_with("conv.backward_weight") {
        return None;
    }
    let shape = Shape::new(pipeline)?;
    let entry = if shape.c.is_multiple_of(4) { WIDE } else { NARROW };
    let before = before.iter().find(|one| one.entry == entry && one.unit_stride == shape.unit_stride)?;
    let useful = f64::from(shape.k * shape.o);
    Some(Cost {
        now: per_multiply_add(facts, useful / shape.computed_now())?,
        before: per_multiply_add(&before.facts, useful / shape.computed_before())?,
    })
}

fn per_multiply_add(facts: &Facts, useful_share: f64) -> Option<f64> {
    Some(facts.cycles? as f64 / (facts.multiply_adds? as f64 * useful_share))
}

struct Shape {
    c: u32,
    o: u32,
    /// Rows and columns of the window.
    window: u32,
    k: u32,
    unit_stride: bool,
    kind: Kind,
}

enum Kind {
    /// `shaders/tile/gradient.wgsl`, with the vectors of four rows and of four columns of a tile.
    Tiles([u32; 2]),
    /// `shaders/tile/band.wgsl`, with the filters of a workgroup.
    Bands(u32),
}

impl Shape {
    fn new(Pipeline { variant, constants, .. }: &Pipeline) -> Option<Shape> {
        let get = |name| constants.get(name).copied();
        let (c, o, window) = (get("C")?, get("O")?, get("KW")?);
        let unit_stride = [get("STRIDE_Y")?, get("STRIDE_X")?] == [1, 1];
        let kind = match get("BAND") {
            Some(_) => {
                // An invocation's filters are in the variant's name.
                let filters = variant.rsplit('_').next()?.parse::<u32>().ok()?;
                Kind::Bands(get("FILTER_LANES")? * filters)
            }
            None => Kind::Tiles([get("TY")? * get("ROWS")?, get("TX")?]),
        };
        let is_connected = window == 1 && get("OH")? == 1 && get("OW")? == 1;
        let shape = Shape { c, o, window, k: window * window * c, unit_stride, kind };
        (o.is_multiple_of(4) && !is_connected).then_some(shape)
    }

    /// Multiply-adds for an output pixel: in whole tiles of K + 1 rows and O columns, or for K rows and the filters of
    /// whole workgroups.
    fn computed_now(&self) -> f64 {
        let count = match self.kind {
            Kind::Tiles([rows, columns]) => {
                let rows = (self.k + 1).div_ceil(4).next_multiple_of(rows) * 4;
                rows * (self.o / 4).next_multiple_of(columns) * 4
            }
            Kind::Bands(filters) => self.k * self.o.next_multiple_of(filters),
        };
        f64::from(count)
    }

    /// Multiply-adds for an output pixel before: blocks of five taps of a row x four channels, or of two rows x one
    /// channel, by eight columns; and one more block for the bias.
    fn computed_before(&self) -> f64 {
        let runs = self.window.div_ceil(5);
        let (blocks, size) = match self.c.is_multiple_of(4) {
            true => (self.window * runs * self.c / 4 + 1, 5 * 4),
            false => (self.window.div_ceil(2) * runs * self.c + 1, 2 * 5),
        };
        f64::from(blocks * size * self.o.next_multiple_of(8))
    }
}
