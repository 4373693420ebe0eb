//! Memory of large results, made without being cleared first.

use std::mem::MaybeUninit;

/// A vector of `len` values that `write` puts in place.
///
/// # Safety
/// `write` must initialise every value of the slice.
pub(super) unsafe fn written(len: usize, write: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    let spare = &mut values.spare_capacity_mut()[..len];
    if cfg!(debug_assertions) {
        // A value that was left out shows in the tests.
        spare.iter_mut().for_each(|v| *v = MaybeUninit::new(f32::NAN));
    }
    write(spare);
    // SAFETY: the capacity is at least `len`, and the caller promises that `write` initialised the first `len` values.
    unsafe { values.set_len(len) };
    values
}
