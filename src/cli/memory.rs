//! The allocator of the program, which keeps freed memory for the next step.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tells the allocator to keep freed memory for the rest of the run.
///
/// A training step frees and asks for the same buffers again and again; handed back to the system in between, each must
/// be mapped and cleared anew.
pub fn keep() {
    /// `mi_option_purge_delay`, which the bindings do not name.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: sets an integer in mimalloc's table of options, of which this is one; any value is valid, and -1 means never.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}
