// Cooperative matrices of 8x8 in f32.

enable wgpu_cooperative_matrix;

alias Factor = f32;
alias Left = coop_mat8x8<f32, A>;
alias Right = coop_mat8x8<f32, B>;
alias Sum = coop_mat8x8<f32, C>;

const SIDE = 8u;
// Strips of a workgroup, which then has 64 rows.
const STRIPS = 4u;
