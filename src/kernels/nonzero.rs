//! Lists of the nonzero values of a matrix `[rows, columns]`, by row or by column, each with a number from the caller:
//! its place. Processes eight values at a time without branches if the processor has AVX2.

/// Values that may be written beyond a list's end, because whole vectors are stored.
const SLACK: usize = 8;

/// Values and their places, in lists one after another.
#[derive(Default)]
pub(super) struct Nonzero {
    pub values: Vec<f32>,
    pub places: Vec<u32>,
    /// The end of each list.
    pub ends: Vec<usize>,
    /// The start of list i is i * room, or the end of the previous list if this is `None`.
    room: Option<usize>,
}

impl Nonzero {
    /// The range of list `i`.
    #[inline(always)]
    pub fn list(&self, i: usize) -> std::ops::Range<usize> {
        let start = match self.room {
            Some(room) => i * room,
            None if i == 0 => 0,
            None => self.ends[i - 1],
        };
        start..self.ends[i]
    }

    /// A list for each row; a value's place is its column times `factor`.
    pub fn by_row(&mut self, matrix: &[f32], columns: usize, factor: u32) {
        self.resize(matrix.len() + SLACK);
        self.room = None;
        self.ends.clear();
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new()
            && columns.is_multiple_of(8)
        {
            return simd.vectorize(x86::ByRow { simd, matrix, columns, factor, lists: self });
        }
        let mut count = 0;
        for row in matrix.chunks_exact(columns) {
            for (column, value) in row.iter().enumerate().filter(|(_, value)| **value != 0.0) {
                (self.values[count], self.places[count]) = (*value, column as u32 * factor);
                count += 1;
            }
            self.ends.push(count);
        }
    }

    /// A list for each column; a value's place is that of its row in `places`.
    pub fn by_column(&mut self, matrix: &[f32], columns: usize, places: &[u32]) {
        let rows = matrix.len() / columns;
        let places = &places[..rows];
        let room = rows + SLACK;
        self.resize(columns * room);
        self.room = Some(room);
        self.ends.clear();
        self.ends.extend((0..columns).map(|column| column * room));
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new()
            && columns.is_multiple_of(8)
        {
            return simd.vectorize(x86::ByColumn { simd, matrix, columns, places, lists: self });
        }
        for (row, values) in matrix.chunks_exact(columns).enumerate() {
            for (value, end) in values.iter().zip(&mut self.ends).filter(|(value, _)| **value != 0.0) {
                (self.values[*end], self.places[*end]) = (*value, places[row]);
                *end += 1;
            }
        }
    }

