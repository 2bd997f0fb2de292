//! [`Vm`]: a Lua state with the sandbox in it, the scripts compiled so far, and running them.

use crate::libraries;
use crate::random::Random;
use crate::raw::{Library, Lua, Returns, Type};
use crate::shared::{Registered, Shared};
use crate::shebang::ScriptFlags;
use crate::{Embedder, JsonSettings, redis, sandbox, to_resp};
use resp::{Proto, Reply};
use std::collections::HashMap;
use std::ffi::{CStr, c_int};
use std::hash::{BuildHasherDefault, Hasher};

/// Bytes that the scripts of one VM may hold.
pub const MEMORY_LIMIT: usize = 512 * 1024 * 1024;

/// Instructions between two looks at whether the script may go on. Redis's number.
const INTERRUPT_EVERY: c_int = 100_000;

/// The index of the error handler on the stack of every VM.
const HANDLER: c_int = 1;

/// The name chunks of scripts have in positions.
const SCRIPT: &CStr = c"@user_script";
/// And those of libraries.
const FUNCTION: &CStr = c"@user_function";

/// The SHA1 digest that names a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sha(pub [u8; 20]);

impl Sha {
    /// Reads forty hexadecimal digits of any case.
    pub fn parse(hex: &[u8]) -> Option<Sha> {
        let digit = |b: u8| (b as char).to_digit(16);
        let mut sha = [0; 20];
        if hex.len() != 40 {
            return None;
        }
        for (byte, pair) in sha.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Some(Sha(sha))
    }

    /// Forty lower-case hexadecimal digits.
    pub fn hex(&self) -> [u8; 40] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 40];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }
}

impl std::hash::Hash for Sha {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// The digest of a script's text.
pub fn digest(text: &[u8]) -> Sha {
    Sha(sha1_smol::Sha1::from(text).digest().bytes())
}

/// A digest is its own hash.
#[derive(Default)]
pub struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.0 = self.0.rotate_left(8) ^ u64::from(b));
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

/// A map by digest.
pub type BySha<T> = HashMap<Sha, T, BuildHasherDefault<Identity>>;

/// The way in which a script or function ended without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The error reply, with its code, without `-`.
    pub message: Vec<u8>,
    /// It is a command's error, which was counted when it happened.
    pub counted: bool,
}

impl Failed {
    /// An error with this text.
    pub fn new(text: &str) -> Failed {
        Failed { message: text.as_bytes().to_vec(), counted: false }
    }
}

/// A function that a library registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: Vec<u8>,
    /// The description that its author gave.
    pub description: Option<Vec<u8>>,
    /// The flags that it was registered with.
    pub flags: ScriptFlags,
}

/// A loaded library: its functions' places in the registry.
type Functions = Vec<(Vec<u8>, c_int)>;

/// A Lua state that runs scripts, one at a time.
pub struct Vm {
    lua: Lua,
    shared: *mut Shared,
    scripts: BySha<c_int>,
    libraries: HashMap<u64, Functions>,
    /// The globals of functions, in the registry.
    function_globals: c_int,
    /// Whether memory ran out, so that the VM must not be used for another script.
    spent: bool,
}

// SAFETY: a state may be used from any thread, by one at a time; `&mut self` sees to that.
unsafe impl Send for Vm {}

impl Vm {
    /// Creates a VM whose scripts may use `memory_limit` bytes; `None` if there is no memory for
    /// it. `seed` is for the hash of strings. It should not be possible to guess it, and no result
    /// depends on it.
    pub fn new(memory_limit: usize, seed: [u64; 2]) -> Option<Vm> {
        let shared = Box::into_raw(Box::new(Shared::new(memory_limit)));
        let Some(lua) = Lua::create(shared, seed) else {
            // SAFETY: the box was just given up, and nothing else has it.
            drop(unsafe { Box::from_raw(shared) });
            return None;
        };
        let mut vm = Vm {
            lua,
            shared,
            scripts: BySha::default(),
            libraries: HashMap::new(),
            function_globals: 0,
            spent: false,
        };
        vm.furnish();
        Some(vm)
    }

