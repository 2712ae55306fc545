//! Faults that no operator makes, and changes that are no faults.

/// A fault that some case must find.
pub struct Named {
    pub kernel: &'static str,
    pub old: &'static str,
    pub new: &'static str,
}

const fn named(kernel: &'static str, old: &'static str, new: &'static str) -> Named {
    Named { kernel, old, new }
}

/// Faults that the cases once let pass, and what else is of their kind.
pub const NAMED: &[Named] = &[
    // What keeps a division finite.
    named("clip.scale", " + 1e-6", ""),
    named("clip.scale", "1e-6", "1e-5"),
    named("softmax.gradient", "max(gradient_probabilities[i], 1.17549435e-38)", "gradient_probabilities[i]"),
    named("softmax.gradient", "1.17549435e-38", "1e-30"),
    // Epsilon, in the root or beside it, and in the numerator.
    named("optimizer.adagrad", "sqrt(s + p.b) + p.epsilon", "sqrt(s + p.b + p.epsilon)"),
    named("optimizer.adagrad", "sqrt(s + p.b) + p.epsilon", "sqrt(s) + p.b + p.epsilon"),
    named("optimizer.windowgrad", "sqrt(s + p.b) + p.epsilon", "sqrt(s + p.b + p.epsilon)"),
    named("optimizer.windowgrad", "sqrt(s + p.b) + p.epsilon", "sqrt(s) + p.b + p.epsilon"),
    named("optimizer.adadelta", "(u + p.epsilon)", "u"),
    named("optimizer.adadelta", "(s + p.epsilon)", "s"),
    named("optimizer.adadelta", "sqrt((u + p.epsilon) / (s + p.epsilon))", "sqrt(u / s) + p.epsilon"),
    named(
        "optimizer.adam",
        "sqrt(v / bitcast<f32>(header[6])) + p.epsilon",
        "sqrt(v / bitcast<f32>(header[6]) + p.epsilon)",
    ),
    named(
        "optimizer.adamw",
        "sqrt(v / bitcast<f32>(header[6])) + p.epsilon",
        "sqrt(v / bitcast<f32>(header[6]) + p.epsilon)",
    ),
    // More than 32,768 parameters.
    named("optimizer.sgd", "i >> 13u", "(i >> 13u) % 1u"),
    named("optimizer.adam", "p.count / 4u + i", "(p.count / 4u + i) % 16384u"),
    // Reads beyond an input: one more turn of a loop, and a check that comes too late.
    named("relu.forward", "if i >= p.count { return; }", "if i > p.count { return; }"),
    named("statistics.dead", "i < end", "i < end + 1u"),
    named("statistics.partial", "i < end", "i <= end"),
    named("softmax.summary", "min(summary_header[1], p.n)", "summary_header[1] + 1u"),
    named("clip.norms", "i < p.count", "i <= p.count"),
    named("clip.scale", "i < p.lanes", "i <= p.lanes"),
    named("statistics.finish", "lane < p.lanes", "lane <= p.lanes"),
    named("statistics.change", "i < p.count", "i <= p.count"),
    named("statistics.change_total", "lane < p.lanes", "lane <= p.lanes"),
    named("loss.number", "c < p.c", "c <= p.c"),
    named("avg_pool.forward", "p.stride_y, p.pad_y, p.kh, p.h)", "p.stride_y, p.pad_y, p.kh, p.h + 1u)"),
    named("pool.forward", "o.y * p.stride_y + p.kh - p.pad_y, p.h)", "o.y * p.stride_y + p.kh - p.pad_y, p.h + 1u)"),
    named(
        "pool.forward_vec4",
        "o.y * p.stride_y + p.kh - p.pad_y, p.h)",
        "o.y * p.stride_y + p.kh - p.pad_y, p.h + 1u)",
    ),
    named("pool.backward", "p.stride_y + 1u, p.oh)", "p.stride_y + 1u, p.oh + 1u)"),
    named("conv.forward", "y >= i32(p.h)", "y > i32(p.h)"),
    named("conv_blocked.forward", "x < i32(p.w)", "x <= i32(p.w)"),
    named("conv_blocked.forward", "y < i32(p.h)", "y <= i32(p.h)"),
    named("conv_blocked.backward_input", "oy < i32(p.oh)", "oy <= i32(p.oh)"),
    named("lrn.forward", "min(c + behind + 1u, p.channels)", "c + behind + 1u"),
    // The first of two lines that read alike: the second changes nothing that dropout draws.
    named("dropout.apply", "v.y += v.z * v.x;", "v.y += v.z;"),
    named("dropout.apply", "v.z += v.x * v.y;", "v.z += v.x;"),
    // A placed crop in a row or a column above 255.
    named("batch.gather", "(place >> 15u) & 0x7fffu", "(place >> 15u) & 0xffu"),
    named("batch.gather", "place & 0x7fffu)", "place & 0xffu)"),
    named("batch.gather_augmented", "(place >> 15u) & 0x7fffu", "(place >> 15u) & 0xffu"),
    named("batch.gather_augmented", "place & 0x7fffu)", "place & 0xffu)"),
];

