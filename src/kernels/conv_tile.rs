//! Variants of the convolution for hardware adapters: matrix products in tiles, whose operands are gathered while they
//! are copied to workgroup memory; `shaders/tile/`.

use super::conv_params::Params;
use super::op::word;
use super::sums::MAX_SPLITS;
use super::tile::{self, Blocks, Product, Tile};
use super::variant::linear;
use super::{Adapter, Launch, Op, Pass, Variant};

/// The text of a variant: all files of `shaders/tile` that it is made of.
macro_rules! tiled {
    ($core:literal $(, $file:literal)*) => {
        shader!("prelude/index", "tile/conv", $($file,)* $core)
    };
}

const FORWARD_WIDE: &str =
    tiled!("tile/product", "tile/conv_x", "tile/conv_forward", "tile/conv_y", "tile/finish_rows");
const FORWARD_X_NARROW: &str =
    tiled!("tile/product", "tile/conv_x_narrow", "tile/conv_forward", "tile/conv_y", "tile/finish_rows");
const FORWARD_ALL: &str =
    tiled!("tile/product", "tile/conv_x_narrow", "tile/conv_forward_any", "tile/conv_y_any", "tile/finish_rows");
const INPUT: &str =
    tiled!("tile/product", "tile/bindings/input", "tile/dy", "tile/conv_input", "tile/dx", "tile/finish_rows");
const INPUT_ALL: &str = tiled!("tile/product", "tile/conv_input_any", "tile/finish_rows");
const GRADIENT_WIDE: &str =
    tiled!("tile/gradient", "tile/bindings/gradient", "tile/dy", "tile/conv_gradient", "tile/conv_gradient_x");
const GRADIENT_X_NARROW: &str =
    tiled!("tile/gradient", "tile/bindings/gradient", "tile/dy", "tile/conv_gradient", "tile/conv_gradient_x_narrow");
const GRADIENT_ALL: &str = tiled!("tile/gradient", "tile/conv_gradient_any", "tile/conv_gradient_x_narrow");

const GRADIENT_GROUPED: &str = tiled!("tile/conv_gradient_grouped");

const POOL_WIDE: &str = tiled!("tile/product", "tile/conv_x", "tile/conv_forward", "tile/conv_y_pooled");
const POOL_X_NARROW: &str = tiled!("tile/product", "tile/conv_x_narrow", "tile/conv_forward", "tile/conv_y_pooled");
const INPUT_RELU: &str = tiled!(
    "tile/product",
    "tile/bindings/input_relu",
    "tile/dy",
    "tile/conv_input",
    "tile/dx_relu",
    "tile/finish_rows"
);
const INPUT_POOL: &str = tiled!(
    "tile/product",
    "tile/bindings/input_pool",
    "tile/dy_pooled",
    "tile/conv_input",
    "tile/dx",
    "tile/finish_rows"
);
const INPUT_POOL_RELU: &str = tiled!(
    "tile/product",
    "tile/bindings/input_pool_relu",
    "tile/dy_pooled",
    "tile/conv_input",
    "tile/dx_relu",
    "tile/finish_rows"
);
const BAND_2: &str = tiled!("tile/band", "tile/band_2", "tile/band_dy");
const BAND_4: &str = tiled!("tile/band", "tile/band_4", "tile/band_dy");
const BAND_POOL_2: &str = tiled!("tile/band", "tile/band_2", "tile/band_dy_pooled");
const BAND_POOL_4: &str = tiled!("tile/band", "tile/band_4", "tile/band_dy_pooled");
const GRADIENT_POOL: &str = tiled!(
    "tile/gradient",
    "tile/bindings/gradient_pool",
    "tile/dy_pooled",
    "tile/conv_gradient",
    "tile/conv_gradient_x"
);
const GRADIENT_POOL_X_NARROW: &str = tiled!(
    "tile/gradient",
    "tile/bindings/gradient_pool",
    "tile/dy_pooled",
    "tile/conv_gradient",
    "tile/conv_gradient_x_narrow"
);

