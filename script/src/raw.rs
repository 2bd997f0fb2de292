//! [`Lua`]: the stack of a running state, and the only code that calls Lua's C interface.
//!
//! Rules that make the calls sound:
//!
//! - A [`Lua`] exists only while its state does: it is made by [`crate::vm::Vm`] for the time of a
//!   call, and by [`enter`] for the time of a host function.
//! - Host functions never jump: errors are values ([`Raise`]), and only [`enter`] hands them to
//!   Lua, when every Rust frame is gone. No method here calls metamethods, so none can raise; the
//!   allocator refuses nothing while a host function runs (see [`crate::alloc`]).
//! - A panic of a host function is kept until the VM's caller has its thread back.

use crate::shared::Shared;
use ::lua as ffi;
use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) use ffi::lua_State as State;

/// Types of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    None,
    Nil,
    Boolean,
    LightUserdata,
    Number,
    String,
    Table,
    Function,
    Userdata,
    Thread,
}

impl Type {
    fn of(code: c_int) -> Type {
        match code {
            ffi::LUA_TNIL => Type::Nil,
            ffi::LUA_TBOOLEAN => Type::Boolean,
            ffi::LUA_TLIGHTUSERDATA => Type::LightUserdata,
            ffi::LUA_TNUMBER => Type::Number,
            ffi::LUA_TSTRING => Type::String,
            ffi::LUA_TTABLE => Type::Table,
            ffi::LUA_TFUNCTION => Type::Function,
            ffi::LUA_TUSERDATA => Type::Userdata,
            ffi::LUA_TTHREAD => Type::Thread,
            _ => Type::None,
        }
    }

    /// The name Lua's messages give it.
    pub fn name(self) -> &'static str {
        match self {
            Type::None => "no value",
            Type::Nil => "nil",
            Type::Boolean => "boolean",
            Type::LightUserdata | Type::Userdata => "userdata",
            Type::Number => "number",
            Type::String => "string",
            Type::Table => "table",
            Type::Function => "function",
            Type::Thread => "thread",
        }
    }
}

/// An error on its way to Lua.
#[derive(Debug)]
pub(crate) enum Raise {
    /// A text, with the position of the script behind it, as `luaL_error` raises it.
    At(String),
    /// A text as it is.
    Bare(String),
    /// About an argument, as `luaL_argerror` words it.
    Argument(c_int, String),
    /// The value on top of the stack.
    Top,
}

impl Raise {
    /// An error with the position of the script.
    pub fn at(text: impl Into<String>) -> Raise {
        Raise::At(text.into())
    }
}

/// The result of a host function: how many values it pushed.
pub(crate) type Returns = Result<c_int, Raise>;

/// A function of the host.
pub(crate) type Function = fn(Lua) -> Returns;

/// Stack slots that telling a script of its end needs.
const INTERRUPT_ROOM: c_int = 4;

/// The stack of a running state.
#[derive(Clone, Copy)]
pub(crate) struct Lua(*mut State);

/// The position of a running function in the source.
pub(crate) struct Position {
    /// The chunk's name, as it was given.
    pub source: Vec<u8>,
    pub line: c_int,
}

/// The error of scripts that need more memory than they may have; Lua's own text.
pub(crate) const NO_MEMORY: &str = "not enough memory";

/// The upvalue every host function has: its Rust function.
const FUNCTION: c_int = ffi::LUA_GLOBALSINDEX - 1;

/// Runs a host function for Lua.
unsafe extern "C-unwind" fn enter(state: *mut State) -> c_int {
    let lua = Lua(state);
    // SAFETY: only `Lua::push_function` makes closures of `enter`, with a `Function` as upvalue.
    let function: Function = unsafe {
        std::mem::transmute::<*mut c_void, Function>(ffi::lua_touserdata(state, FUNCTION))
    };
    let shared = lua.shared();
    shared.budget.in_host += 1;
    let returned = match catch_unwind(AssertUnwindSafe(|| function(lua))) {
        Ok(Ok(count)) => Some(count),
        Ok(Err(raise)) => lua.prepare(raise),
        Err(panic) => {
            lua.shared().panic = Some(panic);
            // Nothing of the script may go on, whatever catches the error.
            lua.interrupt_every_line();
            lua.push_bytes(b"host function panicked");
            None
        }
    };
    shared.budget.in_host -= 1;
    match returned {
        // SAFETY: nothing in this frame has a destructor; the error value is on top.
        None => unsafe { ffi::lua_error(state) },
        Some(ARGUMENT) => {
            let number = lua.number(-1) as c_int;
            lua.pop(1);
            // SAFETY: as above; the text on top of the stack stays there while Lua copies it.
            unsafe {
                ffi::luaL_argerror(
                    state,
                    number,
                    ffi::lua_tolstring(state, -1, std::ptr::null_mut()),
                )
            }
        }
        Some(count) => count,
    }
}