    fn furnish(&mut self) {
        let lua = self.lua;
        lua.push_function(on_error);
        for library in [Library::Base, Library::Table, Library::String, Library::Math] {
            lua.open(library);
        }
        lua.push_globals();
        redis::push(lua);
        lua.set_field(-2, "redis");
        libraries::add(lua);
        lua.push_function(on_error);
        lua.set_field(-2, "__redis__err__handler");
        lua.pop(1);
        sandbox::close(lua, &libraries::PROTECTED);
        libraries::functions::push_globals(lua);
        self.function_globals = lua.keep();
        lua.interrupt_every(INTERRUPT_EVERY);
        lua.set_top(HANDLER);
    }

    /// Bytes the VM holds.
    pub fn memory(&self) -> usize {
        self.lua.shared().budget.used
    }

    /// The options of `cjson` that scripts have set.
    pub fn json(&self) -> JsonSettings {
        self.lua.shared().json
    }

    /// Sets that before a run.
    pub fn set_json(&mut self, settings: JsonSettings) {
        self.lua.shared().json = settings;
    }

    /// Whether the VM must not be used again: a script took all its memory.
    pub fn is_spent(&self) -> bool {
        self.spent
    }

    /// Whether a script is compiled here.
    pub fn has_script(&self, sha: &Sha) -> bool {
        self.scripts.contains_key(sha)
    }

    /// Compiles a script, whose text is without a shebang's line.
    ///
    /// # Errors
    /// Fails with the compiler's message.
    pub fn compile(&mut self, sha: Sha, code: &[u8]) -> Result<(), Vec<u8>> {
        self.load(code, SCRIPT)?;
        let function = self.lua.keep();
        if let Some(old) = self.scripts.insert(sha, function) {
            self.lua.release(old);
        }
        Ok(())
    }

    fn load(&mut self, code: &[u8], name: &CStr) -> Result<(), Vec<u8>> {
        let lua = self.lua;
        lua.load(code, name).map_err(|()| {
            let message = lua.text(-1).unwrap_or_default().to_vec();
            lua.pop(1);
            message
        })
    }

    /// Forgets all scripts.
    pub fn forget_scripts(&mut self) {
        for (_, function) in self.scripts.drain() {
            self.lua.release(function);
        }
        self.lua.collect_garbage();
    }

