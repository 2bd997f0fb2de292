//! The numbers of the format, under the names Redis's `rdb.h` gives them (`RDB_TYPE_…`,
//! `RDB_OPCODE_…`, `RDB_ENC_…`).

/// Value types: the byte before a key, or the first byte of a `DUMP` payload.
pub(crate) mod types {
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    /// Scores as text.
    pub const ZSET: u8 = 3;
    pub const HASH: u8 = 4;
    /// Scores as little-endian doubles.
    pub const ZSET_2: u8 = 5;
    pub const MODULE_PRE_GA: u8 = 6;
    pub const MODULE_2: u8 = 7;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const ZSET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    pub const LIST_QUICKLIST: u8 = 14;
    pub const STREAM_LISTPACKS: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const ZSET_LISTPACK: u8 = 17;
    pub const LIST_QUICKLIST_2: u8 = 18;
    pub const STREAM_LISTPACKS_2: u8 = 19;
    pub const SET_LISTPACK: u8 = 20;
    pub const STREAM_LISTPACKS_3: u8 = 21;
    /// 7.4 release candidates: field expiries absolute.
    pub const HASH_METADATA_PRE_GA: u8 = 22;
    pub const HASH_LISTPACK_EX_PRE_GA: u8 = 23;
    /// 7.4: the smallest expiry comes first, fields store theirs relative to it.
    pub const HASH_METADATA: u8 = 24;
    pub const HASH_LISTPACK_EX: u8 = 25;
}

/// Opcodes, which may stand where a value type could.
pub(crate) mod opcodes {
    /// Cluster mode of 7.4: sizes of one slot, a hint.
    pub const SLOT_INFO: u8 = 244;
    pub const FUNCTION2: u8 = 245;
    /// 7.0 release candidates; Redis itself refuses it.
    pub const FUNCTION_PRE_GA: u8 = 246;
    pub const MODULE_AUX: u8 = 247;
    pub const IDLE: u8 = 248;
    pub const FREQ: u8 = 249;
    pub const AUX: u8 = 250;
    pub const RESIZEDB: u8 = 251;
    pub const EXPIRETIME_MS: u8 = 252;
    pub const EXPIRETIME: u8 = 253;
    pub const SELECTDB: u8 = 254;
    pub const EOF: u8 = 255;
}

/// The low six bits of a length byte whose top two bits are set: how a string is encoded.
pub(crate) mod enc {
    pub const INT8: u8 = 0;
    pub const INT16: u8 = 1;
    pub const INT32: u8 = 2;
    pub const LZF: u8 = 3;
}

/// Tags of the values a module wrote.
pub(crate) mod module {
    pub const EOF: u64 = 0;
    pub const SINT: u64 = 1;
    pub const UINT: u64 = 2;
    pub const FLOAT: u64 = 3;
    pub const DOUBLE: u64 = 4;
    pub const STRING: u64 = 5;
}

/// First length byte of a 32-bit and of a 64-bit length (big endian follows).
pub(crate) const LEN_32BIT: u8 = 0x80;
pub(crate) const LEN_64BIT: u8 = 0x81;

/// Container tags of a `LIST_QUICKLIST_2` node.
pub(crate) const QUICKLIST_PLAIN: u64 = 1;
pub(crate) const QUICKLIST_PACKED: u64 = 2;

/// Flags of a stream entry inside its listpack.
pub(crate) const STREAM_ITEM_DELETED: i64 = 1;
pub(crate) const STREAM_ITEM_SAMEFIELDS: i64 = 2;

/// Largest expiry a hash field can have: 46 bits of milliseconds (`EB_EXPIRE_TIME_MAX` is 48 bits,
/// `HPEXPIREAT` refuses beyond a quarter of that; files are accepted up to the wider bound).
pub(crate) const HASH_FIELD_EXPIRY_MAX: u64 = 0x0000_FFFF_FFFF_FFFF;
