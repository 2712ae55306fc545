//! Kernels with cooperative matrices, for devices that have none: the same text, with the matrices as arrays that are
//! spread over the lanes of a subgroup, as a device spreads them over registers. Factors stay where they were copied to;
//! nothing writes there between a load and the product.

use glassnet::kernels::{Factor, Variant};

/// What stands in for the types and functions of the language extension. `own` is a lane's place in its subgroup; it has
/// every SUBGROUP-th value of a sum. Vulkan wants matrices and their rows to begin at multiples of 16 bytes, which are
/// ALIGNED factors or four sums; a product that does not keep to that is a NaN.
const MATRICES: &str = "
struct Loaded { at: u32, pitch: u32, by_rows: bool }
alias Left = Loaded;
alias Right = Loaded;
const SHARE = (SIDE * SIDE + SUBGROUP - 1u) / SUBGROUP;
alias Sum = array<f32, SHARE>;
var<private> own: u32;
var<private> misaligned: bool;
fn loaded(by_rows: bool, at: u32, pitch: u32) -> Loaded {
    misaligned = misaligned || at % ALIGNED != 0u || pitch % ALIGNED != 0u;
    return Loaded(at, pitch, by_rows);
}
fn multiplied(left: Left, right: Right, before: Sum) -> Sum {
    var sum = before;
    for (var i = own; i < SIDE * SIDE; i += SUBGROUP) {
        for (var k = 0u; k < SIDE; k++) {
            let place = select(i / SIDE + k * left.pitch, i / SIDE * left.pitch + k, left.by_rows);
            sum[i / SUBGROUP] += staged_a[left.at + place] * staged_b[right.at + k * right.pitch + i % SIDE];
        }
    }
    return sum;
}
fn stored(sum: Sum, at: u32, pitch: u32) {
    var values = sum;
    let nan = bitcast<f32>(0x7fc00000u | own);
    let wrong = misaligned || at % 4u != 0u || pitch % 4u != 0u;
    for (var i = own; i < SIDE * SIDE; i += SUBGROUP) {
        sums[at + i / SIDE * pitch + i % SIDE] = select(values[i / SUBGROUP], nan, wrong);
    }
}
";

/// The size of subgroups for which stand-ins have their variants' names: that of most GPUs.
pub const USUAL: u32 = 32;

/// A line of a kernel with calls to the functions of [`MATRICES`].
fn line(text: &str) -> String {
    if !text.contains("coop") || text.starts_with("//") {
        return text.replace("cooperative", "emulated");
    }
    let loads = [
        ("coopLoadT<Left>(&staged_a[", true),
        ("coopLoad<Left>(&staged_a[", false),
        ("coopLoadT<Right>(&staged_b[", true),
    ];
    let text =
        loads.iter().fold(text.to_string(), |text, (old, by_rows)| text.replace(old, &format!("loaded({by_rows}, ")));
    let text = text.replace("coopStoreT(", "stored(").replace("coopMultiplyAdd(", "multiplied(");
    text.replace("&sums[", "").replace("], ", ", ")
}

/// The variant itself, or this stand-in if it needs cooperative matrices, for subgroups of so many invocations.
pub fn emulated(variant: &'static Variant, subgroup: u32) -> &'static Variant {
    let Some(matrices) = variant.matrices else { return variant };
    let mut source = variant.source.to_string();
    let mut replace = |old: &str, new: &str| {
        assert!(source.contains(old), "{} has no {old:?}", variant.name);
        source = source.replace(old, new);
    };
    let (side, factor) = (matrices.side, if matrices.factor == Factor::F16 { "f16" } else { "f32" });
    replace("enable wgpu_cooperative_matrix;\n", "");
    if matrices.factor == Factor::F16 {
        replace("enable f16;\n", "");
        replace("alias Factor = f16;", "alias Factor = f32;");
        replace(
            "return vec4<Factor>(select(v, clamp(v, -largest, largest), finite) * scale);",
            "return quantizeToF16(select(v, clamp(v, -largest, largest), finite) * scale);",
        );
    }
    for (name, factor, role) in [("Left", factor, "A"), ("Right", factor, "B"), ("Sum", "f32", "C")] {
        replace(&format!("alias {name} = coop_mat{side}x{side}<{factor}, {role}>;\n"), "");
    }
    let invocations = variant.first.workgroup;
    replace(
        "    @builtin(subgroup_id) subgroup: u32,\n    @builtin(num_subgroups) subgroups: u32,\n) {\n",
        &format!(
            ") {{\n    own = lane % SUBGROUP;\n    let subgroup = lane / SUBGROUP;\n    let subgroups = {invocations}u / SUBGROUP;\n"
        ),
    );
    let source: Vec<String> = source.lines().map(line).collect();
    let aligned = if matrices.factor == Factor::F16 { 8 } else { 4 };
    let constants = format!("const SUBGROUP = {subgroup}u;\nconst ALIGNED = {aligned}u;");
    let source = format!("{}\n{constants}\n{MATRICES}", source.join("\n"));
    assert!(!source.contains("coop"), "{}: {source}", variant.name);
    let name =
        if subgroup == USUAL { variant.name.into() } else { format!("{} in subgroups of {subgroup}", variant.name) };
    let (name, source) = (Box::leak(name.into_boxed_str()), Box::leak(source.into_boxed_str()));
    Box::leak(Box::new(Variant { name, source, ..*variant }))
}