    /// Runs a compiled script. Its result stays in the VM for [`Vm::reply`]. `seed` is that of
    /// `math.random`.
    ///
    /// # Errors
    /// Fails if the script raises an error, or is not compiled here.
    pub fn eval<'a>(
        &mut self,
        sha: &Sha,
        keys: impl ExactSizeIterator<Item = &'a [u8]>,
        args: impl ExactSizeIterator<Item = &'a [u8]>,
        seed: u32,
        host: &mut dyn Embedder,
    ) -> Result<(), Failed> {
        let Some(&function) = self.scripts.get(sha) else {
            return Err(Failed::new("NOSCRIPT No matching script. Please use EVAL."));
        };
        let lua = self.lua;
        lua.push_kept(lua.shared().globals);
        lua.set_read_only(-1, false);
        push_list(lua, keys);
        lua.set_field(-2, "KEYS");
        push_list(lua, args);
        lua.set_field(-2, "ARGV");
        lua.set_read_only(-1, true);
        lua.pop(1);
        lua.push_kept(function);
        self.run(0, seed, host, || String::from_utf8_lossy(&sha.hex()).into_owned())
    }

    /// Whether a library is loaded here. `id` names one version of it.
    pub fn has_library(&self, id: u64) -> bool {
        self.libraries.contains_key(&id)
    }

    /// Loads a library, whose text is without the shebang's line, and lists its functions.
    /// `host` is only asked whether to go on.
    ///
    /// # Errors
    /// The error reply's text, with its code.
    pub fn load_library(
        &mut self,
        id: u64,
        code: &[u8],
        host: &mut dyn Embedder,
    ) -> Result<Vec<Declared>, Vec<u8>> {
        let lua = self.lua;
        self.load(code, FUNCTION)
            .map_err(|message| [b"ERR Error compiling function: ".as_slice(), &message].concat())?;
        libraries::functions::push_environment(lua);
        lua.copy(-1);
        lua.set_environment(-3);
        lua.insert(-2);
        lua.shared().registered.clear();
        lua.shared().loading = true;
        let ran = self.run(0, 0, host, String::new);
        lua.shared().loading = false;
        let registered = std::mem::take(&mut lua.shared().registered);
        if let Err(failed) = ran {
            lua.set_top(HANDLER);
            registered.iter().for_each(|function| lua.release(function.callback));
            return Err([b"ERR Error registering functions: ".as_slice(), &failed.message].concat());
        }
        lua.pop(1);
        libraries::functions::open_environment(lua, self.function_globals);
        lua.set_top(HANDLER);
        let declared = registered.iter().map(Registered::declared).collect();
        let functions = registered.into_iter().map(|f| (f.name, f.callback)).collect();
        self.libraries.insert(id, functions);
        Ok(declared)
    }

    /// Forgets the libraries for which `keep` is false.
    pub fn retain_libraries(&mut self, keep: impl Fn(u64) -> bool) {
        let lua = self.lua;
        self.libraries.retain(|&id, functions| {
            let keep = keep(id);
            if !keep {
                functions.iter().for_each(|(_, callback)| lua.release(*callback));
            }
            keep
        });
    }

    /// Calls a function of a loaded library, as [`Vm::eval`].
    ///
    /// # Errors
    /// Fails if the function raises an error, or there is none of this name.
    pub fn call_function<'a>(
        &mut self,
        library: u64,
        name: &[u8],
        keys: impl ExactSizeIterator<Item = &'a [u8]>,
        args: impl ExactSizeIterator<Item = &'a [u8]>,
        seed: u32,
        host: &mut dyn Embedder,
    ) -> Result<(), Failed> {
        let functions = self.libraries.get(&library);
        let found = functions.and_then(|all| all.iter().find(|(known, _)| known == name));
        let Some(&(_, callback)) = found else { return Err(Failed::new("ERR Function not found")) };
        let lua = self.lua;
        lua.push_kept(callback);
        push_list(lua, keys);
        push_list(lua, args);
        self.run(2, seed, host, || String::from_utf8_lossy(name).into_owned())
    }

    /// Runs the function below its `arguments`; one result stays on the stack.
    fn run(
        &mut self,
        arguments: c_int,
        seed: u32,
        host: &mut dyn Embedder,
        name: impl Fn() -> String,
    ) -> Result<(), Failed> {
        let lua = self.lua;
        let shared = lua.shared();
        shared.proto = Proto::Resp2;
        shared.random = Random::new(seed);
        shared.budget.in_host = 0;
        let ran = hosted(lua, host, || lua.call(arguments, 1, HANDLER));
        lua.reset_collector();
        let shared = lua.shared();
        shared.budget.in_host = 1;
        let killed = shared.killed.take();
        if let Some(panic) = shared.panic.take() {
            self.spent = true;
            std::panic::resume_unwind(panic);
        }
        if killed.is_some() {
            lua.interrupt_every(INTERRUPT_EVERY);
        }
        if ran.is_ok() {
            return Ok(());
        }
        let failed = self.describe(&name());
        lua.set_top(HANDLER);
        Err(failed)
    }

    /// The error on top of the stack as a reply.
    fn describe(&mut self, name: &str) -> Failed {
        let lua = self.lua;
        if lua.kind(-1) != Type::Table {
            // The handler could not run: memory, or an error within the error.
            self.spent = true;
            let text = lua.text(-1).unwrap_or(b"execution failure");
            let text = String::from_utf8_lossy(&text[..text.len().min(100)]).into_owned();
            return Failed::new(&format!("ERR Error running script {name}, {text}"));
        }
        lua.push_field(-1, "err");
        let mut message = lua.text(-1).unwrap_or(b"ERR unknown error").to_vec();
        lua.pop(1);
        lua.push_field(-1, "source");
        lua.push_field(-2, "line");
        if let (Some(source), Some(line)) = (lua.text(-2), lua.text(-1))
            && !name.is_empty()
        {
            message.extend_from_slice(format!(" script: {name}, on ").as_bytes());
            message.extend_from_slice(source);
            message.extend_from_slice(&[b":", line, b"."].concat());
        }
        lua.pop(2);
        let counted = lua.push_field(-1, "ignore_error_stats_update") == Type::Boolean;
        lua.pop(1);
        Failed { message, counted }
    }

    /// Forgets the last result.
    pub fn discard(&mut self) {
        self.lua.set_top(HANDLER);
    }

    /// Writes the last result to `reply`, and forgets it. `host` is only asked whether to go on.
    ///
    /// # Errors
    /// It is not to go on, or the reply would be larger than a script may hold: nothing is written.
    pub fn reply(&mut self, reply: &mut Reply<'_>, host: &mut dyn Embedder) -> Result<(), Failed> {
        let lua = self.lua;
        if lua.top() <= HANDLER {
            return Ok(());
        }
        let proto = lua.shared().proto;
        let written = hosted(lua, host, || to_resp::write(lua, reply, proto));
        lua.set_top(HANDLER);
        if lua.shared().killed.take().is_some() {
            lua.interrupt_every(INTERRUPT_EVERY);
        }
        written
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // SAFETY: nothing uses the state any more; the shared part is freed after it, because
        // closing gives memory back through it.
        unsafe {
            self.lua.close();
            drop(Box::from_raw(self.shared));
        }
    }
}

