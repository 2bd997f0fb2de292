"""redis-py's RedisCluster against three nodes with three groups: PROGRAM PORT 0, where PORT is one of the nodes."""

import sys

import redis
from redis.cluster import RedisCluster

PORT = int(sys.argv[1])


def main():
    cluster = RedisCluster(host="127.0.0.1", port=PORT, decode_responses=True)
    assert len(cluster.get_primaries()) == 3, cluster.get_nodes()
    keys = [f"key:{number}" for number in range(300)]
    for key in keys:
        assert cluster.set(key, 1)
    pipeline = cluster.pipeline()
    for key in keys:
        pipeline.incr(key)
    assert pipeline.execute() == [2] * len(keys)
    assert cluster.mget_nonatomic(keys) == ["2"] * len(keys)
    # Each node shows what it leads, so that together they show each key once.
    assert sorted(cluster.scan_iter(count=50)) == sorted(keys)
    assert cluster.dbsize(target_nodes=RedisCluster.PRIMARIES) == len(keys)
    assert len(cluster.keys(target_nodes=RedisCluster.PRIMARIES)) == len(keys)
    assert cluster.delete(*keys[:3]) == 3
    script = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
    assert cluster.eval(script, 1, keys[4], 5) == 7
    try:
        cluster.execute_command("MSET", "key:1", "x", "key:2", "y")
    except redis.exceptions.RedisClusterException as error:
        assert "slot" in str(error), error
    else:
        raise AssertionError("keys of two slots are one command")
    assert cluster.flushall()
    assert cluster.dbsize(target_nodes=RedisCluster.PRIMARIES) == 0
    print(f"redis-py {redis.__version__}, RedisCluster: ok")


main()
