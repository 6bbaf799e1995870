//! The program's memory: kept for the next operation, and missed in one line.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;

/// The system's allocator. When it refuses memory, the program ends with an error instead of a
/// backtrace.
pub struct Reporting;

#[allow(unsafe_code)] // An allocator needs it; each call is forwarded unchanged.
unsafe impl GlobalAlloc for Reporting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        checked(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        checked(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        checked(unsafe { System.realloc(memory, layout, size) }, size)
    }
}

fn checked(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() {
        // Nothing here allocates.
        let _ = writeln!(
            std::io::stderr(),
            "error: the system has no memory left: it refused {size} bytes; explain fewer rows at \
             once, or lower --memory"
        );
        std::process::exit(1);
    }
    memory
}

/// Keeps freed memory in the program. By default, glibc returns large blocks to the system at once,
/// and the next operation waits while their pages are cleared again: image models take 1.2 to 1.4
/// times as long. Threads that allocate from heaps of their own return those, too: then a vision
/// transformer takes 1.3 times as long.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)] // Three numbers, set before any thread starts.
    unsafe {
        // The largest value that glibc accepts.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
