//! A node of the crate, as its builder makes it, and the channels that belong to it.

use std::{io, sync::Arc, time::Duration};

use futures::channel::mpsc;
use libp2p::tcp::TokioTcpConfig;
use p2p::{
    firewall::{FirewallRequest, FirewallRules, Rule},
    ChannelSinkConfig, EventChannel, NetworkEvent, ReceiveRequest, StrongholdP2p, StrongholdP2pBuilder,
};

use crate::{
    messages::{Message, View},
    options::Options,
};

/// Far above what is ever under way: nothing blocks, nothing is dropped.
const CAPACITY: usize = 4096;

pub type Node = StrongholdP2p<Message, Message, View>;

/// What the node tells.
pub struct Channels {
    pub questions: mpsc::Receiver<FirewallRequest<View>>,
    pub requests: mpsc::Receiver<ReceiveRequest<Message, Message>>,
    pub events: mpsc::Receiver<NetworkEvent>,
}

/// Builds a node. mDNS and relay are off; with `nodelay` its TCP transport has TCP_NODELAY on, otherwise it is the
/// one that the crate brings.
pub async fn build(options: &Options) -> io::Result<(Node, Channels)> {
    let (ask, questions) = mpsc::channel(CAPACITY);
    let (request, requests) = EventChannel::new(CAPACITY, ChannelSinkConfig::Block);
    let (event, events) = EventChannel::new(CAPACITY, ChannelSinkConfig::Block);
    let mut rules = FirewallRules::empty();
    rules.set_default(options.rule.as_deref().and_then(rule));
    let builder = StrongholdP2pBuilder::new(ask, request, Some(event), rules)
        .with_mdns_support(false)
        .with_relay_support(false)
        .with_request_timeout(Duration::from_secs(options.request_timeout))
        .with_connection_timeout(Duration::from_secs(options.connection_timeout));
    let node = if options.nodelay {
        let transport = TokioTcpConfig::new().nodelay(true);
        let executor = |task| drop(tokio::spawn(task));
        builder.build_with_transport(transport, executor).await?
    } else {
        builder.build().await?
    };
    let channels = Channels {
        questions,
        requests,
        events,
    };
    Ok((node, channels))
}

/// The rule of this name: `allow`, `reject`, `ask`, or `only:VARIANT`, a predicate. Anything else is no rule.
pub fn rule(name: &str) -> Option<Rule<View>> {
    match name {
        "allow" => Some(Rule::AllowAll),
        "reject" => Some(Rule::RejectAll),
        "ask" => Some(Rule::Ask),
        _ => {
            let allowed = name.strip_prefix("only:")?.to_owned();
            let restriction = Arc::new(move |view: &View| view.0 == allowed);
            Some(Rule::Restricted { restriction })
        }
    }
}
