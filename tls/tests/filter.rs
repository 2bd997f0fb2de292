//! The filter alone: a client of rustls in memory on one side, the toy of the runtimes' suite on the other.

mod authority;

use authority::Authority;
use resp::Output;
use runtime::filter::Filter;
use runtime::testing::filters::FilterPeer;
use runtime::testing::{OUTPUT_MAX, Toy};
use runtime::{Clock, Exchange, Now, Onward, Peer, RuntimeContext, RuntimeStats, Sent};
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ClientConnection};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Waker;
use tempfile::TempDir;
use tls::filter::TlsFilter;
use tls::{ClientCertificates, HANDSHAKE_PATIENCE, Settings, Tls};

/// Writes an authority and a certificate by it, good for servers and clients.
fn certificates(folder: &Path) -> Settings {
    let settings = Authority::new().certify(folder, "varve.test", |_| {});
    Settings { sessions: Some(100), ..settings }
}

/// rustls's client, and whether the server has said goodbye to it.
struct Client(ClientConnection, bool);

impl FilterPeer for Client {
    fn send(&mut self, plain: &[u8]) {
        self.0.writer().write_all(plain).unwrap();
    }

    fn finish(&mut self) {
        self.0.send_close_notify();
    }

    fn outgoing(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut wire).unwrap();
        }
        wire
    }

    fn receive(&mut self, mut wire: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        while !wire.is_empty() {
            self.0.read_tls(&mut wire).unwrap();
            self.1 |= self.0.process_new_packets().unwrap().peer_has_closed();
            // An error says that nothing more has come.
            let _ = self.0.reader().read_to_end(&mut plain);
        }
        plain
    }

    fn saw_end(&self) -> bool {
        self.1
    }
}

runtime::filter_suite!(suite, || {
    let folder = tempfile::tempdir().unwrap();
    let settings = certificates(folder.path());
    let server = UnbufferedServerConnection::new(Arc::new(settings.server().unwrap())).unwrap();
    let name = ServerName::try_from("varve.test").unwrap();
    let mut client = ClientConnection::new(Arc::new(settings.client().unwrap()), name).unwrap();
    client.set_buffer_limit(None);
    (TlsFilter::new(server), Client(client, false))
});

/// Both ends, and the wire between them.
struct Ends {
    client: ClientConnection,
    exchange: Exchange,
    toy: Arc<Toy>,
    now: Now,
    closed: bool,
    _folder: TempDir,
}

impl Ends {
    fn new(change: impl Fn(&mut Settings), client: impl Fn(&Settings) -> ClientConfig) -> Ends {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = certificates(folder.path());
        let config = client(&settings);
        change(&mut settings);
        let tls = Tls::new(&settings).unwrap();
        let toy = Arc::new(Toy::default());
        let context =
            Arc::new(RuntimeContext { clock: Clock::new(), stats: Arc::<RuntimeStats>::default() });
        let service = tls.serve(toy.service(), Arc::default());
        let peer = Peer::Unix("/nowhere".into());
        let exchange = context.introduce(&*service, peer, Waker::noop().clone(), Now::default());
        let name = ServerName::try_from("varve.test").unwrap();
        Ends {
            client: ClientConnection::new(Arc::new(config), name).unwrap(),
            exchange: exchange.expect("not refused"),
            toy,
            now: Now::default(),
            closed: false,
            _folder: folder,
        }
    }

    fn ordinary() -> Ends {
        Ends::new(|_| {}, |settings| settings.client().unwrap())
    }

