//! The `augment` command: calls the library's command line and turns its status into an exit code.

use std::process::ExitCode;

/// Keeps freed memory for the next step instead of handing it back to the system each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    augment::ops::keep_memory();
    augment::cli::main()
}
