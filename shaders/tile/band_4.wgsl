// A lane has four filters.

alias Filters = vec4f;
alias Places = vec4u;
alias Which = vec4<bool>;
const WIDTH = 4u;
