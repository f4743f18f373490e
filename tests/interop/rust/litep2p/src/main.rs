//! litep2p as a peer of the interoperability tests: `litep2p-peer drive [--listen] [--listen-ws]`, with the commands
//! connect, connections, identify, ping, streams_sequential, events and close of harness/go/drive.go. Streams are of
//! `/bench/echo/1`, the one protocol that it serves beside identify and ping. It keeps idle connections.

mod echo;

use std::{
    collections::HashMap,
    error::Error,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use litep2p::{
    Litep2p, Litep2pEvent, PeerId,
    config::ConfigBuilder,
    crypto::{PublicKey, ed25519::Keypair},
    protocol::libp2p::{
        identify::{self, IdentifyEvent},
        ping::{self, PingEvent},
    },
    transport::{Endpoint, tcp, websocket},
    types::multiaddr::Multiaddr,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::{mpsc, oneshot},
};

use crate::echo::{Echo, Order};

const VERSION: &str = "litep2p 0.16.0";
const FOREVER: Duration = Duration::from_secs(86_400);

pub type Failure = Box<dyn Error + Send + Sync>;

type Answer = Result<Value, Failure>;
type Dialed = oneshot::Sender<Result<PeerId, String>>;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Command {
    id: Value,
    cmd: String,
    addr: String,
    peer: String,
    n: Option<usize>,
    size: Option<usize>,
    timeout: Option<f64>,
}

#[derive(Default)]
struct Seen {
    events: Vec<Value>,
    identified: HashMap<String, Value>,
    connections: HashMap<String, Vec<Value>>,
    rtts: HashMap<String, Vec<f64>>,
}

#[derive(Clone)]
struct Driver {
    seen: Arc<Mutex<Seen>>,
    dials: mpsc::UnboundedSender<(Multiaddr, Dialed)>,
    echo: mpsc::UnboundedSender<Order>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match drive(std::env::args().skip(1).collect()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peer: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn drive(words: Vec<String>) -> Result<(), Failure> {
    if words.first().map(String::as_str) != Some("drive") {
        return Err("usage: litep2p-peer drive [--listen] [--listen-ws]".into());
    }
    let listen = |option: &str, address: &str| -> Result<Vec<Multiaddr>, Failure> {
        Ok(if words.iter().any(|word| word == option) {
            vec![address.parse()?]
        } else {
            vec![]
        })
    };
    let tcp = listen("--listen", "/ip4/127.0.0.1/tcp/0")?;
    let websocket = listen("--listen-ws", "/ip4/127.0.0.1/tcp/0/ws")?;
    let (identify, mut told) =
        identify::Config::new("stronghold-interop/1.0.0".into(), Some(VERSION.replace(' ', "/")));
    let (ping, mut pings) = ping::Config::default();
    let (echo, orders) = Echo::new();
    let keys = Keypair::generate();
    let key = PublicKey::Ed25519(keys.public()).to_protobuf_encoding();
    let node = Litep2p::new(
        ConfigBuilder::new()
            .with_keypair(keys)
            .with_tcp(tcp::config::Config {
                listen_addresses: tcp,
                nodelay: true,
                ..Default::default()
            })
            .with_websocket(websocket::config::Config {
                listen_addresses: websocket,
                nodelay: true,
                ..Default::default()
            })
            .with_libp2p_identify(identify)
            .with_libp2p_ping(ping)
            .with_user_protocol(Box::new(echo))
            .with_keep_alive_timeout(FOREVER)
            .build(),
    )?;
    say(&json!({
        "ready": true, "peer": node.local_peer_id().to_string(), "addrs": addresses(&node),
        "key": {"type": "Ed25519", "protobuf": hex(&key)}, "pid": std::process::id(), "version": VERSION,
    }));
    let (dials, wanted) = mpsc::unbounded_channel();
    let driver = Driver {
        seen: Arc::default(),
        dials,
        echo: orders,
    };
    tokio::spawn(run(node, wanted, driver.clone()));
    let seen = driver.seen.clone();
    tokio::spawn(async move {
        while let Some(event) = told.next().await {
            identified(&seen, event);
        }
    });
    let seen = driver.seen.clone();
    tokio::spawn(async move {
        while let Some(PingEvent::Ping { peer, ping }) = pings.next().await {
            let rtt = ping.as_secs_f64() * 1e6;
            seen.lock()
                .expect("no panic")
                .rtts
                .entry(peer.to_string())
                .or_default()
                .push(rtt);
        }
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(text) = lines.next_line().await? {
        tokio::spawn(answer(driver.clone(), serde_json::from_str(&text)?));
    }
    Ok(())
}

/// TCP first, without the peer id.
fn addresses(node: &Litep2p) -> Vec<String> {
    let end = format!("/p2p/{}", node.local_peer_id());
    let mut all: Vec<String> = node
        .listen_addresses()
        .map(|address| address.to_string().replace(&end, ""))
        .collect();
    all.sort_by_key(|address| address.ends_with("/ws"));
    all
}

/// The node's task. A dial is answered when its connection stands, or has failed.
async fn run(mut node: Litep2p, mut wanted: mpsc::UnboundedReceiver<(Multiaddr, Dialed)>, driver: Driver) {
    let mut dialing: Vec<Dialed> = vec![];
    loop {
        tokio::select! {
            Some((address, reply)) = wanted.recv() => match node.dial_address(address).await {
                Ok(()) => dialing.push(reply),
                Err(error) => _ = reply.send(Err(format!("{error:?}"))),
            },
            event = node.next_event() => match event {
                Some(Litep2pEvent::ConnectionEstablished { peer, endpoint }) => {
                    connected(&driver.seen, &peer, &endpoint);
                    dialing.drain(..).for_each(|reply| _ = reply.send(Ok(peer)));
                }
                Some(Litep2pEvent::ConnectionClosed { peer, .. }) => {
                    let mut seen = driver.seen.lock().expect("no panic");
                    seen.connections.remove(&peer.to_string());
                    seen.events.push(json!({"event": "disconnected", "peer": peer.to_string()}));
                }
                Some(failed) => dialing.drain(..).for_each(|reply| _ = reply.send(Err(format!("{failed:?}")))),
                None => return,
            },
        }
    }
}

fn connected(seen: &Mutex<Seen>, peer: &PeerId, endpoint: &Endpoint) {
    let direction = if endpoint.is_listener() { "inbound" } else { "outbound" };
    let fields = json!({
        "event": "connected", "peer": peer.to_string(), "remote_addr": endpoint.address().to_string(),
        "direction": direction, "security": "/noise", "muxer": "/yamux/1.0.0",
    });
    let mut seen = seen.lock().expect("no panic");
    seen.connections
        .entry(peer.to_string())
        .or_default()
        .push(fields.clone());
    seen.events.push(fields);
}

fn identified(seen: &Mutex<Seen>, event: IdentifyEvent) {
    let IdentifyEvent::PeerIdentified {
        peer,
        protocol_version,
        user_agent,
        supported_protocols,
        observed_address,
        listen_addresses,
    } = event;
    let fields = json!({
        "protocol_version": protocol_version, "agent_version": user_agent,
        "protocols": supported_protocols.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "observed_addr": observed_address.to_string(),
        "listen_addrs": listen_addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    let mut seen = seen.lock().expect("no panic");
    seen.events
        .push(json!({"event": "identified", "peer": peer.to_string()}));
    seen.identified.insert(peer.to_string(), fields);
}

async fn answer(driver: Driver, command: Command) {
    let id = command.id.clone();
    let timeout = Duration::from_secs_f64(command.timeout.unwrap_or(60.0));
    let result = match tokio::time::timeout(timeout, perform(&driver, &command)).await {
        Ok(result) => result,
        Err(_) => Err("deadline exceeded".into()),
    };
    let mut line = result.unwrap_or_else(|error| json!({"error": error.to_string()}));
    line["ok"] = line.get("error").is_none().into();
    line["id"] = id;
    say(&line);
}

async fn perform(driver: &Driver, command: &Command) -> Answer {
    match command.cmd.as_str() {
        "connect" => {
            let (reply, dialed) = oneshot::channel();
            driver.dials.send((command.addr.parse()?, reply))?;
            let peer = dialed.await??.to_string();
            Ok(json!({"connections": driver.seen.lock().expect("no panic").connections.get(&peer), "peer": peer}))
        }
        "connections" => {
            let seen = driver.seen.lock().expect("no panic");
            Ok(json!({"connections": seen.connections.get(&command.peer).cloned().unwrap_or_default()}))
        }
        "identify" => loop {
            if let Some(fields) = driver.seen.lock().expect("no panic").identified.get(&command.peer) {
                return Ok(fields.clone());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        },
        "ping" => loop {
            if let Some(rtts) = driver.seen.lock().expect("no panic").rtts.get(&command.peer) {
                return Ok(json!({"rtt_us": rtts}));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        },
        "streams_sequential" => {
            let peer: PeerId = command.peer.parse().map_err(|_| "no peer id")?;
            let n = command.n.unwrap_or(1);
            for _ in 0..n {
                echoed(driver, peer, command.size.unwrap_or(64)).await?;
            }
            Ok(json!({"done": n}))
        }
        "events" => Ok(json!({"events": std::mem::take(&mut driver.seen.lock().expect("no panic").events)})),
        "close" => {
            driver
                .echo
                .send(Order::Close(command.peer.parse().map_err(|_| "no peer id")?))?;
            Ok(json!({}))
        }
        other => Err(format!("unknown command {other}").into()),
    }
}

async fn echoed(driver: &Driver, peer: PeerId, size: usize) -> Result<(), Failure> {
    let payload: Vec<u8> = (0..size).map(|i| (i * 31 + i / 251) as u8).collect();
    let (reply, answer) = oneshot::channel();
    driver.echo.send(Order::Echo(peer, payload.clone(), reply))?;
    let received = answer.await??;
    if received != payload {
        return Err(format!("wrong answer: {} bytes for {size}", received.len()).into());
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn say(line: &Value) {
    println!("{line}");
}
