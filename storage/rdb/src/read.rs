//! A whole file, read item by item.

use std::io::BufRead;

use super::RDB_VERSION_MAX;
use super::codes::opcodes;
use super::decode;
use super::error::{RdbError, RdbErrorKind};
use super::input::{Input, module_name};
use super::payload::Checksum;
use super::value::Object;

/// Before version 5, files end without a checksum.
const VERSION_WITH_CHECKSUM: u16 = 5;

/// One element of a file; the reader returns them in file order.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A remark about the file: `redis-ver`, `ctime`, `repl-id`, `aof-base` …
    Aux {
        /// Its name.
        key: Vec<u8>,
        /// Its value, as text.
        value: Vec<u8>,
    },
    /// The entries that follow belong to this database.
    SelectDb(u64),
    /// Hint: how many keys the database has, and how many of them expire.
    Resize {
        /// Keys.
        keys: u64,
        /// Keys with an expiry.
        expires: u64,
    },
    /// The source code of a function library, as given to `FUNCTION LOAD`.
    Function(Vec<u8>),
    /// Data a module kept outside of keys. Its bytes were skipped.
    ModuleAux {
        /// The name of the module type.
        module: String,
    },
    /// A key and its value.
    KeyValue(KeyValue),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyValue {
    /// The database it is in.
    pub db: u64,
    /// The key.
    pub key: Vec<u8>,
    /// Absolute unix time in milliseconds when it goes, if it does. May have passed.
    pub expiry_ms: Option<u64>,
    /// Seconds since it was last used, if the file says.
    pub idle_seconds: Option<u64>,
    /// The logarithmic LFU counter, if the file says.
    pub frequency: Option<u8>,
    /// Its value.
    pub object: Object,
}

/// The attributes that may precede a key.
#[derive(Default)]
struct KeyMeta {
    expiry_ms: Option<u64>,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
}

/// Reads a file, item by item.
///
/// The source is left directly behind what was read: bytes after the end of the file (an AOF's
/// commands after its RDB preamble) can be read from [`Reader::into_inner`].
pub struct Reader<R> {
    input: Input<R>,
    version: u16,
    db: u64,
    empty_keys: u64,
    done: bool,
    checksum: Checksum,
}

impl<R: BufRead> Reader<R> {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// The source fails, is no RDB file, or is one of a version not known here.
    pub fn new(source: R) -> Result<Self, RdbError> {
        let mut input = Input::new(source);
        let magic: [u8; 9] = input.array()?;
        let version = magic
            .strip_prefix(b"REDIS")
            .filter(|digits| digits.iter().all(u8::is_ascii_digit))
            .ok_or_else(|| RdbError::new(0, RdbErrorKind::BadMagic))?
            .iter()
            .fold(0u16, |number, digit| number * 10 + u16::from(digit - b'0'));
        if !(1..=RDB_VERSION_MAX).contains(&version) {
            let kind = RdbErrorKind::UnsupportedVersion(u32::from(version));
            return Err(RdbError::new(5, kind));
        }
        let checksum = Checksum::Compared;
        Ok(Reader { input, version, db: 0, empty_keys: 0, done: false, checksum })
    }

    /// Sets whether the checksum at the end is compared.
    pub fn set_checksum(&mut self, checksum: Checksum) {
        self.checksum = checksum;
    }

    /// The version in the header.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }

    /// The number of keys that were skipped because they held collections without elements, which
    /// old versions of Redis could write. Redis skips them, too.
    pub fn empty_keys(&self) -> u64 {
        self.empty_keys
    }

    /// The source, directly behind what was read.
    ///
    /// # Errors
    /// Fails if the source does.
    pub fn into_inner(self) -> Result<R, RdbError> {
        self.input.into_inner()
    }

