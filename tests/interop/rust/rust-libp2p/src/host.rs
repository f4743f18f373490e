//! One rust-libp2p host: TCP, DNS and WebSocket, Noise and Yamux, and the behaviours of the tests. It never closes a
//! connection for being idle.

use std::time::Duration;

use libp2p::{
    PeerId, Swarm, SwarmBuilder, identify, identity, mdns, noise, ping, relay,
    request_response::{self, ProtocolSupport},
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, yamux,
};

use crate::{
    Failure, VERSION,
    options::Options,
    requests::{Bytes, REQUEST},
};

const UNLIMITED: usize = 1_000_000;
/// As many as its Yamux takes: each may fill 256 KiB of the gibibyte that a connection receives at most.
const STREAMS: usize = 4096;
const FOREVER: Duration = Duration::from_secs(86_400);

#[derive(NetworkBehaviour)]
pub struct Behaviour {
    pub identify: identify::Behaviour,
    pub ping: ping::Behaviour,
    pub requests: request_response::Behaviour<Bytes>,
    pub streams: libp2p_stream::Behaviour,
    pub mdns: Toggle<mdns::tokio::Behaviour>,
    pub relay: Toggle<relay::Behaviour>,
    pub circuits: relay::client::Behaviour,
}

pub async fn build(keys: identity::Keypair, options: &Options) -> Result<Swarm<Behaviour>, Failure> {
    let swarm = SwarmBuilder::with_existing_identity(keys)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, muxer)?
        .with_dns()?
        .with_websocket(noise::Config::new, muxer)
        .await?
        .with_relay_client(noise::Config::new, muxer)?
        .with_behaviour(|key, circuits| behaviour(key, circuits, options))?
        .with_swarm_config(|config| config.with_idle_connection_timeout(FOREVER))
        .build();
    Ok(swarm)
}

fn behaviour(
    key: &identity::Keypair,
    circuits: relay::client::Behaviour,
    options: &Options,
) -> Result<Behaviour, Failure> {
    let peer = key.public().to_peer_id();
    let agent = VERSION.replace(' ', "/");
    let requests = request_response::Config::default()
        .with_max_concurrent_streams(UNLIMITED)
        .with_request_timeout(Duration::from_secs(60));
    Ok(Behaviour {
        identify: identify::Behaviour::new(
            identify::Config::new_with_signed_peer_record("stronghold-interop/1.0.0".into(), key)
                .with_agent_version(agent)
                .with_push_listen_addr_updates(true),
        ),
        ping: ping::Behaviour::default(),
        requests: request_response::Behaviour::new([(REQUEST, ProtocolSupport::Full)], requests),
        streams: libp2p_stream::Behaviour::new(),
        mdns: discovery(peer, options)?.into(),
        relay: options.relay.then(|| relay::Behaviour::new(peer, unlimited())).into(),
        circuits,
    })
}

fn discovery(peer: PeerId, options: &Options) -> Result<Option<mdns::tokio::Behaviour>, Failure> {
    if !options.mdns {
        return Ok(None);
    }
    let mut config = mdns::Config::default();
    if let Some(seconds) = options.query_every {
        config.query_interval = seconds;
    }
    Ok(Some(mdns::tokio::Behaviour::new(config, peer)?))
}

/// Places for everybody; what a circuit may carry stays as it is.
fn unlimited() -> relay::Config {
    relay::Config {
        max_reservations: UNLIMITED,
        max_circuits: UNLIMITED,
        max_circuits_per_peer: UNLIMITED,
        reservation_rate_limiters: vec![],
        circuit_src_rate_limiters: vec![],
        ..Default::default()
    }
}

fn muxer() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(STREAMS);
    config
}

pub fn key(name: &str) -> Result<identity::Keypair, Failure> {
    match name {
        "ed25519" => Ok(identity::Keypair::generate_ed25519()),
        "secp256k1" => Ok(identity::Keypair::generate_secp256k1()),
        "ecdsa" => Ok(identity::Keypair::generate_ecdsa()),
        _ => Err(format!("rust-libp2p makes no {name} keys").into()),
    }
}