/// C and O multiples of 4, 4 or 8 rows a lane.
pub(super) const FORWARD_4: Variant = Variant {
    condition: fits_wide,
    ..Variant::new("conv_tile.forward_4", FORWARD_WIDE, "product", |op| launch_forward(op, 4))
};
pub(super) const FORWARD_8: Variant = Variant {
    condition: |op, adapter| fits_wide(op, adapter) && fits_memory(op.params::<Params>().forward_product()),
    suits: |op| fills(op.params::<Params>().forward_product()),
    ..Variant::new("conv_tile.forward_8", FORWARD_WIDE, "product", |op| launch_forward(op, 8))
};

/// O a multiple of 4, any C.
pub(super) const FORWARD_NARROW: Variant = Variant {
    condition: fits_narrow,
    ..Variant::new("conv_tile.forward_narrow", FORWARD_X_NARROW, "product", |op| launch_forward(op, 4))
};

/// Any C and O.
pub(super) const FORWARD_ANY: Variant = Variant {
    condition: fits_any,
    ..Variant::new("conv_tile.forward_any", FORWARD_ALL, "product", |op| launch_forward(op, 4))
};

/// C and O multiples of 4, 4 or 8 rows a lane.
pub(super) const BACKWARD_INPUT_4: Variant = Variant {
    condition: fits_wide,
    ..Variant::new("conv_tile.backward_input_4", INPUT, "product", |op| launch_input(op, 4))
};
pub(super) const BACKWARD_INPUT_8: Variant = Variant {
    condition: |op, adapter| fits_wide(op, adapter) && fits_memory(op.params::<Params>().input_product()),
    suits: |op| fills(op.params::<Params>().input_product()),
    ..Variant::new("conv_tile.backward_input_8", INPUT, "product", |op| launch_input(op, 8))
};

/// Any C and O.
pub(super) const BACKWARD_INPUT_ANY: Variant = Variant {
    condition: fits_any,
    ..Variant::new("conv_tile.backward_input_any", INPUT_ALL, "product", |op| launch_input(op, 4))
};

/// C and O multiples of 4.
pub(super) const BACKWARD_WEIGHT: Variant = Variant {
    condition: fits_wide,
    ..Variant::new("conv_tile.backward_weight", GRADIENT_WIDE, "gradient", launch_gradient)
};

/// O a multiple of 4, any C.
pub(super) const BACKWARD_WEIGHT_NARROW: Variant = Variant {
    condition: fits_narrow,
    ..Variant::new("conv_tile.backward_weight_narrow", GRADIENT_X_NARROW, "gradient", launch_gradient)
};

/// Any C and O.
pub(super) const BACKWARD_WEIGHT_ANY: Variant = Variant {
    condition: fits_any,
    ..Variant::new("conv_tile.backward_weight_any", GRADIENT_ALL, "gradient", launch_gradient)
};

/// In groups, with any C and O.
pub(super) const BACKWARD_WEIGHT_GROUPED: Variant = Variant {
    condition: |op, adapter| op.params::<Params>().groups > 1 && !adapter.software,
    ..Variant::new("conv_tile.backward_weight_grouped", GRADIENT_GROUPED, "grouped", launch_grouped)
}
.in_workgroups_of(256);

fn launch_grouped(op: &Op) -> Launch {
    let p: Params = op.params();
    let [x, y, _] = linear(p.grouped_blocks() * p.splits(), 1);
    Launch::of([x, y, 1]).with([p.constants(), vec![("GROUPS", p.groups)]].concat())
}

/// A forward pass with the ReLU after it, like [`FORWARD_4`] and the others.
pub(super) const FORWARD_RELU_4: Variant =
    relu("conv_tile.forward_relu_4", FORWARD_4, |op| with_relu(launch_forward(op, 4)));
pub(super) const FORWARD_RELU_8: Variant =
    relu("conv_tile.forward_relu_8", FORWARD_8, |op| with_relu(launch_forward(op, 8)));
pub(super) const FORWARD_RELU_NARROW: Variant =
    relu("conv_tile.forward_relu_narrow", FORWARD_NARROW, |op| with_relu(launch_forward(op, 4)));