    /// The next item; `None` after the end mark, when the checksum was right.
    ///
    /// # Errors
    /// Fails if the source does, ends too early, or contains something invalid. After an error
    /// there are no more items.
    #[allow(clippy::should_implement_trait)] // `Iterator` would hide that errors end the file
    pub fn next(&mut self) -> Result<Option<Item>, RdbError> {
        if self.done {
            return Ok(None);
        }
        let result = self.item();
        self.done = !matches!(result, Ok(Some(_)));
        result
    }

    fn item(&mut self) -> Result<Option<Item>, RdbError> {
        let mut meta = KeyMeta::default();
        loop {
            let code = self.input.byte()?;
            if self.key_meta(code, &mut meta)? {
                continue;
            }
            match code {
                opcodes::EOF => return self.check_end().map(|()| None),
                opcodes::SLOT_INFO => drop([self.length()?, self.length()?, self.length()?]),
                opcodes::FUNCTION2..=opcodes::EOF => {
                    return self.opcode(code).map(Some);
                }
                kind => {
                    if let Some(entry) = self.entry(kind, std::mem::take(&mut meta))? {
                        return Ok(Some(Item::KeyValue(entry)));
                    }
                }
            }
        }
    }

    fn length(&mut self) -> Result<u64, RdbError> {
        self.input.length()
    }

    /// Notes what precedes a key; false if `code` is something else.
    fn key_meta(&mut self, code: u8, meta: &mut KeyMeta) -> Result<bool, RdbError> {
        match code {
            opcodes::EXPIRETIME => {
                let seconds = i32::from_le_bytes(self.input.array()?);
                meta.expiry_ms = Some(u64::from(seconds.max(0).unsigned_abs()) * 1000);
            }
            opcodes::EXPIRETIME_MS => meta.expiry_ms = self.input.millis()?,
            opcodes::FREQ => meta.frequency = Some(self.input.byte()?),
            opcodes::IDLE => meta.idle_seconds = Some(self.length()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn opcode(&mut self, code: u8) -> Result<Item, RdbError> {
        Ok(match code {
            opcodes::SELECTDB => {
                self.db = self.length()?;
                Item::SelectDb(self.db)
            }
            opcodes::RESIZEDB => Item::Resize { keys: self.length()?, expires: self.length()? },
            opcodes::AUX => Item::Aux { key: self.input.string()?, value: self.input.string()? },
            opcodes::FUNCTION2 => Item::Function(self.input.string()?),
            opcodes::MODULE_AUX => {
                // The values that follow include when the module wants them: an opcode, a number.
                let module = module_name(self.length()?);
                self.input.skip_module_values()?;
                Item::ModuleAux { module }
            }
            opcodes::FUNCTION_PRE_GA => {
                return Err(self.input.corrupt("a function library of a pre-release format"));
            }
            unknown => return Err(self.input.error(RdbErrorKind::UnknownType(unknown))),
        })
    }

    fn entry(&mut self, kind: u8, meta: KeyMeta) -> Result<Option<KeyValue>, RdbError> {
        if !decode::is_value_type(kind) {
            let at = self.input.offset() - 1;
            return Err(RdbError::new(at, RdbErrorKind::UnknownType(kind)));
        }
        let key = self.input.string()?;
        let KeyMeta { expiry_ms, idle_seconds, frequency } = meta;
        match decode::object(&mut self.input, kind) {
            Ok(object) => {
                let db = self.db;
                Ok(Some(KeyValue { db, key, expiry_ms, idle_seconds, frequency, object }))
            }
            Err(RdbError { kind: RdbErrorKind::EmptyKey, .. }) => {
                self.empty_keys += 1;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Compares the checksum; zero says that the writer did not compute one.
    fn check_end(&mut self) -> Result<(), RdbError> {
        if self.version < VERSION_WITH_CHECKSUM {
            return Ok(());
        }
        let (offset, computed) = (self.input.offset(), self.input.checksum()?);
        let stored = u64::from_le_bytes(self.input.array()?);
        if stored != 0 && stored != computed && self.checksum == Checksum::Compared {
            return Err(RdbError::new(offset, RdbErrorKind::Checksum { stored, computed }));
        }
        Ok(())
    }
}