    fn resize(&mut self, len: usize) {
        if self.values.len() < len {
            self.values.resize(len, 0.0);
            self.places.resize(len, 0);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Nonzero;
    use pulp::NullaryFnOnce;
    use pulp::x86::V3;
    use std::arch::x86_64::{__m256, __m256i};

    /// For each mask of eight lanes, the lanes that are set, in order, four bits each.
    static SET_LANES: [u32; 256] = set_lanes();

    const fn set_lanes() -> [u32; 256] {
        let mut table = [0; 256];
        let mut mask = 0;
        while mask < 256 {
            let (mut lane, mut at) = (0, 0);
            while lane < 8 {
                if mask >> lane & 1 == 1 {
                    table[mask] |= lane << at;
                    at += 4;
                }
                lane += 1;
            }
            mask += 1;
        }
        table
    }

    #[inline(always)]
    fn load(values: &[f32]) -> __m256 {
        let values: &[f32; 8] = values.first_chunk().expect("a whole vector");
        bytemuck::cast(*values)
    }

    #[inline(always)]
    fn compare(simd: V3, values: __m256) -> usize {
        // 4 means "not equal", which is true for NaN.
        simd.avx._mm256_movemask_ps(simd.avx._mm256_cmp_ps::<4>(values, simd.avx._mm256_setzero_ps())) as usize
    }

    /// Stores the nonzero values among eight, with their places, and returns their number.
    #[inline(always)]
    fn compress(
        simd: V3,
        listed: &mut [f32],
        places_of: &mut [u32],
        at: usize,
        values: __m256,
        places: __m256i,
    ) -> usize {
        let mask = compare(simd, values);
        let packed = simd.avx._mm256_set1_epi32(SET_LANES[mask & 255] as i32);
        // A permutation reads three bits of each lane.
        let lanes = simd.avx2._mm256_srlv_epi32(packed, bytemuck::cast([0u32, 4, 8, 12, 16, 20, 24, 28]));
        let values: [f32; 8] = bytemuck::cast(simd.avx2._mm256_permutevar8x32_ps(values, lanes));
        let places: [u32; 8] = bytemuck::cast(simd.avx2._mm256_permutevar8x32_epi32(places, lanes));
        listed[at..at + 8].copy_from_slice(&values);
        places_of[at..at + 8].copy_from_slice(&places);
        mask.count_ones() as usize
    }

    pub(super) struct ByRow<'a> {
        pub simd: V3,
        pub matrix: &'a [f32],
        pub columns: usize,
        pub factor: u32,
        pub lists: &'a mut Nonzero,
    }

    impl NullaryFnOnce for ByRow<'_> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            let ByRow { simd, matrix, columns, factor, lists } = self;
            let Nonzero { values: listed, places: places_of, ends, .. } = lists;
            let first: __m256i = bytemuck::cast([0, 1, 2, 3, 4, 5, 6, 7].map(|lane: u32| lane * factor));
            let step = simd.avx._mm256_set1_epi32((8 * factor) as i32);
            let mut count = 0;
            for row in matrix.chunks_exact(columns) {
                let mut places = first;
                for values in row.chunks_exact(8) {
                    count += compress(simd, listed, places_of, count, load(values), places);
                    places = simd.avx2._mm256_add_epi32(places, step);
                }
                ends.push(count);
            }
        }
    }

    pub(super) struct ByColumn<'a> {
        pub simd: V3,
        pub matrix: &'a [f32],
        pub columns: usize,
        pub places: &'a [u32],
        pub lists: &'a mut Nonzero,
    }

    impl NullaryFnOnce for ByColumn<'_> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            let ByColumn { simd, matrix, columns, places, lists } = self;
            let Nonzero { values: listed, places: places_of, ends, .. } = lists;
            for (rows, places) in matrix.chunks(8 * columns).zip(places.chunks(8)) {
                let mut eight = [0; 8];
                eight[..places.len()].copy_from_slice(places);
                let places: __m256i = bytemuck::cast(eight);
                for column in (0..columns).step_by(8) {
                    let square = std::array::from_fn(|i| match rows.get(i * columns + column..) {
                        Some(values) if !values.is_empty() => load(values),
                        _ => simd.avx._mm256_setzero_ps(),
                    });
                    for (values, end) in transposed(simd, square).into_iter().zip(&mut ends[column..column + 8]) {
                        *end += compress(simd, listed, places_of, *end, values, places);
                    }
                }
            }
        }
    }

    /// The transpose of a square of 8 x 8.
    #[inline(always)]
    fn transposed(simd: V3, rows: [__m256; 8]) -> [__m256; 8] {
        let avx = simd.avx;
        let pairs: [__m256; 8] = std::array::from_fn(|i| {
            let (a, b) = (rows[i / 2 * 2], rows[i / 2 * 2 + 1]);
            if i % 2 == 0 { avx._mm256_unpacklo_ps(a, b) } else { avx._mm256_unpackhi_ps(a, b) }
        });
        // Columns i and i + 4 of rows 0 to 3, then of rows 4 to 7.
        let fours: [__m256; 8] = std::array::from_fn(|i| {
            let (a, b) = (pairs[i / 4 * 4 + i % 4 / 2], pairs[i / 4 * 4 + i % 4 / 2 + 2]);
            if i % 2 == 0 { avx._mm256_shuffle_ps::<0x44>(a, b) } else { avx._mm256_shuffle_ps::<0xEE>(a, b) }
        });
        std::array::from_fn(|i| {
            let (a, b) = (fours[i % 4], fours[i % 4 + 4]);
            if i < 4 { avx._mm256_permute2f128_ps::<0x20>(a, b) } else { avx._mm256_permute2f128_ps::<0x31>(a, b) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three in four values are zero, one of them negative.
    fn matrix(rows: usize, columns: usize) -> Vec<f32> {
        let value = |i: usize| match i.wrapping_mul(2_654_435_761) >> 7 & 3 {
            0 => i as f32 + 1.0,
            1 => -0.0,
            _ => 0.0,
        };
        (0..rows * columns).map(value).collect()
    }

    #[test]
    fn rows_are_listed_in_order() {
        for (rows, columns) in [(1, 8), (5, 16), (3, 24), (4, 7), (9, 1)] {
            let matrix = matrix(rows, columns);
            let mut lists = Nonzero::default();
            lists.by_row(&matrix, columns, 10);
            for (row, values) in matrix.chunks(columns).enumerate() {
                let expected = values.iter().enumerate().filter(|(_, v)| **v != 0.0).map(|(i, v)| (*v, i as u32 * 10));
                let listed = lists.list(row).map(|i| (lists.values[i], lists.places[i]));
                assert!(listed.eq(expected), "row {row} of {rows} x {columns}");
            }
        }
    }

    #[test]
    fn columns_are_listed_in_order() {
        for (rows, columns) in [(1, 8), (8, 8), (13, 16), (31, 24), (5, 7), (9, 1)] {
            let matrix = matrix(rows, columns);
            let mut lists = Nonzero::default();
            let places: Vec<u32> = (100..100 + rows as u32).collect();
            lists.by_column(&matrix, columns, &places);
            for column in 0..columns {
                let values = matrix[column..].iter().step_by(columns).enumerate();
                let expected = values.filter(|(_, v)| **v != 0.0).map(|(i, v)| (*v, i as u32 + 100));
                let listed = lists.list(column).map(|i| (lists.values[i], lists.places[i]));
                assert!(listed.eq(expected), "column {column} of {rows} x {columns}");
            }
        }
    }

    #[test]
    fn lists_made_before_leave_nothing_behind() {
        let mut lists = Nonzero::default();
        lists.by_column(&[1.0; 64], 8, &[1; 8]);
        lists.by_row(&[0.0; 16], 8, 1);
        assert_eq!((lists.list(0), lists.list(1)), (0..0, 0..0));
    }
}
