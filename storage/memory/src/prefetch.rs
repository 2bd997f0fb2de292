//! Asking the processor for a cache line ahead of time.

/// Starts loading the line at `address`, which need not be valid. Never faults.
#[inline(always)]
pub fn line(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch is a hint: it reads nothing and cannot fault, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above; `prfm` changes no register and no memory.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, readonly, preserves_flags));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = address;
}

/// Starts loading the line at `address`, which need not be valid, for writing: no other core keeps
/// a copy. Never faults.
#[inline(always)]
pub fn line_to_write(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: as in `line`.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    line(address);
}

/// Reads a word that another thread may be writing, for a guess that nothing but prefetching
/// depends on. Zero where there is no such instruction to be had.
///
/// The read is written as an instruction because to the language it would be a data race; to the
/// processor it is an aligned load that sees some value that was there.
///
/// # Safety
/// `address` is aligned to eight bytes and readable.
#[inline(always)]
pub unsafe fn peek(address: *const u64) -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let word: u64;
        // SAFETY: the caller's promise; `mov` changes nothing but its target.
        unsafe {
            std::arch::asm!("mov {0}, qword ptr [{1}]", out(reg) word, in(reg) address, options(nostack, readonly, preserves_flags));
        }
        word
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    {
        let word: u64;
        // SAFETY: the caller's promise; `ldr` changes nothing but its target.
        unsafe {
            std::arch::asm!("ldr {0}, [{1}]", out(reg) word, in(reg) address, options(nostack, readonly, preserves_flags));
        }
        word
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    {
        let _ = address;
        0
    }
}
