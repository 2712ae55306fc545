//! Matrix products on the CPU with the `gemm` crate: on the calling thread, or divided into tasks for all threads.

use rayon::prelude::*;

/// A matrix in memory: its start, and the distances between rows and between columns.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub column: usize,
}

impl<'a> Matrix<'a> {
    /// The part to the right of the first columns.
    pub fn skip_columns(self, column: usize) -> Matrix<'a> {
        Matrix { data: &self.data[column * self.column..], ..self }
    }
}

/// c `[m,n]` (+)= a `[m,k]` * b `[k,n]`; `c` is row-major without gaps.
pub(super) fn product([m, k, n]: [usize; 3], a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32], accumulate: bool) {
    assert_eq!(c.len(), m * n);
    // SAFETY: c holds m rows of n without gaps, and the borrow rules keep it apart from a and b.
    unsafe { product_at([m, k, n], a, b, c.as_mut_ptr(), n, accumulate) }
}

/// c += a `[m,k]` * b `[k,n]`, where c has n columns of a matrix whose rows are `row` floats apart.
pub(super) fn product_columns([m, k, n]: [usize; 3], a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32], row: usize) {
    assert!(n <= row && c.len() >= (m - 1) * row + n);
    // SAFETY: m rows of n floats, `row` apart, lie in c, and the borrow rules keep it apart from a and b.
    unsafe { product_at([m, k, n], a, b, c.as_mut_ptr(), row, true) }
}

/// The number of multiply-adds below which a product is not divided: about the cost of distributing tasks.
const TASK_PRODUCTS: usize = 1 << 16;
/// The least number of rows of c per task of [`product_tasks`].
const TASK_ROWS: usize = 32;
/// The least number of columns of c per task; dividing b makes its packing cheaper, dividing a does not.
const TASK_COLUMNS: usize = 64;

/// [`product`] on all threads. The division depends only on the sizes.
pub(super) fn product_tasks([m, k, n]: [usize; 3], a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32], accumulate: bool) {
    /// A pointer that tasks may share.
    struct Shared(*mut f32);
    // SAFETY: each task writes a block of its own.
    unsafe impl Sync for Shared {}

    if m * k * n <= TASK_PRODUCTS {
        return product([m, k, n], a, b, c, accumulate);
    }
    assert_eq!(c.len(), m * n);
    let rows = m.div_ceil(8).max(TASK_ROWS);
    let columns = n.div_ceil(8).next_multiple_of(16).max(TASK_COLUMNS);
    let (across, shared) = (n.div_ceil(columns), Shared(c.as_mut_ptr()));
    let shared = &shared;
    (0..m.div_ceil(rows) * across).into_par_iter().for_each(|task| {
        let (row, column) = (task / across * rows, task % across * columns);
        let size = [rows.min(m - row), k, columns.min(n - column)];
        let a = Matrix { data: &a.data[row * a.row..], ..a };
        let b = Matrix { data: &b.data[column * b.column..], ..b };
        // SAFETY: rows x columns from (row, column) on lie in c, rows n apart; no other task has any of them.
        unsafe { product_at(size, a, b, shared.0.add(row * n + column), n, accumulate) }
    });
}

/// # Safety
/// m rows of n floats, `c_row` apart, may be written from `c` on.
unsafe fn product_at([m, k, n]: [usize; 3], a: Matrix<'_>, b: Matrix<'_>, c: *mut f32, c_row: usize, accumulate: bool) {
    let end = |rows: usize, columns: usize, x: &Matrix<'_>| (rows - 1) * x.row + (columns - 1) * x.column + 1;
    assert!(a.data.len() >= end(m, k, &a) && b.data.len() >= end(k, n, &b));
    // SAFETY: the assertion keeps every element that gemm reads inside a and b, the caller what it writes.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c,
            1,
            c_row as isize,
            accumulate,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

pub(super) fn row_major(data: &[f32], columns: usize) -> Matrix<'_> {
    Matrix { data, row: columns, column: 1 }
}

pub(super) fn transposed(data: &[f32], columns: usize) -> Matrix<'_> {
    Matrix { data, row: 1, column: columns }
}
