#!/usr/bin/env python3
"""Writes of every type to a server, at a fixed rate: psync_load.py PORT SECONDS RATE [SEED].

Prints how many commands were sent. Errors of single commands (another type, say) are expected."""
import random
import socket
import sys
import time

port, seconds, rate = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
rng = random.Random(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
BATCH = 100


def encode(*words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


SCRIPT = "redis.call('INCR', KEYS[1]); return redis.call('RPUSH', KEYS[2], ARGV[1], redis.call('TIME')[1])"


def command():
    n, v = rng.randrange(20000), rng.randrange(1000)
    kind = rng.randrange(24)
    return [
        lambda: encode("SET", f"s{n}", "x" * rng.randrange(1, 200)),
        lambda: encode("SET", f"s{n}", v, "EX", rng.choice([1, 1000])),
        lambda: encode("INCRBY", f"n{n}", v),
        lambda: encode("INCRBYFLOAT", f"f{n % 50}", f"{v / 7:.3f}"),
        lambda: encode("APPEND", f"a{n % 500}", v),
        lambda: encode("RPUSH", f"l{n % 300}", v, v + 1),
        lambda: encode("LPOP", f"l{n % 300}"),
        lambda: encode("LMOVE", f"l{n % 300}", f"l{v % 300}", "LEFT", "RIGHT"),
        lambda: encode("SADD", f"S{n % 300}", v, n),
        lambda: encode("SPOP", f"S{n % 300}"),
        lambda: encode("SMOVE", f"S{n % 300}", f"S{v % 300}", v),
        lambda: encode("HSET", f"h{n % 300}", v, n, "f", v),
        lambda: encode("HINCRBY", f"h{n % 300}", "c", v),
        lambda: encode("HDEL", f"h{n % 300}", v),
        lambda: encode("ZADD", f"z{n % 300}", v, n, n, v),
        lambda: encode("ZINCRBY", f"z{n % 300}", "1.5", v),
        lambda: encode("ZPOPMIN", f"z{n % 300}"),
        lambda: encode("XADD", f"x{n % 50}", "MAXLEN", "~", "200", "*", "f", v),
        lambda: encode("DEL", f"s{n}", f"n{v}"),
        lambda: encode("PEXPIRE", f"n{n}", rng.choice([1, 50, 100000])),
        lambda: encode("SELECT", rng.choice([0, 0, 0, 1, 7])),
        lambda: encode("MULTI") + encode("INCR", f"n{n}") + encode("SADD", f"S{v % 300}", n) + encode("EXEC"),
        lambda: encode("EVAL", SCRIPT, 2, f"n{n}", f"l{v % 300}", v),
        lambda: encode("PFADD", f"p{n % 20}", v, n),
    ][kind]()


connection = socket.create_connection(("127.0.0.1", port))
connection.settimeout(30)
began, sent = time.time(), 0
while time.time() - began < seconds:
    connection.sendall(b"".join(command() for _ in range(BATCH)) + encode("ECHO", "batch-done"))
    seen = b""
    while not seen.endswith(b"$10\r\nbatch-done\r\n"):
        seen += connection.recv(1 << 20)
    sent += BATCH
    ahead = sent / rate - (time.time() - began)
    if ahead > 0:
        time.sleep(ahead)
print(sent)
