//! Stand-ins: what a runtime does about a thread that one connection keeps for long.
//!
//! A call into a connection normally takes microseconds, and while it does, the other connections
//! of its thread wait. A script may take for ever. Whoever finds out that a call takes long, from
//! within, says so with [`send_for`]; the runtime, which has [`provide`]d for that, has another
//! thread take over what this one was to do besides.

use std::cell::RefCell;
use std::rc::Rc;

type Hook = Rc<dyn Fn()>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Says what is to be done on this thread when a call takes long. Runtimes call it on every thread
/// that calls connections. `hook` runs inside of the long call, perhaps more than once in one.
pub fn provide(hook: impl Fn() + 'static) {
    HOOK.set(Some(Rc::new(hook)));
}

/// Says that the call under way will keep this thread for long. Returns soon, and does nothing on
/// a thread that no runtime has provided for.
pub fn send_for() {
    // Not called while borrowed, and not at all on a thread that is ending.
    let hook = HOOK.try_with(|hook| hook.borrow().clone());
    if let Ok(Some(hook)) = hook {
        hook();
    }
}
