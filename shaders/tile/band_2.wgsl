// A lane has two filters.

alias Filters = vec2f;
alias Places = vec2u;
alias Which = vec2<bool>;
const WIDTH = 2u;
