//! The memory of this process; only Linux tells.

/// Returns what `work` gives, and by how many mebibytes it made the resident memory grow at most.
pub fn grown<T>(work: impl FnOnce() -> T) -> (T, Option<f64>) {
    let before = at_rest();
    let found = work();
    let grown = status("VmHWM:").zip(before);
    (found, grown.map(|(peak, rest)| (peak - rest).max(0.0)))
}

/// Gives freed memory back, forgets the peak, and returns the resident mebibytes.
pub fn at_rest() -> Option<f64> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)] // It only releases what has been freed.
    unsafe {
        libc::malloc_trim(0);
    }
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    status("VmRSS:")
}

/// A number of mebibytes from the kernel's table.
fn status(name: &str) -> Option<f64> {
    let table = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = table.lines().find(|line| line.starts_with(name))?;
    let kibibytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes / 1024.0)
}
