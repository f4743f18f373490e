//! What each command of `drive` does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{AsyncReadExt, AsyncWriteExt, future::join_all};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, core::PeerRecord, identity::PublicKey};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::{
    Failure,
    drive::{Command, Driver},
    handlers::{self, ECHO, HALF_CLOSE, PERF, RESET, SINK, SOURCE, drain, zeros, zeros_and_close},
    node::{self, Order},
};

type Answer = Result<Value, Failure>;

pub async fn perform(driver: &Driver, command: Command) -> Answer {
    match command.cmd.as_str() {
        "connect" => connect(driver, &command).await,
        "connections" => Ok(connections(driver, command.peer.parse()?)),
        "identify" => identify(driver, &command).await,
        "add_protocol" => add_protocol(driver, &command),
        "ping" => ping(driver, &command).await,
        "perf" => perf(driver, &command).await,
        "streams_sequential" => streams_sequential(driver, &command).await,
        "streams_concurrent" => streams_concurrent(driver, &command).await,
        "open_hold" => open_hold(driver, &command).await,
        "check_held" => check_held(driver, &command).await,
        "release" => release(driver, &command).await,
        "half_close" => half_close(driver, &command).await,
        "reset" => reset(driver, &command).await,
        "expect_reset" => expect_reset(driver, &command).await,
        "source" => source(driver, &command).await,
        "sink" => sink(driver, &command).await,
        "bulk_with_small" => bulk_with_small(driver, &command).await,
        "events" => Ok(json!({"events": driver.node.take_events()})),
        "listen" => {
            let address: Multiaddr = command.addr.parse()?;
            driver.node.ask(|reply| Order::Listen(address, reply)).await?;
            Ok(json!({}))
        }
        "close" => {
            driver.node.order(Order::Close(command.peer.parse()?));
            Ok(json!({}))
        }
        "close_host" => {
            driver.node.ask(Order::CloseHost).await?;
            Ok(json!({}))
        }
        other => Err(format!("unknown command {other}").into()),
    }
}

async fn connect(driver: &Driver, command: &Command) -> Answer {
    let address: Multiaddr = command.addr.parse()?;
    let peer = driver.node.ask(|reply| Order::Dial(address, reply)).await?;
    Ok(connections(driver, peer))
}

fn connections(driver: &Driver, peer: PeerId) -> Value {
    let seen = driver.node.seen();
    let open = seen.connections.get(&peer).into_iter().flatten();
    let list: Vec<Value> = open
        .map(|(_, endpoint)| node::connection("connection", peer, endpoint))
        .collect();
    json!({"connections": list, "peer": peer.to_string()})
}

async fn identify(driver: &Driver, command: &Command) -> Answer {
    let peer: PeerId = command.peer.parse()?;
    let (info, count) = loop {
        if let Some(answers) = driver.node.seen().identified.get(&peer)
            && answers.len() > command.after
            && let Some(last) = answers.last()
        {
            break (last.clone(), answers.len());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let record = info
        .signed_peer_record
        .map(PeerRecord::from_signed_envelope)
        .transpose()?
        .map(|record| {
            json!({
                "peer": record.peer_id().to_string(), "seq": record.seq(), "addrs": texts(record.addresses()),
            })
        });
    Ok(json!({
        "count": count, "key": key(&info.public_key), "listen_addrs": texts(&info.listen_addrs),
        "protocols": info.protocols.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "observed_addr": info.observed_addr.to_string(), "protocol_version": info.protocol_version,
        "agent_version": info.agent_version, "signed_record": record,
    }))
}

fn texts(addresses: &[Multiaddr]) -> Vec<String> {
    addresses.iter().map(Multiaddr::to_string).collect()
}

pub fn key(key: &PublicKey) -> Value {
    let protobuf: String = key.encode_protobuf().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"type": key.key_type().to_string(), "protobuf": protobuf})
}

/// Served like `/bench/echo/1`; identify pushes it.
fn add_protocol(driver: &Driver, command: &Command) -> Answer {
    let name = command.protocol.as_deref().ok_or("no protocol")?;
    handlers::serve(&driver.node, name, handlers::echo)?;
    let peers: Vec<PeerId> = driver.node.seen().connections.keys().copied().collect();
    for peer in peers {
        driver.node.order(Order::Push(peer));
    }
    Ok(json!({}))
}

