//! The host's task, and what the rest of the program sees of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::ConnectedPoint,
    identify, mdns,
    multiaddr::Protocol,
    ping, relay,
    request_response::{Event as Asked, Message, OutboundRequestId},
    swarm::{ConnectionId, SwarmEvent, dial_opts::DialOpts},
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::{
    Failure,
    host::{self, Behaviour, BehaviourEvent},
    options::Options,
};

const STARTED: Duration = Duration::from_secs(10);

type Reply<T> = oneshot::Sender<Result<T, String>>;

pub enum Order {
    Dial(Multiaddr, Reply<PeerId>),
    Request(PeerId, Vec<u8>, Reply<Vec<u8>>),
    Listen(Multiaddr, Reply<()>),
    Push(PeerId),
    Close(PeerId),
    CloseHost(Reply<()>),
}

/// What has happened: events since they were last asked for, and what each peer told.
#[derive(Default)]
pub struct Seen {
    pub events: Vec<Value>,
    pub identified: HashMap<PeerId, Vec<identify::Info>>,
    pub connections: HashMap<PeerId, Vec<(ConnectionId, ConnectedPoint)>>,
    pub rtts: HashMap<PeerId, Vec<f64>>,
    listening: Vec<Multiaddr>,
}

#[derive(Clone)]
pub struct Node {
    pub peer: PeerId,
    pub key: libp2p::identity::PublicKey,
    pub control: libp2p_stream::Control,
    orders: mpsc::UnboundedSender<Order>,
    seen: Arc<Mutex<Seen>>,
}

impl Node {
    /// A host that listens there, and has its place at the relay if one is named.
    pub async fn start(options: &Options, listen: Vec<Multiaddr>) -> Result<Node, Failure> {
        let keys = host::key(&options.key_type)?;
        let key = keys.public();
        let mut swarm = host::build(keys, options).await?;
        let wanted = listen.len() + usize::from(options.via.is_some());
        for address in listen {
            swarm.listen_on(address)?;
        }
        if let Some(relay) = &options.via {
            swarm.listen_on(relay.clone().with(Protocol::P2pCircuit))?;
        }
        let (orders, received) = mpsc::unbounded_channel();
        let node = Node {
            peer: *swarm.local_peer_id(),
            key,
            control: swarm.behaviour().streams.new_control(),
            orders,
            seen: Arc::default(),
        };
        let relay = options.relay;
        tokio::spawn(
            Task {
                swarm,
                seen: node.seen.clone(),
                relay,
                dials: HashMap::new(),
                requests: HashMap::new(),
            }
            .run(received),
        );
        tokio::time::timeout(STARTED, async {
            while node.addresses().len() < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .map_err(|_| "it does not listen")?;
        Ok(node)
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic")
    }

    pub fn take_events(&self) -> Vec<Value> {
        std::mem::take(&mut self.seen().events)
    }

    pub fn add(&self, event: Value) {
        self.seen().events.push(event);
    }

    /// Where it listens, TCP first, without its peer id.
    pub fn addresses(&self) -> Vec<String> {
        let mut all: Vec<String> = self.seen().listening.iter().map(Multiaddr::to_string).collect();
        all.sort_by_key(|address| address.ends_with("/ws"));
        all
    }

    pub fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    pub async fn ask<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        self.order(order(reply));
        Ok(answer.await.map_err(|_| "the host has ended")??)
    }
}

struct Task {
    swarm: Swarm<Behaviour>,
    seen: Arc<Mutex<Seen>>,
    relay: bool,
    dials: HashMap<ConnectionId, Reply<PeerId>>,
    requests: HashMap<OutboundRequestId, Reply<Vec<u8>>>,
}

impl Task {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.happened(event),
                order = orders.recv() => match order {
                    Some(Order::CloseHost(reply)) => return self.close(reply).await,
                    Some(order) => self.obey(order),
                    None => return,
                },
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Dial(address, reply) => {
                let dial = DialOpts::from(address);
                let id = dial.connection_id();
                match self.swarm.dial(dial) {
                    Ok(()) => _ = self.dials.insert(id, reply),
                    Err(error) => _ = reply.send(Err(error.to_string())),
                }
            }
            Order::Request(peer, body, reply) => {
                let id = self.swarm.behaviour_mut().requests.send_request(&peer, body);
                self.requests.insert(id, reply);
            }
            Order::Listen(address, reply) => {
                let _ = reply.send(
                    self.swarm
                        .listen_on(address)
                        .map(|_| ())
                        .map_err(|error| error.to_string()),
                );
            }
            Order::Push(peer) => self.swarm.behaviour_mut().identify.push([peer]),
            Order::Close(peer) => _ = self.swarm.disconnect_peer_id(peer),
            Order::CloseHost(_) => {}
        }
    }

    /// rust-libp2p has no call for it: every connection is closed, then the swarm is dropped.
    async fn close(mut self, reply: Reply<()>) {
        for peer in self.swarm.connected_peers().copied().collect::<Vec<_>>() {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        while self.swarm.connected_peers().next().is_some() {
            let event = self.swarm.select_next_some().await;
            self.happened(event);
        }
        drop(self.swarm);
        let _ = reply.send(Ok(()));
    }

    fn happened(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let mut seen = self.seen.lock().expect("no panic");
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                if self.relay {
                    self.swarm.add_external_address(address.clone());
                }
                seen.listening.push(address);
            }
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                seen.events.push(connection("connected", peer_id, &endpoint));
                seen.connections
                    .entry(peer_id)
                    .or_default()
                    .push((connection_id, endpoint));
                if let Some(reply) = self.dials.remove(&connection_id) {
                    let _ = reply.send(Ok(peer_id));
                }
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                endpoint,
                cause,
                ..
            } => {
                let mut event = connection("disconnected", peer_id, &endpoint);
                event["error"] = cause.map(|error| error.to_string()).into();
                seen.events.push(event);
                seen.connections
                    .entry(peer_id)
                    .or_default()
                    .retain(|(id, _)| *id != connection_id);
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id, error, ..
            } => {
                if let Some(reply) = self.dials.remove(&connection_id) {
                    let _ = reply.send(Err(format!("{error:?}")));
                }
            }
            SwarmEvent::Behaviour(event) => told(&mut seen, &mut self.requests, self.swarm.behaviour_mut(), event),
            _ => {}
        }
    }
}