/// The result of `prepare` for an error about an argument: text and number are on the stack.
const ARGUMENT: c_int = -1;

/// Called each time a certain number of instructions was executed.
unsafe extern "C-unwind" fn on_count(state: *mut State, _: *mut ffi::lua_Debug) {
    let lua = Lua(state);
    let shared = lua.shared();
    shared.budget.in_host += 1;
    let killed = catch_unwind(AssertUnwindSafe(|| lua.is_interrupted()));
    shared.budget.in_host -= 1;
    match killed {
        Ok(false) => {}
        // SAFETY: nothing in this frame has a destructor; the error value is on top.
        Ok(true) => unsafe {
            // Whatever catches the error is interrupted again at its next line.
            lua.interrupt_every_line();
            ffi::lua_error(state)
        },
        Err(panic) => lua.shared().panic = Some(panic),
    }
}

/// The handler of uncaught errors.
unsafe extern "C-unwind" fn unprotected(_: *mut State) -> c_int {
    // Every call is protected: this is a defect, and Lua would end the process anyway.
    std::process::abort()
}

impl Lua {
    /// A new state, whose allocator and host functions find `shared`; `seed` is that of the hash of
    /// strings.
    pub fn create(shared: *mut Shared, seed: [u64; 2]) -> Option<Lua> {
        // SAFETY: the budget is the first field of `Shared` (repr C), which outlives the state.
        let state = unsafe { ffi::lua_newstate(crate::alloc::resize, shared.cast(), &seed) };
        if state.is_null() {
            return None;
        }
        // SAFETY: the state was just made.
        unsafe { ffi::lua_atpanic(state, unprotected) };
        Some(Lua(state))
    }

    /// Frees the state.
    ///
    /// # Safety
    /// Nothing may use the state afterwards.
    pub unsafe fn close(self) {
        // SAFETY: the caller's promise. A script may have stopped the collector in the middle of its
        // cycle: it ends that before everything goes.
        unsafe {
            ffi::lua_gc(self.0, ffi::LUA_GCCOLLECT, 0);
            ffi::lua_close(self.0);
        }
    }

    /// The part of the VM that host functions use.
    #[allow(clippy::mut_from_ref, reason = "one thread, and no reference is kept over a call")]
    pub fn shared<'a>(self) -> &'a mut Shared {
        let mut shared = std::ptr::null_mut();
        // SAFETY: the allocator's data is the `Shared` given to `create`. A VM is used by one
        // thread at a time, and the references made here live for single statements.
        unsafe {
            ffi::lua_getallocf(self.0, &mut shared);
            &mut *shared.cast::<Shared>()
        }
    }

    /// Pushes what an error is to Lua.
    fn prepare(self, raise: Raise) -> Option<c_int> {
        if !matches!(raise, Raise::Top) {
            // There may be no room left, and nothing on the stack is needed any more.
            self.set_top(0);
        }
        match raise {
            Raise::Top => {}
            Raise::Bare(text) => self.push_bytes(text.as_bytes()),
            Raise::At(text) => {
                self.push_where(1);
                self.push_bytes(text.as_bytes());
                self.concat(2);
            }
            Raise::Argument(number, text) => {
                self.push_bytes(text.as_bytes());
                self.push_number(f64::from(number));
                return Some(ARGUMENT);
            }
        }
        None
    }
}

/// One-line calls of the C interface: `name(arguments) -> result = expression`.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? =
        $body:expr;)*) => {
        impl Lua {
            $($(#[$doc])*
            #[inline]
            pub fn $name(self, $($arg: $type),*) $(-> $result)? {
                // SAFETY: the state is alive while a `Lua` is; indices are the caller's own
                // positions on a stack it has made room on; none of these calls a metamethod.
                #[allow(clippy::redundant_closure_call)]
                unsafe { ($body)(self.0) }
            })*
        }
    };
}

