//! The allocator of a VM. It counts the memory in use, and refuses allocations beyond a limit.
//!
//! Lua reacts to a refusal with an error, by a jump out of the running function. A jump over Rust
//! frames would skip their destructors, so nothing is refused while host functions run. Their loops
//! check the limit themselves ([`crate::raw::Lua::pass`]), and it applies to the next allocation of
//! the script.

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::ffi::c_void;

/// Lua's strictest alignment: doubles and pointers.
const ALIGN: usize = 8;

/// The memory of a VM: bytes allocated, and the limit.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Bytes held.
    pub used: usize,
    /// Bytes a script may hold.
    pub limit: usize,
    /// Host functions that are running: they are not refused anything.
    pub in_host: u32,
}

impl Budget {
    /// Whether more is held than a script may hold: host functions are not refused anything.
    pub fn is_exceeded(&self) -> bool {
        self.used > self.limit
    }

    fn allows(&self, more: usize) -> bool {
        self.in_host > 0 || self.used.saturating_add(more) <= self.limit
    }
}

/// Resizes a block for Lua; `budget` is the one embedded first in the VM's shared part.
///
/// # Safety
/// `ud` points to a [`Budget`] that outlives the state; `ptr` came from here with size `osize`.
pub(crate) unsafe extern "C" fn resize(
    ud: *mut c_void,
    ptr: *mut c_void,
    osize: usize,
    nsize: usize,
) -> *mut c_void {
    // SAFETY: `ud` is the budget given to `lua_newstate`, alive while the state is.
    let budget = unsafe { &mut *ud.cast::<Budget>() };
    if nsize == 0 {
        if !ptr.is_null() && osize > 0 {
            budget.used = budget.used.saturating_sub(osize);
            // SAFETY: Lua says truthfully how large the block is; see the branch that made it.
            unsafe { dealloc(ptr.cast(), layout(osize)) };
        }
        return std::ptr::null_mut();
    }
    let held = if ptr.is_null() { 0 } else { osize };
    if nsize > held && !budget.allows(nsize - held) {
        return std::ptr::null_mut();
    }
    let block = if held == 0 {
        // SAFETY: the size is not zero.
        unsafe { alloc(layout(nsize)) }
    } else {
        // SAFETY: the block is of this allocator, of this size, and the new size is not zero.
        unsafe { realloc(ptr.cast(), layout(osize), nsize) }
    };
    if !block.is_null() {
        budget.used = budget.used - held + nsize;
    }
    block.cast()
}

fn layout(size: usize) -> Layout {
    // A size beyond `isize::MAX` never gets past the budget; nothing was allocated with one.
    Layout::from_size_align(size, ALIGN).unwrap_or(Layout::new::<u64>())
}