/// What a behaviour tells.
fn told(
    seen: &mut Seen,
    requests: &mut HashMap<OutboundRequestId, Reply<Vec<u8>>>,
    own: &mut Behaviour,
    event: BehaviourEvent,
) {
    match event {
        BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
            seen.events
                .push(json!({"event": "identified", "peer": peer_id.to_string()}));
            seen.identified.entry(peer_id).or_default().push(info);
        }
        BehaviourEvent::Identify(identify::Event::Error { peer_id, error, .. }) => {
            seen.events.push(json!({
                "event": "identify_failed", "peer": peer_id.to_string(), "error": error.to_string(),
            }));
        }
        BehaviourEvent::Ping(ping::Event { peer, result, .. }) => match result {
            Ok(rtt) => seen.rtts.entry(peer).or_default().push(rtt.as_secs_f64() * 1e6),
            Err(error) => seen.events.push(json!({
                "event": "ping_failed", "peer": peer.to_string(), "error": error.to_string(),
            })),
        },
        BehaviourEvent::Requests(Asked::Message { message, .. }) => match message {
            Message::Request { request, channel, .. } => _ = own.requests.send_response(channel, request),
            Message::Response { request_id, response } => answer(requests, request_id, Ok(response)),
        },
        BehaviourEvent::Requests(Asked::OutboundFailure { request_id, error, .. }) => {
            answer(requests, request_id, Err(error.to_string()));
        }
        BehaviourEvent::Mdns(mdns::Event::Discovered(list)) => discovered(seen, "discovered", &list),
        BehaviourEvent::Mdns(mdns::Event::Expired(list)) => discovered(seen, "expired", &list),
        BehaviourEvent::Circuits(relay::client::Event::ReservationReqAccepted {
            relay_peer_id, renewal, ..
        }) => {
            seen.events
                .push(json!({"event": "reserved", "peer": relay_peer_id.to_string(), "renewal": renewal}));
        }
        _ => {}
    }
}

fn answer(
    requests: &mut HashMap<OutboundRequestId, Reply<Vec<u8>>>,
    id: OutboundRequestId,
    result: Result<Vec<u8>, String>,
) {
    if let Some(reply) = requests.remove(&id) {
        let _ = reply.send(result);
    }
}

/// One event for each peer, with all of its addresses.
fn discovered(seen: &mut Seen, name: &str, list: &[(PeerId, Multiaddr)]) {
    let mut peers: HashMap<PeerId, Vec<String>> = HashMap::new();
    for (peer, address) in list {
        peers.entry(*peer).or_default().push(address.to_string());
    }
    for (peer, addrs) in peers {
        seen.events
            .push(json!({"event": name, "peer": peer.to_string(), "addrs": addrs}));
    }
}

pub fn connection(name: &str, peer: PeerId, endpoint: &ConnectedPoint) -> Value {
    let direction = if endpoint.is_dialer() { "outbound" } else { "inbound" };
    let mut fields = json!({
        "event": name, "peer": peer.to_string(), "remote_addr": endpoint.get_remote_address().to_string(),
        "direction": direction, "security": "/noise", "muxer": "/yamux/1.0.0", "limited": endpoint.is_relayed(),
    });
    if let ConnectedPoint::Listener { local_addr, .. } = endpoint {
        fields["local_addr"] = local_addr.to_string().into();
    }
    fields
}
