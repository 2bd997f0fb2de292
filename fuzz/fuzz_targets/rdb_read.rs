//! The RDB reader: no panic, memory in proportion to the input, and what was accepted survives being
//! written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use storage::rdb::{Item, Object, Options, Reader, decode_payload, encode_payload, seal_payload};

/// Version 11 keeps all that the model can say.
const OPTIONS: Options = Options { version: 11, compress: true, checksum: true };

fn round_trip(object: &Object) {
    let payload = encode_payload(object, OPTIONS).expect("what was read can be written");
    assert_eq!(&decode_payload(&payload).expect("what was written can be read"), object);
}

fuzz_target!(|data: &[u8]| {
    if let Ok(mut reader) = Reader::new(data) {
        while let Ok(Some(item)) = reader.next() {
            if let Item::KeyValue(entry) = item {
                round_trip(&entry.object);
            }
        }
        assert!(reader.offset() <= data.len() as u64);
    }
    // As a payload, behind a checksum the fuzzer could not guess.
    let mut payload = data.to_vec();
    seal_payload(&mut payload);
    if let Ok(object) = decode_payload(&payload) {
        round_trip(&object);
    }
});
