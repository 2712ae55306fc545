//! Plain loops compiled for the widest vectors that this processor has.

/// Runs `f`, compiled for this processor's vector instructions as far as it and what it calls are inlined.
#[inline(always)]
pub(super) fn widest<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}
