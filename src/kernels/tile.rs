//! The tiles of matrix products on hardware adapters: `shaders/tile/product.wgsl` and `shaders/tile/gradient.wgsl`.

use super::Launch;
use super::variant::linear;

/// The invocations of a workgroup: two warps of 32, so that small products also have many workgroups.
pub(super) const LANES: u32 = 64;

/// Workgroups that fill a large GPU: four for each of an H200's 132 compute units.
pub(super) const ENOUGH: usize = 4 * 132;

/// The bytes of workgroup memory with which twelve workgroups fit a SIMD unit of an AMD RDNA3.
const MEMORY: u32 = 5461;

/// The most vectors of a piece in workgroup memory, which leaves a quarter of it to other uses.
pub(super) const LARGEST: u32 = 768;

/// Reduction steps per stage of a weight gradient.
pub(super) const STEPS: usize = 16;

/// The most lanes that share a block of a product. More would need more workgroup memory.
const MOST_SLICES: u32 = 8;

/// The sizes of a product: rows and columns of the result, and the length of its sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Product {
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
}

/// The tiles of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tile {
    product: Product,
    /// Rows of a lane.
    rows: u32,
    /// Vectors of columns, which are as many lanes.
    across: u32,
    /// Lanes that share a block.
    slices: u32,
}

impl Tile {
    /// Tiles of 4, 8 or 9 rows a lane. A product with too few blocks to fill a large GPU divides its sums as well.
    pub fn new(rows: u32, product: Product) -> Tile {
        let whole = Tile::undivided(rows, product);
        let divided = |slices: u32| Tile { slices, ..whole };
        let possible = |slices: &u32| {
            *slices <= (LANES / whole.across).min(MOST_SLICES) && product.depth.div_ceil(4) >= 4 * *slices as usize
        };
        let mut tile = whole;
        while tile.workgroups() < ENOUGH && possible(&(2 * tile.slices)) {
            tile = divided(2 * tile.slices);
        }
        tile
    }

    /// Tiles whose blocks have one lane each.
    pub fn undivided(rows: u32, product: Product) -> Tile {
        Tile { product, rows, across: across(product.columns.div_ceil(4) as u32), slices: 1 }
    }

    fn rows(&self) -> usize {
        (LANES / (self.across * self.slices) * self.rows) as usize
    }

    /// Vectors of the depth in a stage. Less workgroup memory lets more workgroups be resident, which matters more than
    /// fewer barriers.
    fn depth(&self) -> u32 {
        let vectors = |depth: u32| self.rows() as u32 * (1 + (depth | 1)) + 4 * depth * self.across;
        let depth = [4, 2].into_iter().find(|depth| 16 * vectors(*depth) <= MEMORY).unwrap_or(1);
        depth.max(self.slices)
    }

    /// Tiles down and across.
    fn tiles(&self) -> [usize; 2] {
        let columns = self.product.columns.div_ceil(4);
        [self.product.rows.div_ceil(self.rows()), columns.div_ceil(self.across as usize)]
    }

    /// The number of workgroups.
    pub fn workgroups(&self) -> usize {
        self.tiles().iter().product()
    }

    pub fn launch(&self, mut constants: Vec<(&'static str, u32)>) -> Launch {
        let [down, across] = self.tiles();
        let [x, y, _] = linear(down, 1);
        let own = [("TX", self.across), ("ROWS", self.rows), ("DEPTH", self.depth()), ("SLICES", self.slices)];
        constants.extend(own);
        Launch::of([x, y, across as u32]).with(constants)
    }
}

/// The vectors of columns of a tile: as many as leave few unused. A narrow tile copies more values per product, and one
/// of a single vector would need more workgroup memory than there is.
fn across(columns: u32) -> u32 {
    let cost = |across: &u32| (columns.next_multiple_of(*across) * (2 * across + 3)).div_ceil(2 * across);
    [16, 8, 4, 2].into_iter().min_by_key(cost).unwrap_or(2)
}

/// The number of splits, at most `most`, that gives enough workgroups of `each` for a split. All splits together need
/// memory for `results` values each.
pub(super) fn splits(each: usize, most: usize, results: usize) -> usize {
    /// Values of all splits of a layer.
    const VALUES: usize = 8 << 20;
    ENOUGH.div_ceil(each).clamp(1, most.min((VALUES / results).max(1)))
}

/// The tiles of a weight gradient with few rows and columns, and a long reduction that is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blocks {
    /// Vectors of rows and of columns of the result.
    size: [u32; 2],
    /// Vectors of rows and of columns of a tile.
    tile: [u32; 2],
    /// Vectors of rows of a lane.
    rows: u32,
}

impl Blocks {
    /// `rows` includes the bias.
    pub fn new(rows: usize, columns: usize) -> Blocks {
        let size = [rows, columns].map(|size| (size as u32).div_ceil(4));
        let across = across(size[1]).min(8);
        let rows = if size[0] > 16 { 2 } else { 1 };
        let down = (LANES / across).min(8).min(size[0].div_ceil(rows).next_power_of_two());
        Blocks { size, tile: [down * rows, across], rows }
    }

    /// Tiles of one split.
    fn tiles(&self) -> [usize; 2] {
        [0, 1].map(|i| self.size[i].div_ceil(self.tile[i]) as usize)
    }

    /// The number of splits of a reduction over `length` that gives enough workgroups. Each split needs a few stages to
    /// be worth it, and all of them together need memory for `results` values each.
    pub fn splits(&self, length: usize, results: usize) -> usize {
        let [down, across] = self.tiles();
        splits(down * across, length.div_ceil(4 * STEPS), results)
    }

    pub fn launch(&self, splits: usize, mut constants: Vec<(&'static str, u32)>) -> Launch {
        let [down, across] = self.tiles();
        let [x, y, _] = linear(down * splits, 1);
        let [width, tx] = self.tile;
        let ty = width / self.rows;
        let memory = |steps: u32| 16 * steps * (width + tx);
        let steps = if memory(STEPS as u32) <= MEMORY { STEPS as u32 } else { STEPS as u32 / 2 };
        // The sum over lanes that share a block needs 2 * LANES vectors.
        let steps = steps.max((2 * LANES).div_ceil(width));
        constants.extend([("TX", tx), ("TY", ty), ("ROWS", self.rows), ("STEPS", steps)]);
        Launch::of([x, y, across as u32]).with(constants)
    }
}
