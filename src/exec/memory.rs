//! The memory of a host executor's buffers.

/// Memory of one root buffer.
#[derive(Debug)]
pub(super) enum Memory<S> {
    Real(Vec<S>),
    Words(Vec<u32>),
}

impl<S> Default for Memory<S> {
    fn default() -> Self {
        Memory::Words(Vec::new())
    }
}
