//! Memory of large results: made without being cleared first, and kept for the next ones.

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

/// Tells the allocator (mimalloc, where the program uses it) to keep freed memory for the rest of the run.
///
/// A training step frees and asks for the same buffers again and again; handed back to the system in between, each must
/// be mapped and cleared anew.
pub fn keep_memory() {
    /// `mi_option_purge_delay`, which the bindings do not name.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: sets an integer in mimalloc's table of options, of which this is one; any value is valid, and -1 means never.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}
