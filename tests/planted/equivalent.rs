//! Faults that every test run plants, and changes that are not faults.

/// A fault that some case must find.
pub struct Named {
    pub kernel: &'static str,
    pub old: &'static str,
    pub new: &'static str,
}

const fn named(kernel: &'static str, old: &'static str, new: &'static str) -> Named {
    Named { kernel, old, new }
}

/// Faults that cases once let pass, and similar ones. Together with the second dimension and a texture's second row,
/// which `planted.rs` ignores wherever a kernel has one, they are at least one per kernel.
pub const NAMED: &[Named] = &[
    // Keeps a division finite.
    named("clip.scale", " + 1e-6", ""),
    named("clip.scale", "1e-6", "1e-5"),
    named("softmax.gradient", "max(gradient_probabilities[i], 1.17549435e-38)", "gradient_probabilities[i]"),
    named("softmax.gradient", "1.17549435e-38", "1e-30"),
    // Epsilon, in the root or beside it, and in the numerator.
    named("optimizer.adagrad", "sqrt(s + p.b) + p.epsilon", "sqrt(s + p.b + p.epsilon)"),
    named("optimizer.adagrad", "sqrt(s + p.b) + p.epsilon", "sqrt(s) + p.b + p.epsilon"),
    named("optimizer.windowgrad", "sqrt(s + p.b) + p.epsilon", "sqrt(s + p.b + p.epsilon)"),
    named("optimizer.windowgrad", "sqrt(s + p.b) + p.epsilon", "sqrt(s) + p.b + p.epsilon"),
    named("optimizer.adadelta", "(second + p.epsilon)", "second"),
    named("optimizer.adadelta", "(s + p.epsilon)", "s"),
    named("optimizer.adadelta", "sqrt((second + p.epsilon) / (s + p.epsilon))", "sqrt(second / s) + p.epsilon"),
    // Each rule by its number, and each of its lines.
    named("optimizer.sgd", "default: { return Updated(w - rate * g", "default: { return Updated(w + rate * g"),
    named("optimizer.momentum", "let v = p.a * first - rate * g;", "let v = p.a * first + rate * g;"),
    named("optimizer.nesterov", "return Updated(w + p.a * v - step", "return Updated(w + v - step"),
    named("optimizer.adagrad", "let s = first + g * g;", "let s = g * g;"),
    named("optimizer.adamw", "DECOUPLED == 0u", "DECOUPLED != 2u"),
    named("optimizer.adamw", "next.w -= rate * decay;", "next.w -= decay;"),
    named("optimizer.adam", "sqrt(v / header.correction2) + p.epsilon", "sqrt(v / header.correction2 + p.epsilon)"),
    named("optimizer.adamw", "sqrt(v / header.correction2) + p.epsilon", "sqrt(v / header.correction2 + p.epsilon)"),
    // More than 32,768 parameters.
    named("optimizer.adam", "p.count / 4u + i", "(p.count / 4u + i) % 16384u"),
    // Reads beyond an input: one more pass of a loop, or a check that comes too late.
    named("relu.forward", "if i >= p.count / LANES { return; }", "if i > p.count / LANES { return; }"),
    named("statistics.dead", "p.per_example) / p.channels;", "p.per_example) / p.channels + 1u;"),
    named("statistics.dead_walk", "i < end", "i < end + 1u"),
    named("statistics.summary", "i < valid_end", "i <= valid_end"),
    named("statistics.summary_walk", "i < valid_end", "i <= valid_end"),
    named("softmax.summary", "min(summary_header.valid, p.n)", "summary_header.valid + 1u"),
    named("clip.scale", "min(p.count, first", "min(p.count + 1u, first"),
    named("clip.scale", "part < (p.count", "part <= (p.count"),
    named("statistics.summary", "part < parts()", "part <= parts()"),
    named("statistics.summary_walk", "part < walkers()", "part <= walkers()"),
    named("statistics.summary_walk", "id.x < walkers()", "id.x <= walkers()"),
    named("statistics.change", "i < min(p.count, end)", "i <= min(p.count, end)"),
    named("statistics.change", "part < end", "part <= end"),
    named("statistics.change_walk", "i < min(p.count, end)", "i <= min(p.count, end)"),
    named("statistics.change_walk", "part < end", "part <= end"),
    named("statistics.change_walk", "id.x < walkers()", "id.x <= walkers()"),
    named("loss.number", "c < p.c", "c <= p.c"),
    named("loss.number_wide", "c < p.c", "c <= p.c"),
    named("loss.hinge_wide", "c < p.c", "c <= p.c"),
    named("loss.mse_wide", "c < p.c", "c <= p.c"),
    named("softmax.forward_wide", "c < p.c", "c <= p.c"),
    // A NaN as a driver may see it, which assumes that there is none.
    named("statistics.dead", "bitcast<u32>(v) - 1u < 0x7f800000u", "!(v <= 0.0)"),
    named("clip.scale", "bits <= 0x7f800000u", "true"),
    // What only a tree's last merges see, or a second pass.
    named("statistics.summary", "var width = LANES / 2u", "var width = LANES / 4u"),
    named("statistics.summary", "part < parts()", "part < min(parts(), 256u)"),
    named("statistics.summary", "if a.finite == 0u {", "if false {"),
    named("statistics.change", "parts(), LANES)", "min(parts(), 256u), LANES)"),
    named("statistics.dead", "chunk += LANES", "chunk += 2u * LANES"),
    named("clip.scale", "var width = LANES / 2u", "var width = LANES / 4u"),
    named("clip.scale", "part += LANES", "part += 2u * LANES"),
    named("batch_norm.moments", "left > 1u", "left > 2u"),
    named("batch_norm.moments", "d * d * a.count * share", "d * d * share"),
    named("batch_norm.moments_vec4", "left > 1u", "left > 2u"),
    named("batch_norm.sums", "left > 1u", "left > 2u"),
    named("batch_norm.sums_vec4", "left > 1u", "left > 2u"),
    named("batch_norm.finish", "merged_chunks(lane, 256u, c)", "merged_chunks(lane, 512u, c)"),
    named("batch_norm.finish_vec4", "merged_chunks(lane, 256u, c)", "merged_chunks(lane, 512u, c)"),
    named("batch_norm.backward_weight", "added_chunks(lane, 256u, c)", "added_chunks(lane, 512u, c)"),
    named("batch_norm.backward_weight_vec4", "added_chunks(lane, 256u, c)", "added_chunks(lane, 512u, c)"),
    named("softmax.forward_wide", " || (b.key == a.key && b.place < a.place)", ""),
    named("softmax.forward_wide", "select(0u, 0xffffffffu, place == 0u)", "0u"),
    named("softmax.summary", "var width = 128u", "var width = 64u"),
    named("avg_pool.forward_large", "chunk += tile_height()", "chunk += 2u * tile_height()"),
    named("avg_pool.forward_large", "(chunk + 1u) * chunk_size());", "(chunk + 1u) * chunk_size() - 1u);"),
    named("avg_pool.forward", "p.stride_y, p.pad_y, p.kh, p.h)", "p.stride_y, p.pad_y, p.kh, p.h + 1u)"),
    named("pool.forward", "o.y * p.stride_y + p.kh - p.pad_y, p.h)", "o.y * p.stride_y + p.kh - p.pad_y, p.h + 1u)"),
    named(
        "pool.forward_vec4",
        "o.y * p.stride_y + p.kh - p.pad_y, p.h)",
        "o.y * p.stride_y + p.kh - p.pad_y, p.h + 1u)",
    ),
    named("pool.backward", "p.stride_y + 1u, p.oh)", "p.stride_y + 1u, p.oh + 1u)"),
    named("pool.backward_vec4", "first_window(i.y + p.pad_y", "first_window(i.y + p.pad_x"),
    named("conv.forward", "y >= i32(p.h)", "y > i32(p.h)"),
    named("conv_blocked.forward", "x < i32(p.w)", "x <= i32(p.w)"),
    named("conv_blocked.forward", "y < i32(p.h)", "y <= i32(p.h)"),
    named("conv_blocked.backward_input", "oy < i32(p.oh)", "oy <= i32(p.oh)"),
    named("lrn.forward", "min(c + behind + 1u, p.channels)", "c + behind + 1u"),
    named("conv_blocked.forward_narrow", "x < i32(p.w)", "x <= i32(p.w)"),
    named("conv_blocked.backward_weight", "x < i32(p.w)", "x <= i32(p.w)"),
    named("conv_blocked.backward_weight", "y < i32(p.h)", "y <= i32(p.h)"),
    named("conv_blocked.backward_weight_narrow", "x < i32(p.w)", "x <= i32(p.w)"),
    named("conv_blocked.backward_weight_narrow", "y + 1 < i32(p.h)", "y + 1 <= i32(p.h)"),
    named("conv_tile.forward_4", "row < H", "row <= H"),
    named("conv_tile.forward_8", "column < W", "column <= W"),
    named("conv_tile.forward_narrow", "row < H", "row <= H"),
    named("conv_tile.backward_input_4", "column < OW", "column <= OW"),
    named("conv_tile.backward_weight", "first + p.pixels_per_split)", "first + p.pixels_per_split + 1u)"),
    named("conv_tile.backward_weight_pool", "(n * pooled_rows() + row)", "(n + row)"),
    // The sums of one slice forgotten, or of one half of them.
    named("conv_tile.forward_any", "i * SLICES + slice", "i * SLICES"),
    named("conv_tile.backward_weight_narrow", "i * SLICES + slice", "i * SLICES"),
    named("conv_tile.backward_weight_grouped", "width /= 2u", "width /= 4u"),
    named("conv_tile.backward_weight_grouped", "factor * dy", "dy"),
    named("conv_tile.backward_weight_band_2", "part * BLOCKS + block", "part * BLOCKS"),
    named("conv_tile.backward_weight_band_4", "first + tap * IC + block / FILTER_LANES", "first + tap * IC"),
    named("conv_tile.backward_weight_pool_band_2", "WINDOW_X % 4u != 0u", "WINDOW_X % 2u != 0u"),
    named("conv_tile.backward_weight_pool_band_4", "row.pixel + column", "column"),
    named("conv_tile.backward_input_any", "c3 = summed(c3, lane);", ""),
    // A tie, a zero and a blocked winner of a pooling, and the ReLU before a convolution.
    named("conv_tile.forward_pool", "value > best.value", "value >= best.value"),
    named("conv_tile.forward_pool", "select(best.place, vec4u(first), zero)", "best.place"),
    named("conv_tile.forward_pool_narrow", "vec4u(BLOCKED), vec4u(), passes", "vec4u(), vec4u(), passes"),
    named("conv_tile.backward_input_pool_4", "winner[at] == vec4u(", "(winner[at] & vec4u(0x7fffffffu)) == vec4u("),
    named("conv_tile.backward_input_relu_4", "- vec4u(1u) <", "<"),
    named("sums.gradients", "i < entry.w", "i <= entry.w"),
    named("sums.gradients", "split < entry.z", "split <= entry.z"),
    named("softmax.step", "own.row.valid && own.prediction", "own.prediction"),
    named("softmax.step", "n += 256u", "n += 512u"),
    named("softmax.probabilities", "c < p.c; c++) { sum +=", "c < p.c - 1u; c++) { sum +="),
    // Writes beyond an output, and missing writes at the end of a block.
    named("fc.forward", "n + 3u < p.n", "n + 3u <= p.n"),
    named("fc.forward_vec4", "n + 3u < p.n", "n + 3u <= p.n"),
    named("fc.backward_input", "n + 3u < p.n", "n + 3u <= p.n"),
    named("fc.backward_input_vec4", "n + 3u < p.n", "n + 3u <= p.n"),
    named("fc.backward_weight", "k > inputs", "k >= inputs"),
    named("fc.backward_weight_vec4", "k > inputs", "k >= inputs"),
    named("probe.multiply_add", "(j + k) + (l + m)", "(j + k) + l"),
    named("probe.copy", "i >= p.count", "i > p.count"),
    // The results of rows without an example.
    named("loss.mse", "dscores[at] = select(0.0,", "dscores[at] = select(0.5,"),
    named("loss.mse", "dscores[at] = select(0.0, distance * row.share, row.n < header.valid);", ""),
    named("loss.number", "dnumber[n] = select(0.0,", "dnumber[n] = select(0.5,"),
    named("loss.number", "distance * share(n), valid", "distance, valid"),
    // A part of a batch: the mean over the whole batch, and draws by the row's number in it.
    named("softmax.forward", "header.global_valid", "header.valid"),
    named("softmax.gradient", "gradient_header.global_valid", "gradient_header.valid"),
    named("loss.hinge", "header.global_valid", "header.valid"),
    named("loss.mse", "header.global_valid", "header.valid"),
    named("loss.number", "header.global_valid", "header.valid"),
    named("batch.gather", "header.first_row + n", "n"),
    named("batch.gather_augmented", "header.step, global_row(n)", "header.step, n"),
    named("batch.gather_augmented", "draw(0x27d4eb2fu, global_row(n))", "draw(0x27d4eb2fu, n)"),
    named("batch.gather_augmented", "draw(0x165667b1u, global_row(n))", "draw(0x165667b1u, n)"),
    named("batch.gather_augmented", "draw(0xd3a2646cu, global_row(n))", "draw(0xd3a2646cu, n)"),
    named("batch.gather_augmented", "(global_row(n) * POINTS", "(n * POINTS"),
    named("batch.gather_augmented", "draw(0x5bd1e995u, global_row(at.n))", "draw(0x5bd1e995u, at.n)"),
    named("batch.gather_augmented", "draw(0x9e3779b9u, global_row(at.n))", "draw(0x9e3779b9u, at.n)"),
    named("dropout.apply", "header.first_row * p.per_example + i", "i"),
    // Once excused together with equivalent changes.
    named("batch.gather", "p.source_h - p.h", "p.source_w - p.h"),
    named("batch.gather", "+ 2u * pad", "* pad"),
    named("batch_norm.finish", "/ p.unit * p.parts", "/ p.unit"),
    named("batch_norm.finish", "p.n + p.unit - 1u", "p.n - 1u"),
    // The first of two identical lines; the second does not affect what dropout draws.
    named("dropout.apply", "v.y += v.z * v.x;", "v.y += v.z;"),
    named("dropout.apply", "v.z += v.x * v.y;", "v.z += v.x;"),
    // Products by cooperative matrices, emulated here: strips, tiles and windows, the scale of gradients.
    named("conv_matrix.forward_f16_8", "first_column + SIDE / 4u", "first_column"),
    named("conv_matrix.forward_f16_16", "k + step, first_column + across", "k + step, across"),
    named("conv_matrix.forward_f16_16", "let first = first_sum(column);", "let first = vec4f();"),
    named("conv_matrix.forward_relu_f16_8", "row % (HEIGHT * SIDE)", "row % SIDE + SIDE"),
    named("conv_matrix.forward_pool_f16_16", "row % (HEIGHT * SIDE)", "row % SIDE"),
    named("conv_matrix.forward_pool_f16_16", "tile * TILE_ROWS + min", "tile * HEIGHT * SIDE + min"),
    named("conv_matrix.forward_pool_f16_8", "if ROWS > 4u {", "if ROWS > 9u {"),
    named("conv_matrix.backward_input_f16_16", "127u - SCALE_BITS", "127u"),
    named("conv_matrix.backward_input_relu_f16_8", "load_a(place, k + step), scale()", "load_a(place, k + step), 1.0"),
    named("conv_matrix.backward_weight_f16_16", "factors(dy, scale())", "factors(dy, 1.0)"),
    named("conv_matrix.backward_weight_f16_8", "loaded(false, ", "loaded(true, "),
    named("conv_matrix.backward_weight_f16_16", "4u * first_row + SIDE, exists", "4u * first_row, exists"),
    named("conv_matrix.backward_weight_pool_f16_8", "select(0u, strips, range.x < range.y)", "strips"),
    named("conv_matrix.backward_weight_f32_8", "m + step < range.y, own", "true, own"),
    // A placed crop in a row or a column above 255.
    named("batch.gather", "(place >> 15u) & 0x7fffu", "(place >> 15u) & 0xffu"),
    named("batch.gather", "place & 0x7fffu)", "place & 0xffu)"),
    named("batch.gather_augmented", "(place >> 15u) & 0x7fffu", "(place >> 15u) & 0xffu"),
    named("batch.gather_augmented", "place & 0x7fffu)", "place & 0xffu)"),
];

