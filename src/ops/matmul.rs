//! Single-threaded matrix products on slices, the one place that calls the `gemm` crate.

/// A matrix view on a slice: element `(i, j)` lies at `i * row_stride + j * col_stride`.
#[derive(Clone, Copy)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// A row-major matrix `[rows, cols]`, densely packed at the start of `data`.
    ///
    /// # Panics
    /// If `data` holds fewer than `rows * cols` values.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert!(data.len() >= rows * cols, "matrix larger than its data");
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The transposed view.
    #[must_use]
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

/// `dst = a * b`, or `dst += a * b` if `accumulate`; `dst` is row-major `[a.rows, b.cols]`.
///
/// # Panics
/// If the inner dimensions differ or `dst` has another size.
pub fn matmul(dst: &mut [f32], a: Mat, b: Mat, accumulate: bool) {
    assert_eq!(a.cols, b.rows, "inner dimensions");
    assert_eq!(dst.len(), a.rows * b.cols, "size of the product");
    if dst.is_empty() {
        return;
    }
    // SAFETY: `Mat` can only be made by `new`, which checks that every element of the view lies in its slice, and by
    // `t`, which keeps the set of elements; `dst` has exactly rows * cols elements and is borrowed mutably, so it
    // cannot overlap `a` or `b`. All strides fit isize since the slices exist.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            dst.as_mut_ptr(),
            1,
            b.cols as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_views() {
        let a = [1., 2., 3., 4., 5., 6.]; // 2x3
        let b = [1., 0., 2., 1., 0., 3.]; // 3x2
        let mut d = [0.; 4];
        matmul(&mut d, Mat::new(&a, 2, 3), Mat::new(&b, 3, 2), false);
        assert_eq!(d, [5., 11., 14., 23.]);
        matmul(&mut d, Mat::new(&b, 3, 2).t(), Mat::new(&a, 2, 3).t(), true);
        assert_eq!(d, [10., 25., 25., 46.]);
    }
}
