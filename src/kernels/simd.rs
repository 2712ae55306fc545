//! Plain loops compiled for the widest vectors that this processor has.

use pulp::NullaryFnOnce;

/// Runs `f`, compiled for this processor's vector instructions as far as it and what it calls are inlined. The compiler
/// inlines short closures only; a long function is a type of its own, whose `call` is `#[inline(always)]`.
#[inline(always)]
pub(super) fn widest<F: NullaryFnOnce>(f: F) -> F::Output {
    pulp::Arch::new().dispatch(f)
}
