//! Stand-ins: threads that take over from a thread which one connection keeps busy for long.
//!
//! A call into a connection normally takes microseconds, during which the other connections of its
//! thread wait. A script may run for ever. Code that notices, from within, that a call takes long,
//! reports it with [`send_for`]. The runtime, which has installed a hook for that with [`provide`],
//! lets another thread take over the rest of this thread's work.

use std::cell::RefCell;
use std::rc::Rc;

type Hook = Rc<dyn Fn()>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Installs the hook for long calls on this thread. Runtimes do this on every thread that calls
/// connections. `hook` runs inside the long call, perhaps more than once.
pub fn provide(hook: impl Fn() + 'static) {
    HOOK.set(Some(Rc::new(hook)));
}

/// Reports that the current call will keep this thread for long. Returns soon, and does nothing on
/// a thread without a hook.
pub fn send_for() {
    // The hook is not called while it is borrowed, and not at all on a thread that is ending.
    let hook = HOOK.try_with(|hook| hook.borrow().clone());
    if let Ok(Some(hook)) = hook {
        hook();
    }
}