/// A change after which a kernel still keeps all its promises, identified by the whole new line.
pub struct Equivalent {
    /// Its name, or a family's with the dot.
    pub kernel: &'static str,
    pub function: &'static str,
    pub new: &'static str,
    /// The index among the function's identical lines; `None` for all of them.
    pub nth: Option<usize>,
    #[allow(dead_code, reason = "for who reads the table")]
    pub why: &'static str,
}

const fn equivalent(kernel: &'static str, function: &'static str, new: &'static str, why: &'static str) -> Equivalent {
    Equivalent { kernel, function, new, nth: None, why }
}

/// An entry for the second of two identical lines.
const fn second(kernel: &'static str, function: &'static str, new: &'static str, why: &'static str) -> Equivalent {
    Equivalent { nth: Some(1), ..equivalent(kernel, function, new, why) }
}

const NOTHING_LEFT: &str = "place() left it nothing to write";
/// Four channels beyond the last ones.
const NOT_STORED: &str = "what is computed of channels beyond the last is not stored";
const WRITTEN_ANEW: &str = "it is written anew before it is read";
const SHORTER_WAY: &str = "at the first column both ways load the same values";
const NO_PADDING: &str = "this kernel puts no pixels around an image";
const ROOT: &str = "the built-in root of lavapipe is never off, and the loop behind it corrects one too small";
const SHARE: &str = "callers choose 0 themselves in a row without an example";
const SHARE_IS_0: &str = "share() is 0 in a row without an example";
const X_ALONE: &str = "it draws x alone, which the last two lines do not reach";
const NO_ROWS: &str = "further chunks have no rows and are dropped";
const LEFT_OUT: &str = "the sum leaves them out";
const IN_STEP: &str = "one lane more merges what no lane reads afterwards; lavapipe runs lanes in step";
const ALL_IN_ONE: &str = "the first workgroup takes all values, and the others none";
const FIRST_SUM: &str = "a bias keeps the first sum alone";

