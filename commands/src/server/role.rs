//! `ROLE`: what Sentinel reads besides `INFO replication`.

use engine::cx::Cx;
use engine::failure::Outcome;
use engine::replication::Link;

/// `ROLE`.
pub(super) fn role(cx: &mut Cx<'_>) -> Outcome {
    let (replication, reply) = (&cx.engine.replication, &mut cx.reply);
    let position = replication.out.end();
    if let Some(source) = replication.source() {
        reply.array(5);
        reply.bulk(b"slave");
        reply.bulk(source.host.as_bytes());
        reply.integer(source.port.into());
        reply.bulk(source.link.name().as_bytes());
        let known = source.link == Link::Up;
        reply.integer(if known { position as i64 } else { -1 });
        return Ok(());
    }
    let followers = replication.followers();
    let online: Vec<_> = followers.iter().filter(|f| f.state_name() == "online").collect();
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(position as i64);
    reply.array(online.len());
    for follower in online {
        reply.array(3);
        reply.bulk(follower.ip().as_bytes());
        reply.bulk(follower.announced.port.to_string().as_bytes());
        reply.bulk(follower.ack().position.to_string().as_bytes());
    }
    Ok(())
}