/// A change after which a kernel still does all that it promises, found by parts of the old and of the new line.
pub struct Equivalent {
    /// Its name, or a family's with the dot.
    pub kernel: &'static str,
    pub function: &'static str,
    pub old: &'static str,
    pub new: &'static str,
    #[allow(dead_code, reason = "for who reads the table")]
    pub why: &'static str,
}

const fn equivalent(
    kernel: &'static str,
    function: &'static str,
    old: &'static str,
    new: &'static str,
    why: &'static str,
) -> Equivalent {
    Equivalent { kernel, function, old, new, why }
}

pub const EQUIVALENT: &[Equivalent] = &[
    equivalent("batch.", "place", "if at.n >= p.n { return at; }", ">", "the caller checks again"),
    equivalent("batch.", "place", "if at.n < header[1] {", "<=", "an index that exists is read for nothing"),
    equivalent("batch.", "place", "at.first + 4u", "at.first - 4u", "the row's first invocation then writes all of it"),
    equivalent("batch.gather", "gather", "if at.n >= p.n { return; }", "", "place() left it nothing to write"),
    equivalent("batch.gather_augmented", "gather_augmented", "if at.n >= p.n", "", "place() left it nothing to write"),
    equivalent("batch.gather", "corner", "2u * pad", "", "this kernel puts no pixels around an image"),
    equivalent("batch.gather_augmented", "whole_root", "root", "", "the built-in root of lavapipe is never off"),
    equivalent("batch.gather_augmented", "gather_augmented", "var value = 0.0;", "", "both branches write it"),
    equivalent("relu.", "is_negative", "bits - 0x80000000u", "bits + 0x80000000u", "the same modulo 2^32"),
    equivalent("relu.", "forward_vec4", "- vec4u(0x80000000u)", "+ vec4u(0x80000000u)", "the same modulo 2^32"),
    equivalent("activation.leaky_relu", "leak", "- 1u < 0x7f800000u", "<=", "a NaN times anything is one"),
    equivalent(
        "activation.leaky_relu",
        "leak",
        "- 1u <",
        "- 2u <",
        "the smallest float times the slope is 0 or itself",
    ),
    equivalent("clip.", "with_square", "> LARGE", ">= LARGE", "both parts can hold the square of LARGE"),
    equivalent("clip.scale", "scale", "if lane == 0u {", "!=", "the other lanes write the same"),
    equivalent("softmax.forward", "forward", "smoothing > 0.0", ">= 0.0", "nothing times what is finite is added"),
    equivalent("loss.mse", "share", "select(0.0", "select(1.0", "its callers choose 0 themselves"),
    equivalent("loss.number", "share", "select(0.0", "select(1.0", "its caller chooses 0 itself"),
    equivalent("loss.mse", "mse", "dscores[row + c] = select(0.0, ", "", "share() is 0 in such a row"),
    equivalent("loss.number", "number", "dnumber[n] = select(0.0, ", "", "share() is 0 in such a row"),
    equivalent("dropout.apply", "pcg3d", "v.y += v.z * v.x;", "", "it draws x alone, which the last ones do not reach"),
    equivalent("dropout.apply", "pcg3d", "v.z += v.x * v.y;", "", "it draws x alone, which the last ones do not reach"),
    equivalent("dropout.apply", "apply", "p.evaluation == 1.0", "1.5", "a product with 1 is the value"),
    equivalent(
        "pool.",
        "windows_over",
        "first_window(i.x + p.pad_x",
        "first_window(i.x, ",
        "it did not win the others",
    ),
    equivalent(
        "pool.",
        "windows_over",
        "first_window(i.y + p.pad_y",
        "first_window(i.y, ",
        "it did not win the others",
    ),
    equivalent("probe.", "multiply_add", "if CHAINS > 4u { e = ", "if CHAINS >= 4u", "the sum leaves them out"),
    equivalent("probe.", "multiply_add", "if CHAINS > 8u { j = ", "if CHAINS >= 8u", "the sum leaves them out"),
    equivalent("fc.", "backward_weight_vec4", "vec4f(1.0, 0.0, 0.0, 0.0)", "0.5", "a bias keeps the first sum alone"),
    equivalent("batch_norm.finish", "finish", "if c < p.channels {", "<=", "this workgroup writes nothing"),
    equivalent("batch_norm.finish", "chunks", "/ p.unit", "", "further chunks have no rows and are dropped"),
];