pub const EQUIVALENT: &[Equivalent] = &[
    equivalent("batch.", "place", "if at.n > p.n { return at; }", "the caller checks again"),
    equivalent("batch.", "place", "if at.n <= header.valid {", "an index that exists is read for nothing"),
    equivalent(
        "batch.",
        "place",
        "at.end = min(at.first - 4u, values);",
        "the row's first invocation writes all of it",
    ),
    equivalent("batch.gather", "gather", "if at.n > p.n { return; }", NOTHING_LEFT),
    equivalent("batch.gather", "gather", "if at.n >= p.n { }", NOTHING_LEFT),
    equivalent("batch.gather_augmented", "gather_augmented", "if at.n > p.n { return; }", NOTHING_LEFT),
    equivalent("batch.gather_augmented", "gather_augmented", "if at.n >= p.n { }", NOTHING_LEFT),
    equivalent(
        "batch.gather",
        "corner",
        "let spare = vec2u(p.source_h - p.h, p.source_w - p.w) - 2u * pad;",
        NO_PADDING,
    ),
    equivalent(
        "batch.gather",
        "corner",
        "let spare = vec2u(p.source_h - p.h, p.source_w - p.w) + 1u * pad;",
        NO_PADDING,
    ),
    equivalent("batch.gather_augmented", "whole_root", "while root * root >= v { root--; }", ROOT),
    equivalent("batch.gather_augmented", "whole_root", "while (root + 1u) * (root + 1u) < v { root++; }", ROOT),
    equivalent("batch.gather_augmented", "gather_augmented", "var value = 0.5;", "both branches write it"),
    equivalent(
        "relu.",
        "forward",
        "let negative = bitcast<Word>(x) + Word(0x80000000u) <= Word(0x7f800000u);",
        "the same modulo 2^32",
    ),
    equivalent(
        "activation.leaky_relu",
        "leak",
        "return select(p.slope, 1.0, bitcast<u32>(value) - 1u <= 0x7f800000u);",
        "a NaN times anything is one",
    ),
    equivalent(
        "activation.leaky_relu",
        "leak",
        "return select(p.slope, 1.0, bitcast<u32>(value) - 2u < 0x7f800000u);",
        "the smallest float times the slope is 0 or itself",
    ),
    equivalent(
        "clip.",
        "with_square",
        "if (bitcast<u32>(value) & 0x7fffffffu) >= bitcast<u32>(LARGE) {",
        "both parts can hold the square of LARGE",
    ),
    equivalent("clip.", "of_all_lanes", "if lane <= width {", IN_STEP),
    equivalent("clip.", "squares", "let end = min(p.count, first - LANES * p.steps);", ALL_IN_ONE),
    equivalent(
        "clip.",
        "with_square",
        "return Squares(sum.small, sum.large - shrunk * shrunk);",
        "lavapipe's root ignores a sign",
    ),
    equivalent(
        "clip.",
        "scale",
        "own = Squares(own.small + parts[2u * part], own.large - parts[2u * part + 1u]);",
        "lavapipe's root ignores a sign",
    ),
    equivalent(
        "clip.",
        "scale",
        "result[0] = select(factor, 1.0, bits >= bitcast<u32>(1.0f) && bits <= 0x7f800000u);",
        "1 becomes 1",
    ),
    equivalent(
        "loss.mse",
        "share",
        "return select(1.0 / f32(max(header.global_valid, 1u)), 1.0 / f32(max(header.global_valid, 1u)), n < header.valid);",
        SHARE,
    ),
    equivalent(
        "loss.mse_wide",
        "share",
        "return select(1.0 / f32(max(header.global_valid, 1u)), 1.0 / f32(max(header.global_valid, 1u)), n < header.valid);",
        SHARE,
    ),
    equivalent(
        "loss.mse",
        "share",
        "return select(0.5, 1.0 / f32(max(header.global_valid, 1u)), n < header.valid);",
        SHARE,
    ),
    equivalent(
        "loss.mse_wide",
        "share",
        "return select(0.5, 1.0 / f32(max(header.global_valid, 1u)), n < header.valid);",
        SHARE,
    ),
    equivalent(
        "loss.mse",
        "share",
        "return select(0.0, 1.0 / f32(max(header.global_valid, 1u)), n <= header.valid);",
        SHARE,
    ),
    equivalent(
        "loss.mse_wide",
        "share",
        "return select(0.0, 1.0 / f32(max(header.global_valid, 1u)), n <= header.valid);",
        SHARE,
    ),
    equivalent(
        "loss.number",
        "share",
        "return select(1.0 / f32(max(header.global_valid, 1u)), 1.0 / f32(max(header.global_valid, 1u)), n < header.valid);",
        SHARE,
    ),
    equivalent(
        "loss.number_wide",
        "share",
        "return select(1.0 / f32(max(header.global_valid, 1u)), 1.0 / f32(max(header.global_valid, 1u)), n < header.valid);",
        SHARE,
    ),
    equivalent(
        "loss.number",
        "share",
        "return select(0.5, 1.0 / f32(max(header.global_valid, 1u)), n < header.valid);",
        SHARE,
    ),
    equivalent(
        "loss.number_wide",
        "share",
        "return select(0.5, 1.0 / f32(max(header.global_valid, 1u)), n < header.valid);",
        SHARE,
    ),
    equivalent(
        "loss.number",
        "share",
        "return select(0.0, 1.0 / f32(max(header.global_valid, 1u)), n <= header.valid);",
        SHARE,
    ),
    equivalent(
        "loss.number_wide",
        "share",
        "return select(0.0, 1.0 / f32(max(header.global_valid, 1u)), n <= header.valid);",
        SHARE,
    ),
    equivalent(
        "loss.",
        "mse_class",
        "dscores[at] = select(distance * row.share, distance * row.share, row.n < header.valid);",
        SHARE_IS_0,
    ),
    equivalent(
        "loss.",
        "mse_class",
        "dscores[at] = select(0.0, distance * row.share, row.n <= header.valid);",
        SHARE_IS_0,
    ),
    equivalent(
        "loss.",
        "write_number",
        "dnumber[n] = select(distance * share(n), distance * share(n), valid);",
        SHARE_IS_0,
    ),
    second("dropout.apply", "pcg3d", "v.y -= v.z * v.x;", X_ALONE),
    second("dropout.apply", "pcg3d", "v.y = v.z * v.x;", X_ALONE),
    second("dropout.apply", "pcg3d", "v.y += v.z;", X_ALONE),
    second("dropout.apply", "pcg3d", "v.z -= v.x * v.y;", X_ALONE),
    second("dropout.apply", "pcg3d", "v.z = v.x * v.y;", X_ALONE),
    second("dropout.apply", "pcg3d", "v.z += v.x;", X_ALONE),
    equivalent("dropout.apply", "apply", "if p.evaluation == 1.5 {", "a product with 1 is the value"),
    equivalent(
        "pool.",
        "windows_over",
        "first_window(i.x, p.kw, p.stride_x), min((i.x + p.pad_x) / p.stride_x + 1u, p.ow),",
        "a window further to the left was won by others",
    ),
    equivalent(
        "pool.",
        "windows_over",
        "first_window(i.y, p.kh, p.stride_y), min((i.y + p.pad_y) / p.stride_y + 1u, p.oh),",
        "a window further up was won by others",
    ),
    equivalent(
        "probe.multiply_add",
        "multiply_add",
        "if CHAINS >= 4u { e = step(e, s, t); f = step(f, s, t); g = step(g, s, t); h = step(h, s, t); }",
        LEFT_OUT,
    ),
    equivalent(
        "probe.multiply_add",
        "multiply_add",
        "if CHAINS >= 8u { j = step(j, s, t); k = step(k, s, t); l = step(l, s, t); m = step(m, s, t); }",
        LEFT_OUT,
    ),
    equivalent("batch_norm.finish", "chunks", "fn chunks() -> u32 { return (p.n + p.unit - 1u) * p.parts; }", NO_ROWS),
    equivalent(
        "batch_norm.finish",
        "chunks",
        "fn chunks() -> u32 { return (p.n + p.unit + 1u) / p.unit * p.parts; }",
        NO_ROWS,
    ),
    equivalent(
        "conv_blocked.backward_input",
        "backward_input",
        "for (var i = 1u; i <= PIXELS; i++) { v[i - 1u] = v[i]; }",
        WRITTEN_ANEW,
    ),
    equivalent("conv_blocked.backward_input", "backward_input", "let hi = min(lo + 1u, c4 + 1u);", NOT_STORED),
    equivalent("conv_blocked.backward_input", "backward_input", "let c4 = p.c;", NOT_STORED),
    equivalent("conv_blocked.backward_input", "backward_input", "let c4 = p.c / 3u;", NOT_STORED),
    equivalent("conv_blocked.backward_weight", "backward_weight", "if UNIT_STRIDE{", SHORTER_WAY),
    equivalent("conv_blocked.backward_weight_narrow", "backward_weight_narrow", "if UNIT_STRIDE{", SHORTER_WAY),
    equivalent("conv_blocked.backward_weight_narrow", "backward_weight_narrow", "var u0 = 0.5;", WRITTEN_ANEW),
    equivalent("conv_blocked.backward_weight_narrow", "backward_weight_narrow", "var v0 = 0.5;", WRITTEN_ANEW),
    equivalent(
        "conv_blocked.backward_weight_narrow",
        "backward_weight_narrow",
        "let hi = min(lo + 1u, o4 + 1u);",
        NOT_STORED,
    ),
    equivalent("conv_blocked.backward_weight", "backward_weight", "let hi = min(lo + 1u, o4 + 1u);", NOT_STORED),
    equivalent("conv_blocked.backward_weight", "backward_weight", "var v0 = vec4f(0.5);", WRITTEN_ANEW),
    equivalent(
        "conv_blocked.backward_weight",
        "backward_weight",
        "let t = select(v0, vec4f(1.0, 0.5, 0.0, 0.0), b.is_bias);",
        FIRST_SUM,
    ),
    equivalent(
        "conv_blocked.backward_weight",
        "backward_weight",
        "let t = select(v0, vec4f(1.0, 0.0, 0.5, 0.0), b.is_bias);",
        FIRST_SUM,
    ),
    equivalent(
        "conv_blocked.backward_weight",
        "backward_weight",
        "let t = select(v0, vec4f(1.0, 0.0, 0.0, 0.5), b.is_bias);",
        FIRST_SUM,
    ),
    equivalent(
        "conv_blocked.backward_weight",
        "tap_block",
        "return TapBlock(split, row, (pixel - row * runs) * 5u, index - pixel * channel_blocks, first,",
        "it takes one row",
    ),
    equivalent(
        "conv_blocked.backward_weight",
        "tap_block",
        "let bias = (p.kh + rows - 1u) * runs * channel_blocks;",
        "it takes one row",
    ),
];
