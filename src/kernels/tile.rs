//! The tiles of matrix products on hardware adapters: `shaders/tile/product.wgsl` and `shaders/tile/gradient.wgsl`.

use super::Launch;
use super::variant::linear;

/// The invocations of a workgroup: two warps of 32, so that small products also have many workgroups.
pub(super) const LANES: u32 = 64;

/// The compute units of a large GPU, an H200.
pub(super) const UNITS: u32 = 132;

/// Workgroups that fill it: four for each.
pub(super) const ENOUGH: usize = 4 * UNITS as usize;

/// The bytes of workgroup memory with which twelve workgroups fit a SIMD unit of an AMD RDNA3.
pub(super) const MEMORY: u32 = 5461;

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
            *slices <= (LANES / whole.across).min(MOST_SLICES)
                && product.depth.div_ceil(4) >= 4 * *slices as usize
                && divided(*slices).memory(*slices) <= MEMORY
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
        let depth = [4, 2].into_iter().find(|depth| self.memory(*depth) <= MEMORY).unwrap_or(1);
        depth.max(self.slices)
    }

    /// Whether enough workgroups can be resident.
    pub fn is_small(&self) -> bool {
        self.memory(self.depth()) <= MEMORY
    }

    /// The bytes of workgroup memory with stages of so many vectors of the depth.
    fn memory(&self, depth: u32) -> u32 {
        16 * (self.rows() as u32 * (1 + (depth | 1)) + 4 * depth * self.across)
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

/// The vectors of columns of a tile: as many as leave few unused, and few lanes idle. A narrow tile copies more values
/// per product, and one of a single vector would need more workgroup memory than there is.
fn across(columns: u32) -> u32 {
    // In 1/256 of the work on one vector.
    let cost = |across: &u32| {
        let copies = u64::from(128 * (2 * across + 3) / across);
        let lanes = LANES / across * across;
        u64::from(columns.next_multiple_of(*across)) * copies * u64::from(LANES) / u64::from(lanes)
    };
    [16, 8, 7, 6, 5, 4, 3, 2].into_iter().min_by_key(cost).unwrap_or(2)
}

/// The number of splits, at most `most`, that gives enough workgroups of `each` for a split. All splits together need
/// memory for `results` values each.
pub(super) fn splits(each: usize, most: usize, results: usize) -> usize {
    /// Values of all splits of a layer: a little more than the tiles of enough workgroups have, so that the sums of a deep
    /// network also fit one binding.
    const VALUES: usize = 5 << 18;
    ENOUGH.div_ceil(each).clamp(1, most.min((VALUES / results).max(1)))
}

/// The tiles of a weight gradient with few rows and columns, and a long reduction that is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blocks {
    /// Vectors of rows and of columns of the result.
    size: [u32; 2],
    /// Lanes down and across a tile.
    lanes: [u32; 2],
    /// Vectors of rows of a lane.
    rows: u32,
    /// Lanes that share a block.
    slices: u32,
}

impl Blocks {
    /// Vectors of rows of a tile, with which its copies of a and dy are about as many.
    const MOST_ROWS: u32 = 16;
    /// Vectors of columns of a tile.
    const MOST_COLUMNS: u32 = 8;

    /// `rows` includes the bias.
    pub fn new(rows: usize, columns: usize) -> Blocks {
        let size = [rows, columns].map(|size| (size as u32).div_ceil(4));
        let across = across(size[1]).min(Blocks::MOST_COLUMNS);
        let rows = if size[0] > 16 { 2 } else { 1 };
        let down = |slices: u32| LANES / (across * slices);
        let mut slices = 1;
        while down(slices) * rows > Blocks::MOST_ROWS
            || (down(2 * slices) * rows >= size[0] && 2 * slices <= MOST_SLICES)
        {
            slices *= 2;
        }
        Blocks { size, lanes: [down(slices), across], rows, slices }
    }

    /// Vectors of rows of a tile.
    fn width(&self) -> u32 {
        self.lanes[0] * self.rows
    }

    /// Tiles of one split.
    fn tiles(&self) -> [usize; 2] {
        let tile = [self.width(), self.lanes[1]];
        [0, 1].map(|i| self.size[i].div_ceil(tile[i]) as usize)
    }

    /// The number of splits of a reduction over `length` that gives enough workgroups. Each split needs a few stages to
    /// be worth it, and all of them together need memory for `results` values each.
    pub fn splits(&self, length: usize, results: usize) -> usize {
        let [down, across] = self.tiles();
        splits(down * across, length.div_ceil(4 * STEPS), results)
    }

    /// Steps of a stage: a multiple of the slices.
    fn steps(&self) -> u32 {
        let memory = |steps: u32| 16 * steps * (self.width() + self.lanes[1]);
        let steps = if memory(STEPS as u32) <= MEMORY { STEPS as u32 } else { STEPS as u32 / 2 };
        // The sum over lanes that share a block needs 2 * LANES vectors.
        let least = if self.slices > 1 { (2 * LANES).div_ceil(self.width()) } else { 1 };
        steps.max(least).next_multiple_of(MOST_SLICES)
    }

    pub fn launch(&self, splits: usize, mut constants: Vec<(&'static str, u32)>) -> Launch {
        let [down, across] = self.tiles();
        let [x, y, _] = linear(down * splits, 1);
        let ([ty, tx], steps) = (self.lanes, self.steps());
        constants.extend([("TX", tx), ("TY", ty), ("ROWS", self.rows), ("SLICES", self.slices), ("STEPS", steps)]);
        Launch::of([x, y, across as u32]).with(constants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_of_all_sizes_fit_a_workgroup() {
        for rows in (1..200).chain([501, 3137]) {
            for columns in 1..=130 {
                let blocks = Blocks::new(rows, columns);
                let [down, across] = blocks.lanes;
                let lanes = down * across * blocks.slices;
                assert!((LANES / 2..=LANES).contains(&lanes), "{blocks:?}");
                assert!(blocks.steps().is_multiple_of(blocks.slices), "{blocks:?}");
                assert!(blocks.slices == 1 || blocks.steps() * blocks.width() >= 2 * LANES, "{blocks:?}");
                for rows_per_lane in [4, 8, 9] {
                    let tile = Tile::new(rows_per_lane, Product { rows, columns, depth: 20 * rows });
                    let whole = LANES / (tile.across * tile.slices) * tile.across * tile.slices;
                    let divides = tile.depth().is_multiple_of(tile.slices);
                    assert!((LANES / 2..=LANES).contains(&whole) && divides, "{tile:?}");
                }
            }
        }
    }
}
