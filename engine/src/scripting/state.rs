//! [`Scripting`]: what sessions share of scripts: their texts, their VMs, how they behave, and
//! which of them run too long.

use super::libraries::Libraries;
use super::running::{Kill, Kind, RunningScripts};
use super::watch::{Watch, Watches};
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use script::shebang::{self, ScriptFlags};
use script::{JsonSettings, MEMORY_LIMIT, Sha, Vm};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use storage::Backend;

/// The number of scripts whose conduct is remembered; beyond it, all are forgotten.
const CONDUCTS_MAX: usize = 65_536;

/// Scripts that a VM finds by their text, without computing the digest.
const BY_TEXT_MAX: usize = 1024;
/// Longer texts are not kept for that, because comparing them would cost as much as the digest.
const BY_TEXT_LEN_MAX: usize = 16 * 1024;

/// A script in the cache.
#[derive(Debug)]
pub struct Script {
    /// The digest of its text, which names it.
    pub sha: Sha,
    /// The whole text.
    pub text: Box<[u8]>,
    /// The offset of the code, behind a shebang line.
    code: usize,
    /// The flags of its first line.
    pub flags: ScriptFlags,
}

impl Script {
    /// Reads a script's first line.
    ///
    /// # Errors
    /// Fails with the reason of the refusal.
    pub fn new(sha: Sha, text: &[u8]) -> Result<Script, String> {
        let (flags, code) = shebang::script(text)?;
        Ok(Script { sha, text: text.into(), code: text.len() - code.len(), flags })
    }

    pub(crate) fn code(&self) -> &[u8] {
        &self.text[self.code..]
    }
}

/// Whether a script uses only the keys that it declares. The text does not tell this, so it is
/// learnt: see [`super::eval`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// It has, so far.
    Declares,
    /// It has touched others.
    Roams,
}

/// A VM, with the scripts it has compiled.
pub struct Worker {
    /// The Lua state.
    pub vm: Vm,
    /// The part of the running script's state that other threads read.
    pub watch: Arc<Watch>,
    by_sha: script::BySha<Arc<Script>>,
    by_text: HashMap<u64, Arc<Script>>,
    /// The version of the cache its scripts are from.
    version: u64,
    /// The version of the libraries it has.
    libraries_version: u64,
    /// Bytes that the VM held when they were last counted.
    counted: usize,
}

impl Worker {
    fn new(backend: &dyn Backend, watches: &Watches) -> Option<Worker> {
        // The hash of strings has a seed that cannot be guessed, but is the same in every run of a
        // test.
        let seed = [&b"lua"[..], b"strings"].map(|word| backend.hash(word));
        let vm = Vm::new(MEMORY_LIMIT, seed)?;
        Some(Worker {
            vm,
            watch: watches.add(),
            by_sha: Default::default(),
            by_text: HashMap::new(),
            version: 0,
            libraries_version: 0,
            counted: 0,
        })
    }

    /// Forgets libraries that are not there any more.
    pub fn forget_libraries_but(&mut self, libraries: &Libraries) {
        if self.libraries_version != libraries.version {
            self.vm.retain_libraries(|id| libraries.has_id(id));
            self.libraries_version = libraries.version;
        }
    }

    fn forget(&mut self) {
        self.vm.forget_scripts();
        self.by_sha.clear();
        self.by_text.clear();
    }
}

/// Shared by all sessions.
#[derive(Default)]
pub struct Scripting {
    cache: RwLock<script::BySha<Arc<Script>>>,
    /// Counts `SCRIPT FLUSH`.
    version: AtomicU64,
    /// VMs that are not in use. The one used last is the first to be used again.
    idle: Mutex<Vec<Worker>>,
    conducts: RwLock<HashMap<u64, Conduct>>,
    vm_bytes: AtomicUsize,
    /// The function libraries, replaced as a whole.
    pub libraries: RwLock<Arc<Libraries>>,
    library_ids: AtomicU64,
    /// The settings of `cjson`: those of scripts, those of functions.
    json: [RwLock<JsonSettings>; 2],
    /// Scripts that have run for longer than `busy-reply-threshold`.
    pub running: RunningScripts,
    /// All scripts that run.
    pub(crate) watches: Arc<Watches>,
}

impl Scripting {
    /// A VM to run something in; `None` without memory for one.
    pub(crate) fn worker(&self, backend: &dyn Backend) -> Option<Worker> {
        let idle = self.idle.lock().pop();
        let mut worker = idle.or_else(|| Worker::new(backend, &self.watches))?;
        let version = self.version.load(Ordering::Acquire);
        if worker.version != version {
            worker.forget();
            worker.version = version;
        }
        Some(worker)
    }

    /// The settings of `cjson` that scripts, or functions, have made.
    pub(crate) fn json(&self, kind: Kind) -> JsonSettings {
        *self.json[kind as usize].read()
    }

    /// Keeps the settings for later scripts, because Redis runs all scripts in one VM.
    pub(crate) fn set_json(&self, kind: Kind, settings: JsonSettings) {
        *self.json[kind as usize].write() = settings;
    }

    /// Returns a VM for later use.
    pub(crate) fn return_worker(&self, mut worker: Worker) {
        let bytes = if worker.vm.is_spent() { 0 } else { worker.vm.memory() };
        if bytes != worker.counted {
            self.vm_bytes.fetch_add(bytes.wrapping_sub(worker.counted), Ordering::Relaxed);
            worker.counted = bytes;
        }
        if !worker.vm.is_spent() {
            self.idle.lock().push(worker);
        }
    }