calls! {
    /// Number of values on the stack of this call.
    top() -> c_int = |l| ffi::lua_gettop(l);
    set_top(index: c_int) = |l| ffi::lua_settop(l, index);
    pop(count: c_int) = |l| ffi::lua_settop(l, -count - 1);
    copy(index: c_int) = |l| ffi::lua_pushvalue(l, index);
    insert(index: c_int) = |l| ffi::lua_insert(l, index);
    remove(index: c_int) = |l| ffi::lua_remove(l, index);
    replace(index: c_int) = |l| ffi::lua_replace(l, index);
    /// Makes room for `count` more values; false when the stack is at its limit.
    has_room(count: c_int) -> bool = |l| ffi::lua_checkstack(l, count) != 0;
    kind(index: c_int) -> Type = |l| Type::of(ffi::lua_type(l, index));
    boolean(index: c_int) -> bool = |l| ffi::lua_toboolean(l, index) != 0;
    /// The number, 0 if it is not a number.
    number(index: c_int) -> f64 = |l| ffi::lua_tonumber(l, index);
    /// Whether it is a number, or a string that spells one.
    is_number(index: c_int) -> bool = |l| ffi::lua_isnumber(l, index) != 0;
    push_nil() = |l| ffi::lua_pushnil(l);
    push_boolean(value: bool) = |l| ffi::lua_pushboolean(l, value.into());
    push_number(value: f64) = |l| ffi::lua_pushnumber(l, value);
    push_null_pointer() = |l| ffi::lua_pushlightuserdata(l, std::ptr::null_mut());
    /// Whether it is the pointer that represents JSON's null.
    is_null_pointer(index: c_int) -> bool = |l| ffi::lua_type(l, index)
        == ffi::LUA_TLIGHTUSERDATA && ffi::lua_touserdata(l, index).is_null();
    push_bytes(bytes: &[u8]) =
        |l| ffi::lua_pushlstring(l, bytes.as_ptr().cast(), bytes.len());
    /// A new table with room for `array` and `hash` values.
    push_table(array: usize, hash: usize) =
        |l| ffi::lua_createtable(l, array.min(1 << 16) as c_int, hash.min(1 << 16) as c_int);
    /// Replaces the key on top by its value.
    raw_get(table: c_int) = |l| ffi::lua_rawget(l, table);
    raw_get_index(table: c_int, key: c_int) = |l| ffi::lua_rawgeti(l, table, key);
    /// Takes key and value from the top into the table.
    raw_set(table: c_int) = |l| ffi::lua_rawset(l, table);
    raw_set_index(table: c_int, key: c_int) = |l| ffi::lua_rawseti(l, table, key);
    /// Whether there is a metatable, which is then pushed.
    push_metatable(index: c_int) -> bool = |l| ffi::lua_getmetatable(l, index) != 0;
    /// Whether the table can be changed, by scripts and by the host. Changing one that cannot be is an
    /// error of Lua's, which a host function must not cause: it may have something to drop.
    set_read_only(index: c_int, on: bool) = |l| ffi::lua_setreadonly(l, index, on.into());
    set_metatable(index: c_int) = |l| { ffi::lua_setmetatable(l, index); };
    concat(count: c_int) = |l| ffi::lua_concat(l, count);
    /// Keeps the value on top in the registry.
    keep() -> c_int = |l| ffi::luaL_ref(l, ffi::LUA_REGISTRYINDEX);
    release(kept: c_int) = |l| ffi::luaL_unref(l, ffi::LUA_REGISTRYINDEX, kept);
    push_kept(kept: c_int) = |l| ffi::lua_rawgeti(l, ffi::LUA_REGISTRYINDEX, kept);
    /// Pushes the position of the function at `level`, as messages begin with it.
    push_where(level: c_int) = |l| ffi::luaL_where(l, level);
    push_globals() = |l| ffi::lua_pushvalue(l, ffi::LUA_GLOBALSINDEX);
    /// Gives the function at `index` the table on top for its globals.
    set_environment(index: c_int) = |l| { ffi::lua_setfenv(l, index); };
    /// Counts work of the host as this many instructions, so that the host is asked earlier whether
    /// the script may continue.
    charge(cost: usize) = |l| { ffi::lua_charge(l, cost); };
    /// Makes the collector work as usual, whatever a script has made of it.
    reset_collector() = |l| ffi::lua_resetgc(l);
    /// Collects all garbage.
    collect_garbage() = |l| { ffi::lua_gc(l, ffi::LUA_GCCOLLECT, 0); };
}