/// rust-libp2p pings by its own clock: this waits until it has done so often enough.
async fn ping(driver: &Driver, command: &Command) -> Answer {
    let peer: PeerId = command.peer.parse()?;
    loop {
        let times = driver.node.seen().rtts.get(&peer).cloned().unwrap_or_default();
        if times.len() >= command.n.unwrap_or(1) {
            return Ok(json!({"rtt_us": times}));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn open(driver: &Driver, command: &Command, standard: &str) -> Result<Stream, Failure> {
    let name = command.protocol.clone().unwrap_or_else(|| standard.to_owned());
    let protocol = StreamProtocol::try_from_owned(name)?;
    Ok(driver
        .node
        .control
        .clone()
        .open_stream(command.peer.parse()?, protocol)
        .await?)
}

async fn perf(driver: &Driver, command: &Command) -> Answer {
    let mut stream = open(driver, command, PERF).await?;
    let begin = Instant::now();
    stream.write_all(&command.down.to_be_bytes()).await?;
    zeros_and_close(&mut stream, command.up).await?;
    let (received, result) = drain(&mut stream).await;
    result?;
    if received != command.down {
        return Err(format!("asked for {} bytes, got {received}", command.down).into());
    }
    Ok(json!({"seconds": begin.elapsed().as_secs_f64()}))
}

/// On request-response, unless another protocol is named.
async fn request(driver: &Driver, command: &Command) -> Result<(), Failure> {
    let payload = payload(command);
    let answer = match &command.protocol {
        None => {
            let peer = command.peer.parse()?;
            let body = payload.clone();
            driver.node.ask(|reply| Order::Request(peer, body, reply)).await?
        }
        Some(_) => {
            let mut stream = open(driver, command, ECHO).await?;
            stream.write_all(&payload).await?;
            stream.close().await?;
            let mut answer = vec![];
            stream.read_to_end(&mut answer).await?;
            answer
        }
    };
    same(&payload, &answer)
}

fn payload(command: &Command) -> Vec<u8> {
    (0..command.size.unwrap_or(64))
        .map(|i| (i * 31 + i / 251) as u8)
        .collect()
}

fn same(payload: &[u8], answer: &[u8]) -> Result<(), Failure> {
    if payload != answer {
        return Err(format!("wrong answer: {} bytes for {}", answer.len(), payload.len()).into());
    }
    Ok(())
}

async fn streams_sequential(driver: &Driver, command: &Command) -> Answer {
    let n = command.n.unwrap_or(1);
    for i in 0..n {
        request(driver, command)
            .await
            .map_err(|error| format!("stream {i}: {error}"))?;
    }
    Ok(json!({"done": n}))
}

/// Every stream is open with its first half sent before any of them goes on.
async fn streams_concurrent(driver: &Driver, command: &Command) -> Answer {
    let n = command.n.unwrap_or(1);
    let opened = Barrier::new(n);
    Ok(counted(
        join_all((0..n).map(|_| in_two_halves(driver, command, &opened))).await,
    ))
}

async fn in_two_halves(driver: &Driver, command: &Command, opened: &Barrier) -> Result<(), Failure> {
    let payload = payload(command);
    let (first, second) = payload.split_at(payload.len() / 2);
    let started = async {
        let mut stream = open(driver, command, "/bench/rr/1").await?;
        stream.write_all(first).await?;
        stream.flush().await?;
        Ok::<_, Failure>(stream)
    };
    let started = started.await;
    opened.wait().await;
    let mut stream = started?;
    stream.write_all(second).await?;
    stream.close().await?;
    let mut answer = vec![];
    stream.read_to_end(&mut answer).await?;
    same(&payload, &answer)
}

fn counted(results: Vec<Result<(), Failure>>) -> Value {
    let total = results.len();
    let failures: Vec<Value> = results
        .into_iter()
        .enumerate()
        .filter_map(|(index, result)| {
            result
                .err()
                .map(|error| json!({"index": index, "error": error.to_string()}))
        })
        .collect();
    json!({"done": total - failures.len(), "failed": failures.len(), "failures": failures})
}

/// One byte and, where the other side echoes, its echo.
async fn send_byte(stream: &mut Stream, command: &Command) -> Result<(), Failure> {
    stream.write_all(&[0x5a]).await?;
    stream.flush().await?;
    if !command.no_echo {
        let mut answer = [0];
        stream.read_exact(&mut answer).await?;
        same(&[0x5a], &answer)?;
    }
    Ok(())
}

async fn open_hold(driver: &Driver, command: &Command) -> Answer {
    let mut results = vec![];
    for _ in 0..command.n.unwrap_or(1) {
        let held = async {
            let mut stream = open(driver, command, ECHO).await?;
            send_byte(&mut stream, command).await?;
            driver
                .held
                .lock()
                .expect("no panic")
                .push(Arc::new(tokio::sync::Mutex::new(stream)));
            Ok(())
        };
        results.push(held.await);
    }
    Ok(counted(results))
}

async fn check_held(driver: &Driver, command: &Command) -> Answer {
    let held = driver.held.lock().expect("no panic").clone();
    let mut results = vec![];
    for stream in held {
        results.push(send_byte(&mut *stream.lock().await, command).await);
    }
    Ok(counted(results))
}

async fn release(driver: &Driver, command: &Command) -> Answer {
    let released: Vec<_> = {
        let mut held = driver.held.lock().expect("no panic");
        let n = command.n.filter(|n| *n > 0).unwrap_or(held.len()).min(held.len());
        held.drain(..n).collect()
    };
    for stream in &released {
        stream.lock().await.close().await?;
    }
    Ok(json!({"done": released.len()}))
}

async fn half_close(driver: &Driver, command: &Command) -> Answer {
    if !command.remote_first {
        return streams_sequential(driver, command).await;
    }
    let mut stream = open(driver, command, HALF_CLOSE).await?;
    let (received, result) = drain(&mut stream).await;
    result?;
    let size = command.size.unwrap_or(64);
    zeros_and_close(&mut stream, size as u64).await?;
    Ok(json!({"received": received, "sent": size}))
}

async fn reset(driver: &Driver, command: &Command) -> Answer {
    let mut stream = open(driver, command, ECHO).await?;
    send_byte(&mut stream, command).await?;
    Ok(json!({}))
}

/// Until the stream ends: a reset is an end like any other for rust-libp2p.
async fn expect_reset(driver: &Driver, command: &Command) -> Answer {
    let mut stream = open(driver, command, RESET).await?;
    stream.write_all(&[0x5a]).await?;
    stream.flush().await?;
    let (received, result) = drain(&mut stream).await;
    Ok(json!({"received": received, "told": result.err().map(|error| error.to_string())}))
}

async fn source(driver: &Driver, command: &Command) -> Answer {
    let mut stream = open(driver, command, SOURCE).await?;
    stream.write_all(&command.bytes.to_be_bytes()).await?;
    stream.flush().await?;
    let (received, result) = drain(&mut stream).await;
    result?;
    stream.close().await?;
    Ok(json!({"received": received}))
}

async fn sink(driver: &Driver, command: &Command) -> Answer {
    let mut stream = open(driver, command, SINK).await?;
    zeros(&mut stream, command.bytes).await?;
    stream.close().await?;
    let mut count = [0; 8];
    stream.read_exact(&mut count).await?;
    Ok(json!({"counted": u64::from_be_bytes(count)}))
}

async fn bulk_with_small(driver: &Driver, command: &Command) -> Answer {
    let over = AtomicBool::new(false);
    let small = join_all((0..command.others).map(|_| small_requests(driver, command, &over)));
    let bulk = async {
        let perf_command = Command {
            peer: command.peer.clone(),
            up: command.bytes,
            down: command.down,
            ..Default::default()
        };
        let result = perf(driver, &perf_command).await;
        over.store(true, Ordering::SeqCst);
        result
    };
    let (result, small) = futures::join!(bulk, small);
    let seconds = result?["seconds"].as_f64().ok_or("no time")?;
    let times: Vec<Vec<f64>> = small.into_iter().collect::<Result<_, _>>()?;
    let mut all: Vec<f64> = times.concat();
    all.sort_by(f64::total_cmp);
    Ok(json!({
        "seconds": seconds, "mb_per_s": (command.bytes + command.down) as f64 / 1e6 / seconds, "failures": [],
        "answers": all.len(), "least_answers": times.iter().map(Vec::len).min(),
        "median_ms": all.get(all.len() / 2), "worst_ms": all.last(),
    }))
}

async fn small_requests(driver: &Driver, command: &Command, over: &AtomicBool) -> Result<Vec<f64>, Failure> {
    let mut stream = open(driver, command, ECHO).await?;
    let mut times = vec![];
    let mut answer = [0; 64];
    while !over.load(Ordering::SeqCst) {
        let begin = Instant::now();
        stream.write_all(&[0x5a; 64]).await?;
        stream.flush().await?;
        stream.read_exact(&mut answer).await?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stream.close().await?;
    Ok(times)
}
