//! Tests of the capture format: written records read back, damaged files are refused, and truncated
//! files are read up to the cut, which is reported.

use super::*;
use proptest::prelude::*;

fn header() -> Header {
    Header {
        method: "CAPTURE".into(),
        source: "127.0.0.1:6379".into(),
        server: "varve 0.1".into(),
        started_ms: 1_700_000_000_000,
        keys_hashed: true,
        values_scrubbed: false,
        keys: Some(1_000_000),
        used_memory: None,
    }
}

fn bytes(text: &[u8]) -> Arg<'static> {
    Arg::Bytes(Cow::Owned(text.to_vec()))
}

fn request(connection: u64, args: &[&[u8]]) -> Record<'static> {
    let args = args.iter().map(|arg| bytes(arg)).collect();
    Record::Request { connection, db: 3, args }
}

type Timed = (u64, Record<'static>);

fn written(records: &[Timed]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    for (time, record) in records {
        writer.record(*time, record).unwrap();
    }
    writer.finish().unwrap()
}

/// All records, and how the file ended.
fn read(file: &[u8]) -> Result<(Vec<Timed>, Tail), FormatError> {
    let mut reader = Reader::new(file)?;
    let mut records = Vec::new();
    while let Some((time, record)) = reader.next()? {
        let owned = match record {
            Record::Open { connection, db, resp } => Record::Open { connection, db, resp },
            Record::Close { connection } => Record::Close { connection },
            Record::Lost { count } => Record::Lost { count },
            Record::Request { connection, db, args } => {
                let own = |arg| match arg {
                    Arg::Bytes(text) => bytes(&text),
                    Arg::Filler(length) => Arg::Filler(length),
                };
                Record::Request { connection, db, args: args.into_iter().map(own).collect() }
            }
        };
        records.push((time, owned));
    }
    Ok((records, reader.tail().unwrap()))
}

fn sample() -> Vec<Timed> {
    let mut records = vec![(0, Record::Open { connection: 1, db: 3, resp: 2 })];
    records.extend((0..9000u64).map(|n| {
        let text = format!("key:{n}");
        (n * 50, request(n % 7, &[b"SET", text.as_bytes(), &[n as u8; 100]]))
    }));
    // Records of different connections may come out of order.
    records.push((17, Record::Close { connection: 1 }));
    records.push((500_000, Record::Lost { count: 12 }));
    records
}

#[test]
fn what_is_written_reads_back() {
    let file = written(&sample());
    assert!(file.len() > 3 * BLOCK_TARGET, "several blocks");
    let (records, tail) = read(&file).unwrap();
    assert_eq!(records, sample());
    assert_eq!(tail, Tail::Complete);
    assert_eq!(*Reader::new(&file[..]).unwrap().header(), header());
}

#[test]
fn a_file_cut_anywhere_gives_its_whole_blocks_or_says_that_it_has_no_header() {
    let file = written(&sample());
    let start = written(&[]).len() - 24;
    let mut counts = std::collections::BTreeSet::new();
    for cut in (0..file.len()).step_by(29_989).chain(file.len() - 30..file.len()) {
        match read(&file[..cut]) {
            Err(FormatError::NotACapture) => assert!(cut < 16),
            Err(FormatError::Damaged { at: 0, .. }) => assert!(cut < start),
            Err(error) => panic!("cut at {cut}: {error}"),
            Ok((records, tail)) => {
                assert!(matches!(tail, Tail::Torn { .. }), "cut at {cut}");
                assert_eq!(records[..], sample()[..records.len()]);
                counts.insert(records.len());
            }
        }
    }
    assert!(counts.len() > 3, "cuts in several blocks: {counts:?}");
}

#[test]
fn any_flipped_byte_is_noticed() {
    let file = written(&sample()[..40]);
    for at in 0..file.len() {
        let mut broken = file.clone();
        broken[at] ^= 0x10;
        match read(&broken) {
            Err(_) => {}
            // The two reserved bytes are covered by the checksum as well: nothing may pass.
            Ok(_) => panic!("a flipped bit at {at} of {} went unnoticed", file.len()),
        }
    }
}

#[test]
fn huge_lengths_are_refused_before_memory_is_spent() {
    let start = {
        let empty = written(&[]);
        empty[..empty.len() - 24].to_vec()
    };
    let block = |length: u32, records: u32, payload: &[u8]| {
        let mut file = start.clone();
        let mut head = length.to_le_bytes().to_vec();
        head.extend(records.to_le_bytes());
        head.extend(crc(payload).to_le_bytes());
        head.extend(crc(&head).to_le_bytes());
        file.extend(head);
        file.extend(payload);
        file
    };
    let error = |file: &[u8]| read(file).unwrap_err().to_string();
    assert!(error(&block(u32::MAX, 1, b"")).contains("a block's length"));
    // A length within bounds whose bytes are not there: cut off.
    let (records, tail) = read(&block(60 << 20, 1, b"xx")).unwrap();
    assert_eq!((records.len(), tail), (0, Tail::Torn { bytes: 18 }));
    // Valid checksums around nonsense: too many arguments, too long an argument, another tag.
    let many = [2, 0, 1, 0, 0xFF, 0xFF, 0x7F];
    let long = [2, 0, 1, 0, 1, 0xFE, 0xFF, 0xFF, 0xFF, 0x0F];
    for payload in [&many[..], &long, &[9, 0, 0], &[1, 0, 0, 1], &[1]] {
        let file = block(payload.len() as u32, 1, payload);
        assert!(error(&file).contains("a record"), "{payload:?}");
    }
    assert!(error(&block(0, 0, b"")).contains("an empty block"));
    let mut header = start[..16].to_vec();
    header[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(error(&header).contains("the header's length"));
    assert!(error(b"REDIS0011").contains("no capture file"));
    let mut later = start.clone();
    later[8] = 9;
    assert!(error(&later).contains("version 9"));
}

#[test]
fn long_arguments_become_filler() {
    let long = vec![b'x'; ARG_MAX + 1];
    let many: Vec<&[u8]> = vec![&long[1..]; 20];
    let file = written(&[(0, request(1, &[b"SET", b"k", &long])), (1, request(1, &many))]);
    let (records, _) = read(&file).unwrap();
    let Record::Request { args, .. } = &records[0].1 else { panic!("{:?}", records[0]) };
    assert_eq!(args[2], Arg::Filler(ARG_MAX as u64 + 1));
    let Record::Request { args, .. } = &records[1].1 else { panic!("{:?}", records[1]) };
    let kept = args.iter().filter(|arg| matches!(arg, Arg::Bytes(_))).count();
    assert_eq!((args.len(), kept), (20, 15));
    assert!(file.len() < REQUEST_MAX + ARG_MAX);
}

proptest! {
    #[test]
    fn any_records_read_back(list in prop::collection::vec(
        (any::<u64>(), any::<u64>(), any::<u32>(), prop::collection::vec(any::<Vec<u8>>(), 0..5)),
        0..40,
    )) {
        let records: Vec<Timed> = list.into_iter().map(|(time, connection, db, args)| {
            let mut args: Vec<Arg<'_>> = args.iter().map(|arg| bytes(arg)).collect();
            args.push(Arg::Filler(time >> 1));
            (time, Record::Request { connection, db, args })
        }).collect();
        let (again, tail) = read(&written(&records)).unwrap();
        prop_assert_eq!(again, records);
        prop_assert_eq!(tail, Tail::Complete);
    }

    #[test]
    fn any_bytes_behind_a_header_are_read_or_refused(rest in any::<Vec<u8>>()) {
        let mut file = written(&[]);
        file.truncate(file.len() - 24);
        file.extend(rest);
        let _ = read(&file);
    }
}
