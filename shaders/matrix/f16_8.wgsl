// Cooperative matrices of 8x8 whose factors are f16 and whose sums are f32.

enable f16;
enable wgpu_cooperative_matrix;

alias Factor = f16;
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;

const SIDE = 8u;
// Strips of a workgroup, which then has 64 rows.
const STRIPS = 4u;
