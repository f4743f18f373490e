//! `serve` and `client`: requests as the other compared implementations make them, in the crate's own protocol, each
//! a text that comes back. The firewall has a default of allow.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc, Mutex,
    },
    time::{Duration, Instant},
};

use futures::{future::try_join_all, StreamExt};
use p2p::{Multiaddr, PeerId};
use serde_json::json;
use tokio::signal::unix::{signal, SignalKind};

use crate::{
    messages::Message,
    node::{self, Node},
    options::Options,
    talk, Outcome, VERSION,
};

const WARM_UP: usize = 50;

type Times = Result<Vec<Duration>, String>;

/// Answers until SIGTERM.
pub async fn serve(options: &Options) -> Outcome {
    let (mut node, mut channels) = node::build(&allowing(options)).await?;
    let address = node
        .start_listening(format!("/ip4/127.0.0.1/tcp/{}", options.port).parse()?)
        .await?;
    tokio::spawn(async move { while channels.events.next().await.is_some() {} });
    tokio::spawn(async move {
        while let Some(received) = channels.requests.next().await {
            let _ = received.response_tx.send(received.request);
        }
    });
    let peer = node.peer_id();
    let pid = std::process::id();
    talk::say(&json!({
        "peer": peer.to_string(), "addr": format!("{address}/p2p/{peer}"), "pid": pid, "version": version(options),
    }));
    signal(SignalKind::terminate())?.recv().await;
    Ok(())
}

/// Measures one mode and prints its line.
pub async fn client(options: &Options) -> Outcome {
    let (mut node, mut channels) = node::build(&allowing(options)).await?;
    tokio::spawn(async move { while channels.events.next().await.is_some() {} });
    let (address, peer) = options.addr.rsplit_once("/p2p/").ok_or("--addr needs a peer id")?;
    let (address, peer): (Multiaddr, PeerId) = (address.parse()?, peer.parse()?);
    node.add_address(peer, address).await;
    node.connect_peer(peer).await?;
    let (n, at_a_time) = match options.mode.as_str() {
        "seq" => (at_least(options.n, 2000), 1),
        "conc" => (at_least(options.n, 5000), options.c),
        other => return Err(format!("no mode {other}: seq, conc").into()),
    };
    let asker = Asker {
        node,
        peer,
        text: "x".repeat(options.size),
    };
    asker.clone().ask(&AtomicUsize::new(WARM_UP.min(n))).await?;
    let begin = Instant::now();
    let mut times = asker.ask_together(n, at_a_time).await?;
    let seconds = begin.elapsed().as_secs_f64();
    times.sort();
    talk::say(&json!({
        "req_per_s": n as f64 / seconds, "median_ms": quantile(&times, 0.5), "p99_ms": quantile(&times, 0.99),
        "failed": 0, "mode": options.mode, "version": version(options),
    }));
    Ok(())
}

#[derive(Clone)]
struct Asker {
    node: Node,
    peer: PeerId,
    text: String,
}

impl Asker {
    /// Requests one after the other, as long as any are left.
    async fn ask(mut self, left: &AtomicUsize) -> Times {
        let mut times = Vec::new();
        while left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
            .is_ok()
        {
            let begin = Instant::now();
            let request = Message::Text(self.text.clone());
            match self.node.send_request(self.peer, request).await {
                Ok(Message::Text(answer)) if answer == self.text => times.push(begin.elapsed()),
                other => return Err(format!("wrong answer: {other:?}")),
            }
        }
        Ok(times)
    }

    async fn ask_together(&self, n: usize, at_a_time: usize) -> Times {
        let left = Arc::new(AtomicUsize::new(n));
        let times = Arc::new(Mutex::new(Vec::with_capacity(n)));
        let workers = (0..at_a_time).map(|_| {
            let (asker, left, times) = (self.clone(), left.clone(), times.clone());
            tokio::spawn(async move {
                let measured = asker.ask(&left).await?;
                times.lock().expect("no panic").extend(measured);
                Ok::<(), String>(())
            })
        });
        for outcome in try_join_all(workers).await.map_err(|error| error.to_string())? {
            outcome?;
        }
        let measured = std::mem::take(&mut *times.lock().expect("no panic"));
        Ok(measured)
    }
}

fn allowing(options: &Options) -> Options {
    Options {
        rule: Some("allow".to_owned()),
        ..options.clone()
    }
}

fn at_least(n: usize, default: usize) -> usize {
    if n == 0 {
        default
    } else {
        n
    }
}

fn quantile(times: &[Duration], q: f64) -> f64 {
    let place = (times.len() as f64 * q) as usize;
    times[place.min(times.len() - 1)].as_secs_f64() * 1e3
}

fn version(options: &Options) -> String {
    let form = if options.nodelay {
        "with TCP_NODELAY"
    } else {
        "as shipped"
    };
    format!("{VERSION}, {form}")
}
