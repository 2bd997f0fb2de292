"""metrics_move.py: every metric of docs/metrics.md moves. A master with a log, its replica, and a server on sled are given
something of everything, while all three are scraped again and again; a metric has moved when one of its series was seen with
two values, or came after the first scrape and was not zero. Those of a cluster: server/tests/process/cluster.rs."""

import atexit, os, re, shutil, signal, socket, subprocess, sys, tempfile, threading, time, urllib.request

import redis

VARVE = os.environ.get("VARVE", "target/release/varve")
# What cannot be made to move here, and why.
STILL = {
    "shards": "fixed at the start",
    "used_memory_startup_bytes": "measured once",
    "allocator_active_bytes": "pages are kept for later use", "allocator_resident_bytes": "pages are kept for later use",
    "used_memory_rss_bytes": "pages are kept for later use",
    "runtime_panics": "no command panics; server/tests/process/panics.rs",
    "runtime_accept_errors": "needs a machine without files; server/tests/process/sockets.rs",
    "aof_pending_bio_fsync": "a sync takes less than a scrape",
    "aof_delayed_fsync": "needs a slow disk",
    "aof_buffer_length_bytes": "as long as a write takes",
    "mem_aof_buffer_bytes": "as long as a write takes",
    "aof_rewrite_in_progress": "a rewrite takes less than a scrape",
    "rdb_bgsave_in_progress": "a snapshot takes less than a scrape",
    "aof_last_rewrite_seconds": "whole seconds",
    "rdb_last_bgsave_seconds": "whole seconds",
    "lazyfree_pending_objects": "freed before a scrape comes",
    "runtime_queue_depth": "connections do not wait for a reactor's thread",
    "master_link_down_since_seconds": "whole seconds",
    "trace_samples": "needs a collector; server/tests/process/traces.rs",
    "trace_samples_dropped": "needs a collector that hangs; server/tests/process/traces.rs",
}


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def encryption():
    """Options for a TLS port at which one handshake may be under way, and the port."""
    port, folder = free_port(), tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, True)
    key, certificate = f"{folder}/key", f"{folder}/certificate"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words = ["openssl", "req", "-x509", *curve, "-nodes", "-subj", "/CN=here", "-days", "2", "-keyout", key, "-out", certificate]
    subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
    files = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate]
    return ["--tls-port", port, "--tls-handshakes-max", 1, *files], port


class Server:
    def __init__(self, *options):
        self.port, self.admin, self.folder = free_port(), free_port(), tempfile.mkdtemp()
        self.seen, self.scrapes = {}, 0
        atexit.register(shutil.rmtree, self.folder, True)
        self.options = options
        self.start()

    def start(self):
        words = [VARVE, "--port", self.port, "--admin-port", self.admin, "--dir", self.folder, "--enable-debug-command", "yes", *self.options]
        self.process = subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        atexit.register(self.process.kill)

    def ready(self):
        until = time.monotonic() + 20
        while True:
            try:
                return self.client().ping()
            except redis.RedisError:
                if time.monotonic() > until:
                    sys.exit("a server does not start")
                time.sleep(0.02)

    def client(self, **options):
        return redis.Redis(port=self.port, socket_timeout=20, **options)

    def raw(self, data):
        stream = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        stream.sendall(data)
        return stream

    def scrape(self):
        try:
            text = urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10).read().decode()
        except OSError:
            return
        self.scrapes += 1
        for line in text.splitlines():
            if not line.startswith("#"):
                series, value = line.rsplit(" ", 1)
                # A series that comes later was nothing before.
                self.seen.setdefault(series, set() if self.scrapes == 1 else {"0"}).add(value)


def refused(what):
    try:
        what()
    except redis.RedisError:
        return
    sys.exit("this was to be refused")


def users(server):
    client = server.client()
    client.execute_command("ACL", "SETUSER", "few", "on", ">pw", "resetchannels", "&a*", "~a*", "+get", "+publish", "-set")
    few = server.client(username="few", password="pw")
    for words in (["GET", "b"], ["SET", "a", "1"], ["PUBLISH", "b", "1"]):
        refused(lambda: few.execute_command(*words))
    refused(lambda: server.client(username="few", password="wrong").ping())
    client.execute_command("ACL", "SETUSER", "default", ">pw")
    client.config_set("requirepass", "pw")
    waiting = server.raw(b"PING\r\n")
    yield
    waiting.close()
    client.config_set("requirepass", "")