    /// Carries bytes both ways, at most `step` at once, until nothing moves any more.
    fn carry(&mut self, step: usize) -> Result<(), rustls::Error> {
        loop {
            let mut wire = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut wire).unwrap();
            }
            wire.chunks(step).for_each(|piece| self.exchange.receive(piece, self.now));
            let back = self.answers();
            if wire.is_empty() && back.is_empty() {
                return Ok(());
            }
            let mut back = &back[..];
            while !back.is_empty() {
                self.client.read_tls(&mut back).unwrap();
                self.client.process_new_packets()?;
            }
        }
    }

    fn answers(&mut self) -> Vec<u8> {
        let mut sent = Vec::new();
        while !self.closed {
            let outcome = self.exchange.write(self.now, |output| {
                sent.extend(output.to_vec());
                output.consume(output.len());
                Ok(Sent::All)
            });
            match outcome.map(|sent| self.exchange.onward(sent, self.now)) {
                None | Some(Onward::Finish) => self.closed = true,
                Some(Onward::Wait) if outcome == Some(Sent::All) => break,
                _ => {}
            }
        }
        sent
    }

    fn say(&mut self, text: &str) {
        self.client.writer().write_all(text.as_bytes()).unwrap();
    }

    fn received(&mut self) -> String {
        let mut text = Vec::new();
        // An error says that nothing more has come.
        let _ = self.client.reader().read_to_end(&mut text);
        String::from_utf8(text).unwrap()
    }
}

#[test]
fn commands_come_and_answers_go() {
    for step in [1, 100, 1 << 20] {
        let mut ends = Ends::ordinary();
        ends.say("echo one\necho two\n");
        ends.carry(step).unwrap();
        assert_eq!(ends.received(), "one\ntwo\n", "in pieces of {step}");
        assert_eq!(ends.client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    }
}

#[test]
fn long_answers_come_by_portions() {
    let mut ends = Ends::ordinary();
    ends.carry(1 << 20).unwrap();
    let size = 40 * OUTPUT_MAX;
    ends.say(&format!("bytes {size}\n"));
    let mut wire = Vec::new();
    ends.client.write_tls(&mut wire).unwrap();
    ends.exchange.receive(&wire, ends.now);
    let back = ends.answers();
    let (mut back, mut got) = (&back[..], 0);
    while !back.is_empty() {
        ends.client.read_tls(&mut back).unwrap();
        ends.client.process_new_packets().unwrap();
        got += ends.received().len();
    }
    assert_eq!(got, size + 1);
    let held = ends.toy.held_max.load(SeqCst);
    assert!(held < runtime::filter::PORTION * 2, "{held} bytes held");
}

#[test]
fn goodbyes_are_said_both_ways() {
    let mut ends = Ends::ordinary();
    ends.say("echo last\n");
    ends.carry(1 << 20).unwrap();
    ends.client.send_close_notify();
    ends.carry(1 << 20).unwrap();
    assert!(ends.closed);
    let state = ends.client.process_new_packets().unwrap();
    assert!(state.peer_has_closed());
    assert_eq!(ends.received(), "last\n");
}

#[test]
fn who_shows_no_certificate_is_not_served() {
    let anonymous = |settings: &Settings| {
        let nobody = Settings { certificate: String::new(), ..settings.clone() };
        nobody.client().unwrap()
    };
    let mut ends = Ends::new(|_| {}, anonymous);
    ends.say("echo x\n");
    let refused = ends.carry(1 << 20);
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!((ends.toy.lines.load(SeqCst), ends.closed), (0, true));
    for clients in [ClientCertificates::No, ClientCertificates::Optional] {
        let mut ends = Ends::new(|settings| settings.clients = clients, anonymous);
        ends.say("echo x\n");
        ends.carry(1 << 20).unwrap();
        assert_eq!(ends.received(), "x\n");
    }
}

#[test]
fn nonsense_and_slowness_end_the_connection() {
    let mut ends = Ends::ordinary();
    ends.exchange.receive(b"*1\r\n$4\r\nPING\r\n", ends.now);
    let alert = ends.answers();
    assert!(ends.closed && alert.first() == Some(&21), "an alert, {alert:?}");
    let mut ends = Ends::ordinary();
    ends.exchange.receive(&[22, 3, 1], ends.now);
    let deadline = ends.exchange.deadline_us().expect("a deadline");
    assert_eq!(deadline, HANDSHAKE_PATIENCE.as_micros() as u64);
    ends.now.mono_us = deadline;
    ends.exchange.notify(runtime::Events::WAKE, ends.now);
    ends.answers();
    assert!(ends.closed);
}

fn bare_filter(settings: &Settings) -> TlsFilter {
    let config = Arc::new(settings.server().unwrap());
    TlsFilter::new(UnbufferedServerConnection::new(config).unwrap())
}

/// Everything that the client has to send.
fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut wire = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut wire).unwrap();
    }
    wire
}

