#!/usr/bin/env python3
"""shutdown.py [ROUNDS]: SIGTERM under load, ROUNDS times on each way to keep data: everything acknowledged is there afterwards.

Four clients write without a pause, each its own numbers in order, pipelined; after a moment the server is told to end, ends with 0, and is
started again. What a client was told last has to be there. ROUNDS is 250 unless given; .ci/run makes a few. The program is $VARVE.
"""
import atexit, os, random, signal, socket, subprocess, sys, tempfile, threading, time

VARVE = os.environ.get("VARVE", "target/release/varve")
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 250
CLIENTS, BATCH, FOLDER_ROUNDS = 4, 16, 25
KEPT = {
    "memory, log": ["--appendonly", "yes"],
    "memory, snapshot": ["--appendonly", "no", "--shutdown-on-sigterm", "save"],
    "sled": ["--storage", "sled"],
    "fjall": ["--storage", "fjall"],
}
RUNTIMES = [["--runtime", "epoll", "--epoll-execution", way] for way in ("inline", "pool")] + [["--runtime", "tokio"], ["--runtime", "threads"], ["--runtime", "uring"]]


def request(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Server:
    def __init__(self, folder, options):
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        words = [VARVE, "--port", str(self.port), "--dir", folder, "--save", ""] + options
        self.log = open(f"{folder}/log", "a")
        self.process = subprocess.Popen(words, stdout=self.log, stderr=self.log)
        atexit.register(self.process.kill)  # whatever happens; one that has ended is left alone
        for _ in range(1000):
            try:
                with self.connect() as stream:
                    stream.sendall(request(b"PING"))
                    if stream.recv(7) == b"+PONG\r\n":
                        return
            except OSError:
                pass
            time.sleep(0.01)
        sys.exit("the server did not start: " + open(f"{folder}/log").read()[-2000:])

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        if code != 0:
            sys.exit(f"it ended with {code}")

    def get(self, key):
        with self.connect() as stream:
            stream.sendall(request(b"GET", key))
            reply = stream.makefile("rb")
            head = reply.readline()
            return 0 if head == b"$-1\r\n" else int(reply.readline())


class Writer(threading.Thread):
    """Counts a key up. A reply says how far the key is, so the last one is what was acknowledged."""

    def __init__(self, server, key):
        super().__init__()
        self.stream, self.key, self.acknowledged, self.wrong = server.connect(), key, 0, None
        self.start()

    def run(self):
        replies = self.stream.makefile("rb")
        try:
            while True:
                self.stream.sendall(request(b"INCR", self.key) * BATCH)
                for _ in range(BATCH):
                    reply = replies.readline()
                    if not reply.endswith(b"\r\n"):
                        return
                    if not reply.startswith(b":"):
                        self.wrong = reply
                        return
                    self.acknowledged = int(reply[1:])
        except OSError:
            return


def rounds(name, options, numbers, chance):
    """Ends in one folder; returns how many of the writers were told something."""
    acknowledged = 0
    with tempfile.TemporaryDirectory() as folder:
        for round in numbers:
            server = Server(folder, options + RUNTIMES[round % len(RUNTIMES)])
            writers = [Writer(server, b"key%d" % n) for n in range(CLIENTS)]
            time.sleep(chance.uniform(0.01, 0.1))
            server.end()
            for writer in writers:
                writer.join()
                if writer.wrong:
                    sys.exit(f"{name}, round {round}: {writer.wrong!r}")
            server = Server(folder, options)
            for writer in writers:
                kept = server.get(writer.key)
                if kept < writer.acknowledged:
                    sys.exit(f"{name}, round {round}: {writer.key} was acknowledged at {writer.acknowledged}, and is {kept}")
                acknowledged += writer.acknowledged > 0
            server.end()
    return acknowledged


def main():
    chance = random.Random(1)
    for name, options in KEPT.items():
        began = time.monotonic()
        # A folder is used for some of them only: a log that grows from end to end takes ever longer to load.
        parts = [range(first, min(first + FOLDER_ROUNDS, ROUNDS)) for first in range(0, ROUNDS, FOLDER_ROUNDS)]
        acknowledged = sum(rounds(name, options, numbers, chance) for numbers in parts)
        if acknowledged < ROUNDS * CLIENTS // 2:
            sys.exit(f"{name}: hardly anything was acknowledged")
        print(f"{name}: {ROUNDS} ends under load, nothing lost ({time.monotonic() - began:.0f} s)", flush=True)


main()
