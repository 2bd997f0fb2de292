//! [`Shared`]: the state that a VM's host functions use while a script runs.

use crate::Embedder;
use crate::alloc::Budget;
use crate::libraries::cjson::settings::Settings;
use crate::random::Random;
use crate::shebang::ScriptFlags;
use resp::{Output, Proto, Range};
use std::any::Any;

/// A function that a library registered while it was loaded.
#[derive(Debug)]
pub(crate) struct Registered {
    pub name: Vec<u8>,
    pub description: Option<Vec<u8>>,
    pub flags: ScriptFlags,
    /// The callback's place in the registry.
    pub callback: std::ffi::c_int,
}

/// The part of a VM that host functions reach through the allocator's data.
#[repr(C)]
pub(crate) struct Shared {
    /// First, because the allocator is given a pointer to it.
    pub budget: Budget,
    /// The host that runs commands, while a script runs. Its lifetime is that of the run: see
    /// [`crate::vm::Vm`].
    pub host: Option<*mut dyn Embedder>,
    pub proto: Proto,
    /// The reply to `redis.call`, and its arguments: buffers that are used again.
    pub reply: Output,
    pub ranges: Vec<Range>,
    pub arguments: Vec<u8>,
    /// `math.random`.
    pub random: Random,
    pub json: Settings,
    /// The globals of scripts, in the registry.
    pub globals: std::ffi::c_int,
    pub registered: Vec<Registered>,
    /// A library is being loaded, so functions can be registered.
    pub loading: bool,
    /// Set once the script was told to end.
    pub killed: Option<String>,
    /// A host function's panic, for the VM's caller.
    pub panic: Option<Box<dyn Any + Send>>,
}

impl Shared {
    pub fn new(limit: usize) -> Shared {
        Shared {
            budget: Budget { used: 0, limit, in_host: 1 },
            host: None,
            proto: Proto::Resp2,
            reply: Output::new(),
            ranges: Vec::new(),
            arguments: Vec::new(),
            random: Random::new(0),
            json: Settings::default(),
            globals: 0,
            registered: Vec::new(),
            loading: false,
            killed: None,
            panic: None,
        }
    }

    /// The embedder that runs commands, while a script runs.
    pub fn host<'a>(&self) -> Option<&'a mut dyn Embedder> {
        // SAFETY: set for the time of a run only, while the VM's caller lends the host and nothing
        // else uses it; the reference is used for one call of it.
        self.host.map(|host| unsafe { &mut *host })
    }
}