pub(super) const FORWARD_RELU_ANY: Variant =
    relu("conv_tile.forward_relu_any", FORWARD_ANY, |op| with_relu(launch_forward(op, 4)));

const fn relu(name: &'static str, variant: Variant, launch: fn(&Op) -> Launch) -> Variant {
    Variant { name, first: Pass { launch, ..variant.first }, ..variant }
}

fn with_relu(mut launch: Launch) -> Launch {
    launch.constants.push(("RELU", 1));
    launch
}

/// A forward pass with the ReLU and the pooling after it; C a multiple of 4, or any C.
pub(super) const FORWARD_POOL: Variant =
    Variant { condition: fits_wide, ..Variant::new("conv_tile.forward_pool", POOL_WIDE, "product", launch_pool) };
pub(super) const FORWARD_POOL_NARROW: Variant =
    Variant::new("conv_tile.forward_pool_narrow", POOL_X_NARROW, "product", launch_pool);

/// Gradients of x where dy comes from a pooling, or x from a ReLU, or both; 4 or 8 rows a lane.
pub(super) const BACKWARD_INPUT_RELU: [Variant; 2] =
    inputs(["conv_tile.backward_input_relu_8", "conv_tile.backward_input_relu_4"], INPUT_RELU);
pub(super) const BACKWARD_INPUT_POOL: [Variant; 2] =
    inputs(["conv_tile.backward_input_pool_8", "conv_tile.backward_input_pool_4"], INPUT_POOL);
pub(super) const BACKWARD_INPUT_POOL_RELU: [Variant; 2] =
    inputs(["conv_tile.backward_input_pool_relu_8", "conv_tile.backward_input_pool_relu_4"], INPUT_POOL_RELU);

const fn inputs([eight, four]: [&'static str; 2], source: &'static str) -> [Variant; 2] {
    [Variant { name: eight, source, ..BACKWARD_INPUT_8 }, Variant { name: four, source, ..BACKWARD_INPUT_4 }]
}

/// Weight gradients where dy comes from a pooling; C a multiple of 4, or any C.
pub(super) const BACKWARD_WEIGHT_POOL: Variant =
    Variant { name: "conv_tile.backward_weight_pool", source: GRADIENT_POOL, ..BACKWARD_WEIGHT };
pub(super) const BACKWARD_WEIGHT_POOL_NARROW: Variant =
    Variant { name: "conv_tile.backward_weight_pool_narrow", source: GRADIENT_POOL_X_NARROW, ..BACKWARD_WEIGHT_NARROW };

/// Weight gradients for few input channels, band by band, with two or four filters an invocation.
pub(super) const BACKWARD_WEIGHT_BAND: [Variant; 2] =
    bands(["conv_tile.backward_weight_band_2", "conv_tile.backward_weight_band_4"], [BAND_2, BAND_4]);
pub(super) const BACKWARD_WEIGHT_POOL_BAND: [Variant; 2] = bands(
    ["conv_tile.backward_weight_pool_band_2", "conv_tile.backward_weight_pool_band_4"],
    [BAND_POOL_2, BAND_POOL_4],
);

const fn bands([two, four]: [&'static str; 2], sources: [&'static str; 2]) -> [Variant; 2] {
    let two = Variant::new(two, sources[0], "band", launch_band);
    let four = Variant::new(four, sources[1], "band", launch_band);
    [
        Variant { condition: |op, adapter| fits_band(op, adapter, 2), ..two },
        Variant { condition: |op, adapter| fits_band(op, adapter, 4), ..four },
    ]
}

fn fits_band(op: &Op, adapter: Adapter, filters: u32) -> bool {
    let p: Params = op.params();
    let fits = |band: Band| band.filters == filters && p.pixels_per_split.is_multiple_of(band.rows * p.ow);
    fits_narrow(op, adapter) && p.band().is_some_and(fits)
}

fn launch_band(op: &Op) -> Launch {
    let p: Params = op.params();
    let band = p.band().expect("asked of shapes that fit");
    let [x, y, _] = linear(p.splits(), 1);
    let own = [("KH", p.kh), ("BAND", band.rows), ("PARTS", band.parts), ("FILTER_LANES", band.lanes)];
    Launch::of([x, y, band.chunks(&p)]).with([p.pooled_constants(), own.to_vec()].concat())
}

/// The bands of output rows in which a weight gradient for few input channels is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Band {
    rows: u32,
    /// Parts of a row, which as many invocations share.
    parts: u32,
    /// Filters of an invocation.
    filters: u32,
    /// Invocations with different filters.
    lanes: u32,
}