def keys(server):
    client = server.client()
    for turn in range(3):
        client.mset({f"key:{n}": "x" * 100 for n in range(2000)})
        client.get("key:1"), client.get("nothing"), client.set("later", 1, ex=1000)
        client.set("short", 1, px=20)
        client.hset("hash", mapping={"a": 1, "b": 2})
        client.execute_command("HPEXPIRE", "hash", 20, "FIELDS", 1, "a")
        refused(lambda: client.lpush("key:1", 1))
        client.execute_command("DEBUG", "POPULATE", 20000, f"p{turn}", 20)
        client.rpush("list", *range(20000))
        client.execute_command("FLUSHALL", "ASYNC") if turn == 1 else client.unlink("list")
        yield


def limits(server, tls_port):
    client = server.client()
    strangers = [socket.create_connection(("127.0.0.1", tls_port), timeout=20) for _ in range(3)]
    yield
    [stranger.close() for stranger in strangers]
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory", 1 << 20)
    client.set("one", 1)
    yield
    client.config_set("maxmemory", 0)
    client.config_set("client-query-buffer-limit", 1 << 20)
    with server.raw(b"*2\r\n$3\r\nGET\r\n$2000000\r\n" + b"x" * 1500000) as stream:
        stream.settimeout(20)
        try:
            stream.recv(100)
        except OSError:
            pass
    client.config_set("client-query-buffer-limit", "1gb")
    client.config_set("client-output-buffer-limit", "normal 1mb 0 0")
    client.set("large", "x" * 3_000_000)
    unread = [server.raw(b"GET large\r\n" * 8) for _ in range(2)]
    client.config_set("maxclients", 1)
    server.raw(b"PING\r\n").close()
    yield
    client.config_set("maxclients", 5000)
    client.config_set("client-output-buffer-limit", "normal 0 0 0")
    client.config_set("maxmemory-clients", "1mb")
    unread += [server.raw(b"GET large\r\n" * 8) for _ in range(2)]
    yield
    client.config_set("maxmemory-clients", 0)
    client.config_set("rate-limit-client", 10)
    limited = server.client()
    try:
        for _ in range(100):
            limited.ping()
    except redis.RedisError:
        pass
    server.scrape()
    time.sleep(1.5)
    client.config_set("rate-limit-client", 0)
    client.config_set("threads", 2)
    yield
    client.config_set("threads", 1)


def waits(server):
    blocked = server.raw(b"BLPOP nothing-yet 0\r\n")
    watcher = server.client().pipeline()
    watcher.watch("key:1")
    messages = server.client().pubsub()
    messages.subscribe("a"), messages.psubscribe("b*"), messages.ssubscribe("c")
    tracking = server.raw(b"HELLO 3\r\nCLIENT TRACKING ON\r\nGET key:1\r\n")
    prefixes = server.raw(b"HELLO 3\r\nCLIENT TRACKING ON BCAST PREFIX key\r\n")
    client = server.client()
    client.eval("return 1", 0)
    client.execute_command("FUNCTION", "LOAD", "REPLACE", "#!lua name=mine\nredis.register_function('one', function() return 1 end)")
    yield
    for stream in (blocked, tracking, prefixes):
        stream.close()
    watcher.reset(), messages.close()
    client.execute_command("FUNCTION", "FLUSH"), client.script_flush()


def saves(server):
    client = server.client()
    client.set("changed", 1)
    client.bgsave()
    client.execute_command("BGREWRITEAOF")
    yield
    client.config_set("trace", "yes")
    client.get("changed")
    yield
    client.config_set("trace", "no")


def contended(server):
    """Scripts that hold a shard for long, on two threads, so that somebody waits for it."""
    client = server.client()
    client.config_set("threads", 2)
    script = "local n = 0 for i = 1, 300000 do n = n + redis.call('EXISTS', KEYS[1]) end return n"
    ask = lambda: server.client().eval(script, 1, "changed")
    for _ in range(3):
        askers = [threading.Thread(target=ask) for _ in range(4)]
        [asker.start() for asker in askers]
        [asker.join() for asker in askers]
        yield
    client.config_set("threads", 1)


def overload(server):
    """More than a thread can do, and less memory than is in use, so that requests are refused."""
    client = server.client()
    client.execute_command("DEBUG", "POPULATE", 5000, "shed")
    client.config_set("overload-memory-target", 1)
    client.config_set("overload-delay-target", 5)
    until = time.monotonic() + 3

    def flood():
        with server.raw(b"") as stream:
            while time.monotonic() < until:
                stream.sendall(b"KEYS *\r\n" * 20 + b"PING\r\n" * 1000 + b"ECHO that-was-all\r\n")
                last = b""
                while b"that-was-all" not in last and b"OVERLOADED" not in last:
                    last = last[-20:] + stream.recv(1 << 20)

    askers = [threading.Thread(target=flood) for _ in range(16)]
    [asker.start() for asker in askers]
    while time.monotonic() < until:
        yield
    [asker.join() for asker in askers]
    client.config_set("overload-delay-target", 0)
    client.config_set("overload-memory-target", 90)


