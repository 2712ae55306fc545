// The operands of conv.backward_weight_pool except x.

@group(0) @binding(2) var<storage, read> dy: array<vec4f>;
@group(0) @binding(3) var<storage, read> winner: array<vec4u>;
@group(0) @binding(4) var<storage, read_write> partial: array<vec4f>;
