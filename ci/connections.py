#!/usr/bin/env python3
"""connections.py [COUNT [ACTIVE]]: COUNT connections held on each runtime, of which ACTIVE send requests.

Shows the resident memory of an idle connection, plain and with TLS, and how long a scrape of /metrics takes meanwhile; no connection
may be dropped. COUNT is 10,000 and ACTIVE 1,000 unless given; .ci/run holds as many where it may. The program is $VARVE, or target/release/varve.
"""
import atexit, os, resource, selectors, socket, ssl, statistics, subprocess, sys, tempfile, time, urllib.request

VARVE = os.environ.get("VARVE", "target/release/varve")
COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
ACTIVE = int(sys.argv[2]) if len(sys.argv) > 2 else COUNT // 10
SECONDS = 3 if COUNT < 10_000 else 10
PING, PONG = b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"
GET, VALUE = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", b"$1\r\nv\r\n"
# Bytes of an idle connection: (plain, TLS); the threads' are stacks, which are not bounded here.
BOUNDS = {"inline": (1024, 10240), "pool": (1024, 10240), "tokio": (2048, 10240), "uring": (1024, 10240), "threads": (None, None)}
RUNTIMES = {
    "inline": ["--runtime", "epoll", "--epoll-execution", "inline"],
    "pool": ["--runtime", "epoll", "--epoll-execution", "pool"],
    "tokio": ["--runtime", "tokio"],
    "uring": ["--runtime", "uring"],
    # Each client needs a thread, about 84 KiB and three files: 10,000 would need 30,000 files. 6,000 were held where 20,000 may be open.
    "threads": ["--runtime", "threads", "--threads", "1024"],
}


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def certificate(folder):
    key, crt = f"{folder}/key", f"{folder}/crt"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                    "-out", crt, "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
                   check=True, capture_output=True)
    return ["--tls-cert-file", crt, "--tls-key-file", key, "--tls-auth-clients", "no"]


def exactly(stream, expected):
    got = b""
    while len(got) < len(expected):
        more = stream.recv(len(expected) - len(got))
        if not more:
            sys.exit(f"a connection was dropped after {got!r}")
        got += more
    if got != expected:
        sys.exit(f"{got!r} instead of {expected!r}")


class Server:
    def __init__(self, folder, options):
        self.port, self.tls, self.admin = free_port(), free_port(), free_port()
        words = [VARVE, "--port", str(self.port), "--tls-port", str(self.tls), "--admin-port", str(self.admin), "--dir", folder,
                 "--save", "", "--maxclients", str(COUNT + 300), "--unauthenticated-max", str(COUNT + 300)]
        self.log = open(f"{folder}/log", "w")
        self.process = subprocess.Popen(words + options, stdout=self.log, stderr=self.log)
        for _ in range(300):
            try:
                stream = self.connect()
                stream.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n")
                exactly(stream, b"+OK\r\n")
                return
            except OSError:
                time.sleep(0.1)
        sys.exit("the server did not start: " + open(f"{folder}/log").read())

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def resident(self):
        """Bytes that are no file's."""
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024

    def settled(self, before, count, bound):
        """Bytes per connection, once they are within the bound, or else after a while: freed pages go with time."""
        end = time.monotonic() + 15
        while True:
            each = (self.resident() - before) / count
            if bound is None or each <= bound or time.monotonic() > end:
                return each
            time.sleep(0.2)

    def scrape(self):
        began = time.monotonic()
        page = urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=30).read()
        assert b"varve_connected_clients" in page
        return (time.monotonic() - began) * 1000

    def stop(self):
        self.process.terminate()
        if self.process.wait(60) != 0:
            sys.exit("it did not end with 0")


def ask(stream):
    stream.sendall(PING)
    exactly(stream, PONG)
    return stream


def plain(server, count, bound):
    # The first ones are not counted: they bring in what all share.
    first = [ask(server.connect()) for _ in range(100)]
    before = server.resident()
    streams = [ask(server.connect()) for _ in range(count)]
    return first + streams, server.settled(before, count, bound)


def drive(streams):
    """The active ones send one request after the other; returns requests a second."""
    selector, answered = selectors.DefaultSelector(), 0
    for stream in streams:
        selector.register(stream, selectors.EVENT_READ)
        stream.sendall(GET)
    began = time.monotonic()
    end = began + SECONDS
    while time.monotonic() < end:
        for key, _ in selector.select(timeout=1):
            exactly(key.fileobj, VALUE)
            key.fileobj.sendall(GET)
            answered += 1
    rate = answered / (time.monotonic() - began)
    for stream in streams:
        exactly(stream, VALUE)
    return rate


def encrypted(server, count, bound):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connect = lambda: context.wrap_socket(socket.create_connection(("127.0.0.1", server.tls), timeout=60))
    first = [ask(connect()) for _ in range(10)]
    before = server.resident()
    streams = [ask(connect()) for _ in range(count)]
    each = server.settled(before, count, bound)
    for stream in first + streams:
        ask(stream).close()
    return each


def main():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit < COUNT + 500:
        sys.exit(f"{limit} files may be open here: too few for {COUNT} connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    failed = False
    print(f"{COUNT} connections, {ACTIVE} active: connections; bytes of an idle one, plain and with TLS; requests/s; a scrape, ms (median, slowest)")
    for name, options in RUNTIMES.items():
        with tempfile.TemporaryDirectory() as folder:
            server = Server(folder, options + certificate(folder))
            atexit.register(server.process.kill)  # whatever happens; one that has ended is left alone
            bounds = BOUNDS[name]
            count = COUNT if name != "threads" else min(COUNT, 800)
            streams, each = plain(server, count, bounds[0])
            idle = [server.scrape() for _ in range(20)]
            rate = drive(streams[:ACTIVE])
            for stream in streams:
                ask(stream)
            for stream in streams:
                stream.close()
            with_tls = encrypted(server, min(count, 2000), bounds[1])
            server.stop()
            # Milliseconds, at the median: the machine has other work.
            over = statistics.median(idle) > 5
            over |= any(bound and got > bound for bound, got in zip(bounds, (each, with_tls)))
            failed |= over
            print(f"{name:8} {count:6} {each:7.0f} {with_tls:7.0f} {rate:9.0f} {statistics.median(idle):6.1f} {max(idle):6.1f}{'  OVER' if over else ''}",
                  flush=True)
    print("threads: 800 at most, because each client needs a thread and three open files")
    sys.exit(failed)


main()