impl Band {
    /// The most taps down and across a window.
    const TAPS: u32 = 5;
    /// The most input channels, beyond which tiles copy less than they compute.
    const CHANNELS: u32 = 4;

    /// The bands of so many rows with so many invocations for different filters, if they fit a workgroup.
    fn new(p: &Params, rows: u32, lanes: u32) -> Option<Band> {
        let groups = p.ow.div_ceil(4);
        let most = (tile::LANES / (lanes * p.c * rows)).min(groups);
        let parts = groups.div_ceil(groups.div_ceil(most.max(1)));
        // The sums of all taps are in registers.
        let filters = if p.kh * p.kw <= 9 { 4 } else { 2 };
        let band = Band { rows, parts, filters, lanes };
        let sums = 4 * filters * tile::LANES * p.kw;
        (most > 0 && 16 * band.copied(p) + sums <= tile::MEMORY).then_some(band)
    }

    /// Vectors of four columns of the input rows under a band.
    fn copied(&self, p: &Params) -> u32 {
        (self.rows + p.kh - 1) * p.c * (p.ow.div_ceil(4) + 1)
    }

    /// Workgroups that have different filters.
    fn chunks(&self, p: &Params) -> u32 {
        (p.o / self.filters).div_ceil(self.lanes)
    }

    /// Estimated instructions for sixteen output rows and all filters.
    fn cost(&self, p: &Params) -> u64 {
        /// Instructions, waits among them, of copying a vector, of a gradient, and of the rest of a band.
        const COPY: u32 = 200;
        const GRADIENT: u32 = 20;
        const REST: u32 = 200;
        let copies = COPY * self.copied(p).div_ceil(tile::LANES);
        let pixels = 4 * (GRADIENT + self.filters * p.kh * p.kw) + 8 * p.kh;
        let band = REST + copies + p.ow.div_ceil(4).div_ceil(self.parts) * pixels;
        16 * u64::from(self.chunks(p)) * u64::from(band) / u64::from(self.rows)
    }
}

fn launch_pool(op: &Op) -> Launch {
    let p: Params = op.params();
    // A lane has the rows of one window.
    Tile::new(p.window[0] * p.window[1], p.pooled_product()).launch(p.pooled_constants())
}

fn fits_wide(op: &Op, adapter: Adapter) -> bool {
    op.params::<Params>().c.is_multiple_of(4) && fits_narrow(op, adapter)
}

fn fits_narrow(op: &Op, adapter: Adapter) -> bool {
    op.params::<Params>().o.is_multiple_of(4) && fits_any(op, adapter)
}

fn fits_any(op: &Op, _: Adapter) -> bool {
    op.params::<Params>().groups == 1
}

/// Whether tiles of 8 rows a lane leave workgroup memory to others. Narrow tiles have too many rows for that.
fn fits_memory(product: Product) -> bool {
    Tile::new(8, product).is_small()
}

/// Whether tiles of 8 rows a lane are enough to fill a large GPU.
fn fills(product: Product) -> bool {
    Tile::undivided(8, product).workgroups() >= tile::ENOUGH
}

impl Params {
    pub(super) fn forward_product(&self) -> Product {
        Product { rows: self.n as usize * self.rows(), columns: self.o as usize, depth: self.k() }
    }

    /// The forward product with the rows of every window of a pooling.
    fn pooled_product(&self) -> Product {
        let window = (self.window[0] * self.window[1]) as usize;
        Product { rows: self.pooled_pixels() * window, ..self.forward_product() }
    }