impl Lua {
    /// The next pair of the table, from the key on top of the stack, which is taken; false at the
    /// end. The key must be of that table.
    pub fn next(self, table: c_int) -> bool {
        // SAFETY: as in `calls!`; keys come from this function or are nil, so Lua knows them.
        unsafe { ffi::lua_next(self.0, table) != 0 }
    }

    /// The bytes of a string (not of a number), valid while it stays on the stack.
    #[inline]
    pub fn bytes<'a>(self, index: c_int) -> Option<&'a [u8]> {
        if self.kind(index) != Type::String {
            return None;
        }
        let mut len = 0;
        // SAFETY: it is a string, which Lua neither moves nor frees while it is on the stack; the
        // callers keep it there for as long as they use the bytes.
        unsafe {
            let start = ffi::lua_tolstring(self.0, index, &mut len);
            Some(std::slice::from_raw_parts(start.cast(), len))
        }
    }

    /// The bytes of a string, or of a number, which becomes a string where it is.
    pub fn text<'a>(self, index: c_int) -> Option<&'a [u8]> {
        if self.kind(index) == Type::Number {
            // SAFETY: as in `calls!`; this turns the number into its text.
            unsafe { ffi::lua_tolstring(self.0, index, std::ptr::null_mut()) };
        }
        self.bytes(index)
    }

    /// Pushes a function of the host.
    pub fn push_function(self, function: Function) {
        // SAFETY: as in `calls!`; `enter` reads the upvalue back with the same type.
        unsafe {
            ffi::lua_pushlightuserdata(self.0, function as *mut c_void);
            ffi::lua_pushcclosure(self.0, enter, 1);
        }
    }

    /// Opens one of Lua's own libraries: its functions become globals, or fields of a global.
    pub fn open(self, library: Library) {
        let (open, name): (ffi::lua_CFunction, &CStr) = match library {
            Library::Base => (ffi::luaopen_base, c""),
            Library::Table => (ffi::luaopen_table, c"table"),
            Library::String => (ffi::luaopen_string, c"string"),
            Library::Math => (ffi::luaopen_math, c"math"),
        };
        // SAFETY: called while a VM is made, when nothing is refused memory, so nothing raises.
        unsafe {
            ffi::lua_pushcclosure(self.0, open, 0);
            ffi::lua_pushstring(self.0, name.as_ptr());
            ffi::lua_call(self.0, 1, 0);
        }
    }

    /// Compiles a chunk and pushes the function, or the message. `name` without zero bytes.
    pub fn load(self, source: &[u8], name: &CStr) -> Result<(), ()> {
        // SAFETY: as in `calls!`; compiling is protected by Lua itself.
        let status = unsafe {
            let start = source.as_ptr().cast();
            ffi::luaL_loadbuffer(self.0, start, source.len(), name.as_ptr())
        };
        if status == ffi::LUA_OK { Ok(()) } else { Err(()) }
    }

    /// Counts `cost` as [`Lua::charge`] does, and asks the host if that is due. For loops of host
    /// functions whose length a script decides; each turn of them may also hold a little more memory.
    ///
    /// # Errors
    /// Fails if the script must end or exceeds its memory limit.
    pub fn pass(self, cost: usize) -> Result<(), Raise> {
        // SAFETY: as in `calls!`.
        let due = unsafe { ffi::lua_charge(self.0, cost) } != 0;
        if due {
            // SAFETY: as in `calls!`.
            unsafe { ffi::lua_charged(self.0) };
            if self.is_interrupted() {
                self.interrupt_every_line();
                return Err(Raise::Top);
            }
        }
        match self.shared().budget.is_exceeded() {
            true => Err(Raise::Bare(NO_MEMORY.into())),
            false => Ok(()),
        }
    }

    /// Calls the function below its `arguments`; the error is on top when it fails. `handler` is
    /// the index of a function that sees errors where they happen, or 0.
    pub fn call(self, arguments: c_int, results: c_int, handler: c_int) -> Result<(), ()> {
        // SAFETY: as in `calls!`; the call is protected.
        let status = unsafe { ffi::lua_pcall(self.0, arguments, results, handler) };
        if status == ffi::LUA_OK { Ok(()) } else { Err(()) }
    }

