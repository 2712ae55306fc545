//! Variants of the convolution for hardware adapters: matrix products in tiles, whose operands are gathered while they
//! are copied to workgroup memory; `shaders/tile/`.

use super::conv_params::Params;
use super::tile::{self, Blocks, Tile};
use super::{Adapter, Launch, Op, Variant};

const FORWARD_WIDE: &str = shader!("prelude/index", "tile/conv", "tile/conv_x", "tile/conv_forward", "tile/product");
const FORWARD_X_NARROW: &str =
    shader!("prelude/index", "tile/conv", "tile/conv_x_narrow", "tile/conv_forward", "tile/product");
const INPUT: &str = shader!("prelude/index", "tile/conv", "tile/conv_input", "tile/product");
const GRADIENT_WIDE: &str =
    shader!("prelude/index", "tile/conv", "tile/conv_gradient", "tile/conv_gradient_x", "tile/gradient");
const GRADIENT_X_NARROW: &str =
    shader!("prelude/index", "tile/conv", "tile/conv_gradient", "tile/conv_gradient_x_narrow", "tile/gradient");
const FORWARD_ALL: &str =
    shader!("prelude/index", "tile/conv", "tile/conv_x_narrow", "tile/conv_forward_any", "tile/product");
const INPUT_ALL: &str = shader!("prelude/index", "tile/conv", "tile/conv_input_any", "tile/product");
const GRADIENT_ALL: &str =
    shader!("prelude/index", "tile/conv", "tile/conv_gradient_any", "tile/conv_gradient_x_narrow", "tile/gradient");

/// C and O multiples of 4, 4 or 8 rows a lane.
pub(super) const FORWARD_4: Variant = Variant {
    condition: fits_wide,
    ..Variant::new("conv_tile.forward_4", FORWARD_WIDE, "product", |op| launch_forward(op, 4))
};
pub(super) const FORWARD_8: Variant = Variant {
    condition: fits_wide,
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
    condition: fits_wide,
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

fn fits_wide(op: &Op, adapter: Adapter) -> bool {
    op.params::<Params>().c.is_multiple_of(4) && fits_narrow(op, adapter)
}

fn fits_narrow(op: &Op, adapter: Adapter) -> bool {
    op.params::<Params>().o.is_multiple_of(4) && fits_any(op, adapter)
}

fn fits_any(op: &Op, _: Adapter) -> bool {
    op.params::<Params>().groups == 1
}

/// Whether tiles of 8 rows a lane are enough to fill a large GPU.
fn fills([rows, columns]: [usize; 2]) -> bool {
    Tile::new(8, columns).workgroups(rows) >= tile::ENOUGH
}

impl Params {
    /// Rows and columns of the forward product.
    fn forward_product(&self) -> [usize; 2] {
        [self.n as usize * self.rows(), self.o as usize]
    }

    /// Rows and columns of the product for the gradient of x.
    fn input_product(&self) -> [usize; 2] {
        [self.n as usize * (self.h * self.w) as usize, self.c as usize]
    }

    /// The number of blocks of the weight gradient, for each split.
    pub(super) fn blocks(&self) -> Blocks {
        Blocks::new(self.k() + 1, self.o as usize)
    }

    /// This shape with a split for so many output pixels that all workgroups of the weight gradient fill a large GPU.
    pub fn for_hardware(self) -> Params {
        let pixels = self.n as usize * self.rows();
        let splits = self.blocks().splits(pixels, (self.k() + 1) * self.o as usize);
        Params { pixels_per_split: super::op::word(pixels.div_ceil(splits).next_multiple_of(tile::STEPS)), ..self }
    }

    fn constants(&self) -> Vec<(&'static str, u32)> {
        let [stride_y, stride_x] = self.stride;
        vec![
            ("C", self.c),
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
}

fn launch_forward(op: &Op, rows_per_lane: u32) -> Launch {
    let p: Params = op.params();
    let [rows, columns] = p.forward_product();
    Tile::new(rows_per_lane, columns).launch(rows, p.constants())
}

fn launch_input(op: &Op, rows_per_lane: u32) -> Launch {
    let p: Params = op.params();
    let [rows, columns] = p.input_product();
    Tile::new(rows_per_lane, columns).launch(rows, p.constants())
}

fn launch_gradient(op: &Op) -> Launch {
    let p: Params = op.params();
    p.blocks().launch(p.splits(), p.constants())
}
