// Cooperative matrices of 16x16 whose factors are f16 and whose sums are f32.

enable f16;
enable wgpu_cooperative_matrix;

alias Factor = f16;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;

const SIDE = 16u;
// Strips of a workgroup, which then has 64 rows.
const STRIPS = 2u;