def follow(master, replica):
    client, at = replica.client(), master.client()
    at.config_set("min-replicas-to-write", 1)
    client.execute_command("REPLICAOF", "127.0.0.1", master.port)
    until = time.monotonic() + 20
    while at.info("replication")["connected_slaves"] < 1 or client.info("replication")["master_link_status"] != "up":
        if time.monotonic() > until:
            sys.exit("the replica does not follow")
        master.scrape(), replica.scrape()
    yield
    at.set("replicated", "x" * 1000)
    replica.process.send_signal(signal.SIGSTOP)
    time.sleep(2.5)
    master.scrape()
    replica.process.send_signal(signal.SIGCONT)
    at.execute_command("CLIENT", "KILL", "TYPE", "replica")
    time.sleep(1.5)
    yield
    # Another history: it cannot go on where it was.
    client.execute_command("REPLICAOF", "NO", "ONE")
    client.set("own", 1)
    yield
    client.execute_command("REPLICAOF", "127.0.0.1", master.port)
    time.sleep(1.5)
    yield
    at.config_set("min-replicas-to-write", 0)
    client.execute_command("REPLICAOF", "127.0.0.1", free_port())
    time.sleep(2.5)
    yield
    client.execute_command("REPLICAOF", "NO", "ONE")


def migrate(server):
    """A downstream that does not answer: its breaker opens."""
    silent = socket.create_server(("127.0.0.1", 0))
    client = server.client()
    client.set("moved", 1)
    for _ in range(8):
        refused(lambda: client.execute_command("MIGRATE", "127.0.0.1", silent.getsockname()[1], "moved", 0, 1000))
        yield
    silent.close()


def restart(server):
    client = server.client()
    client.execute_command("DEBUG", "POPULATE", 300000, "many", 200)
    client.config_set("appendonly", "no")
    yield
    try:
        client.execute_command("SHUTDOWN", "SAVE")
    except redis.RedisError:
        pass
    server.process.wait(30)
    server.start()
    until = time.monotonic() + 20
    while time.monotonic() < until and not any(value == "1" for value in server.seen.get("varve_loading", ())):
        server.scrape()
    server.ready()
    yield


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("it took too long"))
    document = open("docs/metrics.md").read()
    rows = re.findall(r"^\| `(varve_\w+)` \| (\w+) \|", document, re.M)
    secure, tls_port = encryption()
    master = Server(*secure, "--appendonly", "yes", "--appendfsync", "always", "--threads", "1", "--shards", "64", "--save", "", "--repl-diskless-sync-delay", "0")
    replica = Server("--repl-diskless-sync-delay", "0", "--save", "")
    on_disk = Server("--storage", "sled", "--save", "")
    servers = [master, replica, on_disk]
    [server.ready() for server in servers]
    began = time.monotonic()
    [server.scrape() for server in servers]
    on_disk.client().mset({f"key:{n}": os.urandom(2000) for n in range(2000)})
    parts = [users(master), keys(master), limits(master, tls_port), waits(master), saves(master), contended(master), overload(master),
             follow(master, replica), migrate(master), restart(master)]
    for part in parts:
        for _ in part:
            [server.scrape() for server in servers]
        [server.scrape() for server in servers]
    time.sleep(1)
    [server.scrape() for server in servers]
    moved = set()
    for server in servers:
        for series, values in server.seen.items():
            if len({float(value) for value in values}) > 1:
                moved.add(series.split("{")[0])
    is_moved = lambda name, kind: any(name + end in moved for end in ("", "_total", "_count"))
    still = [name for name, kind in rows if not is_moved(name, kind)]
    unexplained = [name for name in still if name.removeprefix("varve_") not in STILL and not name.startswith("varve_cluster_")]
    took = time.monotonic() - began
    print(f"{len(rows) - len(still)} of {len(rows)} metrics moved in {took:.0f} s; not here:")
    for name in still:
        print(f"    {name}: {STILL.get(name.removeprefix('varve_'), 'in the test of clusters')}")
    if unexplained:
        sys.exit(f"not moved: {unexplained}")


main()