    /// Like [`Lua::call`], from a host function: the called function is the script's again, and
    /// limited.
    pub fn call_script(self, arguments: c_int, results: c_int) -> Result<(), ()> {
        let in_host = std::mem::take(&mut self.shared().budget.in_host);
        let called = self.call(arguments, results, 0);
        self.shared().budget.in_host = in_host;
        called
    }

    /// Asks the host whether the script may go on; true when it may not, with the error on the stack.
    pub fn is_interrupted(self) -> bool {
        let shared = self.shared();
        if shared.panic.is_some() {
            self.push_bytes(b"host function panicked");
            return true;
        }
        if shared.killed.is_none() {
            shared.killed = shared.host().and_then(|host| host.interrupt());
        }
        let Some(text) = &shared.killed else { return false };
        if !self.has_room(INTERRUPT_ROOM) {
            // Soon there is: it is asked again when this has returned.
            return false;
        }
        self.push_table(0, 1);
        self.push_bytes(text.as_bytes());
        self.set_field(-2, "err");
        true
    }

    /// Asks the host every `count` instructions whether to continue.
    pub fn interrupt_every(self, count: c_int) {
        // SAFETY: as in `calls!`.
        unsafe { ffi::lua_sethook(self.0, Some(on_count), ffi::LUA_MASKCOUNT, count) };
    }

    /// Asks the host at every line whether to continue.
    pub fn interrupt_every_line(self) {
        // SAFETY: as in `calls!`.
        unsafe {
            ffi::lua_sethook(self.0, Some(on_count), ffi::LUA_MASKLINE | ffi::LUA_MASKCOUNT, 1)
        };
    }

    /// Where the function at `level` is (0 is the running one); `None` beyond the outermost.
    /// Functions that are not Lua's answer with line -1.
    pub fn position(self, level: c_int) -> Option<Position> {
        // SAFETY: an all-zero `lua_Debug` is a valid value of that plain structure; Lua fills it,
        // and the source's text belongs to a function that is on the stack.
        unsafe {
            let mut debug: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_getstack(self.0, level, &mut debug) == 0 {
                return None;
            }
            ffi::lua_getinfo(self.0, c"Sl".as_ptr(), &mut debug);
            let source = CStr::from_ptr(debug.source).to_bytes().to_vec();
            Some(Position { source, line: debug.currentline })
        }
    }
}

/// Lua's own libraries that scripts get.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Library {
    /// Globals and `coroutine`.
    Base,
    Table,
    String,
    Math,
}

/// Conveniences on top of the calls.
impl Lua {
    /// Sets a field of the table at `table` to the value on top.
    pub fn set_field(self, table: c_int, name: &str) {
        self.push_bytes(name.as_bytes());
        self.insert(-2);
        self.raw_set(if table < 0 { table - 1 } else { table });
    }

    /// Pushes a field of the table at `table`, and returns its type.
    pub fn push_field(self, table: c_int, name: &str) -> Type {
        self.push_bytes(name.as_bytes());
        self.raw_get(if table < 0 { table - 1 } else { table });
        self.kind(-1)
    }

    /// Adds host functions to the table on top.
    pub fn set_functions(self, functions: &[(&str, Function)]) {
        for (name, function) in functions {
            self.push_function(*function);
            self.set_field(-2, name);
        }
    }

    /// Adds texts to the table on top.
    pub fn set_texts(self, texts: &[(&str, &str)]) {
        for (name, text) in texts {
            self.push_bytes(text.as_bytes());
            self.set_field(-2, name);
        }
    }

    /// The argument as a number, or the error Lua's own functions raise.
    pub fn check_number(self, index: c_int) -> Result<f64, Raise> {
        if self.is_number(index) {
            return Ok(self.number(index));
        }
        Err(self.type_error(index, "number"))
    }

    /// The argument as an integer, cut as a C cast cuts it.
    pub fn check_integer(self, index: c_int) -> Result<i64, Raise> {
        Ok(self.check_number(index)? as i64)
    }

    /// The argument as bytes; numbers become text.
    pub fn check_text<'a>(self, index: c_int) -> Result<&'a [u8], Raise> {
        self.text(index).ok_or_else(|| self.type_error(index, "string"))
    }

    /// The error about an argument of another type.
    pub fn type_error(self, index: c_int, expected: &str) -> Raise {
        let got = self.kind(index).name();
        Raise::Argument(index, format!("{expected} expected, got {got}"))
    }
}