    /// The script of this text, ready to run in `worker`.
    ///
    /// # Errors
    /// The error reply: the text is no script.
    pub fn by_text(
        &self,
        backend: &dyn Backend,
        worker: &mut Worker,
        text: &[u8],
    ) -> Result<Arc<Script>, String> {
        let hash = backend.hash(text);
        if let Some(script) = worker.by_text.get(&hash).filter(|script| &*script.text == text) {
            return Ok(script.clone());
        }
        let sha = script::digest(text);
        let script = match self.by_sha(worker, &sha) {
            Some(script) => script,
            None => self.add(worker, sha, text)?,
        };
        if text.len() <= BY_TEXT_LEN_MAX {
            if worker.by_text.len() >= BY_TEXT_MAX {
                worker.by_text.clear();
            }
            worker.by_text.insert(hash, script.clone());
        }
        Ok(script)
    }

    /// The cached script of this digest, ready to run in `worker`.
    pub(crate) fn by_sha(&self, worker: &mut Worker, sha: &Sha) -> Option<Arc<Script>> {
        if let Some(script) = worker.by_sha.get(sha) {
            return Some(script.clone());
        }
        let script = self.cache.read().get(sha)?.clone();
        // It was compiled before it came into the cache.
        worker.vm.compile(*sha, script.code()).ok()?;
        worker.by_sha.insert(*sha, script.clone());
        Some(script)
    }

    fn add(&self, worker: &mut Worker, sha: Sha, text: &[u8]) -> Result<Arc<Script>, String> {
        let script = Script::new(sha, text).map_err(|text| format!("ERR {text}"))?;
        worker.vm.compile(sha, script.code()).map_err(|message| {
            let message = String::from_utf8_lossy(&message).into_owned();
            format!("ERR Error compiling script (new function): {message}")
        })?;
        let script = Arc::new(script);
        worker.by_sha.insert(sha, script.clone());
        self.cache.write().insert(sha, script.clone());
        Ok(script)
    }

    /// The flags of a cached script.
    pub(crate) fn flags_of(&self, sha: &Sha) -> Option<ScriptFlags> {
        self.cache.read().get(sha).map(|script| script.flags)
    }

    /// Whether a script is cached.
    pub fn knows(&self, sha: &Sha) -> bool {
        self.cache.read().contains_key(sha)
    }

    /// Forgets all scripts (`SCRIPT FLUSH`).
    pub fn flush(&self) {
        self.cache.write().clear();
        self.set_json(Kind::Script, JsonSettings::default());
        self.version.fetch_add(1, Ordering::Release);
        let idle = std::mem::take(&mut *self.idle.lock());
        idle.iter().for_each(|worker| {
            self.vm_bytes.fetch_sub(worker.counted, Ordering::Relaxed);
        });
    }

    /// The conduct of the script or function that `name` hashes to, if it is known.
    pub(crate) fn conduct(&self, name: u64) -> Option<Conduct> {
        self.conducts.read().get(&name).copied()
    }

    /// Learns it.
    pub(crate) fn learn(&self, name: u64, conduct: Conduct) {
        let mut conducts = self.conducts.write();
        if conducts.len() >= CONDUCTS_MAX {
            conducts.clear();
        }
        conducts.insert(name, conduct);
    }

    /// Asks the oldest script of this kind that can be killed to end. `now_ns` is the stopwatch's time.
    pub fn kill(&self, kind: Kind, now_ns: u64) -> Kill {
        self.running.kill(kind, self.watches.overdue(now_ns))
    }

    /// Changes the libraries; what `change` leaves is in force when it succeeds.
    ///
    /// # Errors
    /// Fails with the error of `change`.
    pub fn change_libraries<T>(
        &self,
        change: impl FnOnce(&mut Libraries) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut all = self.libraries.write();
        let mut changed = Libraries::clone(&all);
        let result = change(&mut changed)?;
        changed.version += 1;
        *all = Arc::new(changed);
        self.forget_conducts();
        Ok(result)
    }

    /// The texts of all libraries, for snapshots and logs.
    pub fn library_texts(&self) -> Vec<Vec<u8>> {
        self.libraries.read().iter().map(|library| library.text.to_vec()).collect()
    }

    /// Removes all libraries.
    pub fn remove_libraries(&self) {
        let removed = self.change_libraries(|libraries| {
            libraries.clear();
            Ok::<(), String>(())
        });
        debug_assert!(removed.is_ok(), "nothing refuses to be removed");
    }

    /// A number no library had yet.
    pub(crate) fn next_library_id(&self) -> u64 {
        self.library_ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Forgets the learnt conducts, because names may have another meaning now.
    fn forget_conducts(&self) {
        self.conducts.write().clear();
    }

    /// Figures for `INFO memory`.
    pub fn figures(&self) -> Figures {
        let cache = self.cache.read();
        let overhead = size_of::<Script>() + 2 * size_of::<usize>() + size_of::<Sha>();
        let libraries = self.libraries.read();
        Figures {
            scripts: cache.len(),
            script_bytes: cache.values().map(|script| script.text.len() + overhead).sum(),
            vm_bytes: self.vm_bytes.load(Ordering::Relaxed),
            libraries: libraries.count(),
            functions: libraries.functions(),
            library_bytes: libraries.bytes(),
        }
    }
}

/// Figures for `INFO memory`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Cached scripts.
    pub scripts: usize,
    /// Bytes of their texts.
    pub script_bytes: usize,
    /// Bytes held by VMs.
    pub vm_bytes: usize,
    /// Libraries.
    pub libraries: usize,
    /// Their functions.
    pub functions: usize,
    /// Bytes of their texts.
    pub library_bytes: usize,
}