    /// The product for the gradient of x.
    pub(super) fn input_product(&self) -> Product {
        let (rows, depth) = (self.n as usize * (self.h * self.w) as usize, (self.kh * self.kw * self.o) as usize);
        Product { rows, columns: self.c as usize, depth }
    }

    /// The number of blocks of the weight gradient, for each split.
    pub(super) fn blocks(&self) -> Blocks {
        Blocks::new(self.k() + 1, self.o as usize)
    }

    /// Blocks of sixteen values of the weight gradient in groups, for each split.
    fn grouped_blocks(&self) -> usize {
        ((self.k() + 1) * self.o as usize).div_ceil(16)
    }

    /// The bands of the weight gradient, if it can be computed by bands.
    fn band(&self) -> Option<Band> {
        let small = self.c <= Band::CHANNELS && self.kh.max(self.kw) <= Band::TAPS;
        let fits = self.stride == [1, 1] && self.is_plain() && small && self.o.is_multiple_of(4);
        // A workgroup for every other compute unit of a large GPU at least.
        let most = (2 * self.n * self.oh / tile::UNITS).clamp(1, self.oh);
        let rows = (1..=most).filter(|rows| fits && self.oh.is_multiple_of(*rows));
        let lanes = || 1..=tile::LANES.min(self.o);
        let bands = rows.flat_map(|rows| lanes().filter_map(move |lanes| Band::new(self, rows, lanes)));
        bands.min_by_key(|band| band.cost(self))
    }

    /// This shape with a split for so many output pixels that all workgroups of the weight gradient fill a large GPU.
    pub fn for_hardware(self) -> Params {
        let (pixels, results) = (self.n as usize * self.rows(), (self.k() + 1) * self.o as usize);
        if self.groups > 1 {
            let splits = tile::splits(self.grouped_blocks(), pixels.div_ceil(64), results);
            // At most 256 pixels for each of the sixteen lanes that share a value, while one sum takes the splits.
            let splits = splits.max(pixels.div_ceil(16 * 256)).min(MAX_SPLITS);
            return Params { pixels_per_split: word(pixels.div_ceil(splits)), ..self };
        }
        if let Some(band) = self.band() {
            let (bands, each) = (self.n * self.oh / band.rows, band.rows * self.ow);
            let splits = word(tile::splits(band.chunks(&self) as usize, bands as usize, results));
            // Rather too many splits than too few, but not more than one sum takes.
            let own = if bands.div_ceil(bands / splits) as usize > MAX_SPLITS { 2 } else { bands / splits };
            return Params { pixels_per_split: own * each, ..self };
        }
        let splits = self.blocks().splits(pixels, results);
        // Whole stages, and rather too many splits than too few.
        let each = (pixels / splits / tile::STEPS * tile::STEPS).max(tile::STEPS);
        Params { pixels_per_split: word(each), ..self }
    }

    pub(super) fn constants(&self) -> Vec<(&'static str, u32)> {
        let [stride_y, stride_x] = self.stride;
        vec![
            ("IC", self.c),
            ("O", self.o),
            ("H", self.h),
            ("W", self.w),
            ("OH", self.oh),
            ("OW", self.ow),
            ("KW", self.kw),
            ("STRIDE_Y", stride_y),
            ("STRIDE_X", stride_x),
        ]
    }

    /// With those of the pooling.
    pub(super) fn pooled_constants(&self) -> Vec<(&'static str, u32)> {
        let [y, x] = self.window.map(|size| size.max(1));
        [self.constants(), vec![("WINDOW_Y", y), ("WINDOW_X", x)]].concat()
    }
}

fn launch_forward(op: &Op, rows_per_lane: u32) -> Launch {
    let p: Params = op.params();
    Tile::new(rows_per_lane, p.forward_product()).launch(p.constants())
}

fn launch_input(op: &Op, rows_per_lane: u32) -> Launch {
    let p: Params = op.params();
    Tile::new(rows_per_lane, p.input_product()).launch(p.pooled_constants())
}

fn launch_gradient(op: &Op) -> Launch {
    let p: Params = op.params();
    p.blocks().launch(p.splits(), p.pooled_constants())
}