/// The decrypted bytes, and the filter's own answers.
fn feed(filter: &mut TlsFilter, bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut plain, mut wire) = (Vec::new(), Output::new());
    filter.unwrap(bytes, &mut |piece| plain.extend_from_slice(piece), &mut wire).unwrap();
    (plain, wire.to_vec())
}

/// The beginning of a record is kept and counted, and nothing is kept of whole ones.
#[test]
fn only_what_is_unfinished_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let settings = certificates(folder.path());
    let name = ServerName::try_from("varve.test").unwrap();
    let config = Arc::new(settings.client().unwrap());
    let mut client = ClientConnection::new(config, name).unwrap();
    let mut filter = bare_filter(&settings);
    while !filter.is_open() {
        let (_, wire) = feed(&mut filter, &sent(&mut client));
        assert_eq!(filter.held(), 0, "whole messages");
        client.read_tls(&mut &wire[..]).unwrap();
        client.process_new_packets().unwrap();
    }
    client.writer().write_all(b"one").unwrap();
    client.writer().write_all(b"two").unwrap();
    let records = sent(&mut client);
    let (all_but_one, last) = records.split_at(records.len() - 1);
    assert_eq!(feed(&mut filter, all_but_one).0, b"one");
    assert_eq!(filter.held(), records.len() / 2 - 1, "of the second record");
    assert_eq!(feed(&mut filter, last).0, b"two");
    assert_eq!(filter.held(), 0);
}

/// A first message of 65,520 bytes, in records of 1,000.
#[test]
fn a_message_that_never_becomes_whole_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let mut filter = bare_filter(&certificates(folder.path()));
    let (mut wire, mut fed) = (Output::new(), 0);
    let mut record = [&[22, 3, 1, 0x03, 0xE8, 1, 0x00, 0xFF, 0xF0][..], &[0; 996]].concat();
    while filter.unwrap(&record, &mut |_| {}, &mut wire).is_ok() {
        fed += record.len();
        assert!(filter.held() <= fed && fed < 80_000, "{fed} bytes are kept");
        record = [&[22, 3, 1, 0x03, 0xE8][..], &[0; 1000]].concat();
    }
    assert!(fed > 60_000, "refused after {fed} bytes");
}

#[test]
fn versions_and_ciphers_are_those_configured() {
    let old = |settings: &mut Settings| {
        settings.protocols = "TLSv1.2".into();
        settings.ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256".into();
    };
    let mut ends = Ends::new(old, |settings| settings.client().unwrap());
    ends.say("echo x\n");
    ends.carry(1 << 20).unwrap();
    assert_eq!(ends.received(), "x\n");
    assert_eq!(ends.client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    let suite = ends.client.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
}

#[test]
fn what_cannot_be_honoured_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let good = certificates(folder.path());
    let with = |change: fn(&mut Settings)| {
        let mut settings = good.clone();
        change(&mut settings);
        settings.server().expect_err("refused").to_string()
    };
    assert!(with(|s| s.certificate = "/no/such.crt".into()).contains("/no/such.crt"));
    assert!(with(|s| s.key = s.certificate.clone()).contains("no private key"));
    assert!(with(|s| s.certificate = s.authorities.clone()).contains("does not fit"));
    assert!(with(|s| s.authorities.clear()).contains("tls-ca-cert-file"));
    assert!(with(|s| s.protocols = "SSLv3".into()).contains("Invalid tls-protocols"));
    assert!(with(|s| s.protocols = "TLSv1.1".into()).contains("not safe"));
    assert!(with(|s| s.ciphers = "RC4-MD5".into()).contains("none of 'RC4-MD5'"));
}