impl Registered {
    fn declared(&self) -> Declared {
        Declared {
            name: self.name.clone(),
            description: self.description.clone(),
            flags: self.flags,
        }
    }
}

/// Does `work`, during which the state's host is `host`.
fn hosted<T>(lua: Lua, host: &mut dyn Embedder, work: impl FnOnce() -> T) -> T {
    // SAFETY: only the lifetime is forgotten; the pointer goes before this function returns.
    let host: *mut dyn Embedder = unsafe {
        std::mem::transmute::<*mut (dyn Embedder + '_), *mut (dyn Embedder + 'static)>(host)
    };
    lua.shared().host = Some(host);
    let done = work();
    lua.shared().host = None;
    done
}

fn push_list<'a>(lua: Lua, values: impl ExactSizeIterator<Item = &'a [u8]>) {
    lua.push_table(values.len(), 0);
    for (index, value) in values.enumerate() {
        lua.push_bytes(value);
        lua.raw_set_index(-2, index as c_int + 1);
    }
}

/// Converts an uncaught error to a table with its position.
fn on_error(lua: Lua) -> Returns {
    lua.set_top(1);
    let mut position = lua.position(1);
    if position.as_ref().is_some_and(|position| position.source == b"=[C]") {
        position = lua.position(2);
    }
    if lua.kind(1) != Type::Table {
        let text = match lua.kind(1) {
            Type::String | Type::Number => lua.text(1).unwrap_or_default().to_vec(),
            Type::Boolean => lua.boolean(1).to_string().into_bytes(),
            other => other.name().as_bytes().to_vec(),
        };
        lua.push_table(0, 3);
        lua.push_bytes(&[b"ERR ".as_slice(), &text].concat());
        lua.set_field(-2, "err");
        lua.replace(1);
    }
    if let Some(position) = position {
        lua.push_bytes(&position.source);
        lua.set_field(1, "source");
        lua.push_number(f64::from(position.line));
        lua.set_field(1, "line");
    }
    Ok(1)
}
