//! The JSON lines between the peer and whoever drives it.

use p2p::{firewall::FirewallRequest, NetworkEvent, ReceiveRequest};
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};

use crate::messages::{Message, View};

/// One line of standard input.
#[derive(Deserialize)]
pub struct Line {
    pub id: u64,
    #[serde(flatten)]
    pub command: Command,
}

/// `number` is the one that an event gave to a question or a request. Without `rule`, `allow` or `message` the
/// channel for the answer is dropped.
#[derive(Deserialize)]
#[serde(tag = "cmd", rename_all = "snake_case")]
pub enum Command {
    Address { peer: String, addr: String },
    Connect { peer: String },
    Ban { peer: String },
    Request { peer: String, message: Message },
    Rule { peer: Option<String>, rule: Option<String> },
    Manual { on: bool },
    Decide { number: u64, rule: Option<String> },
    Approve { number: u64, allow: Option<bool> },
    Answer { number: u64, message: Option<Message> },
}

/// One line of standard output.
pub fn say(line: &impl Serialize) {
    println!("{}", serde_json::to_string(line).expect("a line that is JSON"));
}

pub fn answer(id: u64, result: Result<Value, String>) {
    say(&match result {
        Ok(value) => json!({"id": id, "ok": true, "value": value}),
        Err(error) => json!({"id": id, "ok": false, "error": error}),
    });
}

pub fn question(number: u64, asked: &FirewallRequest<View>) {
    say(&match asked {
        FirewallRequest::PeerSpecificRule { peer, .. } => {
            json!({"event": "rule_query", "number": number, "peer": peer.to_string()})
        }
        FirewallRequest::RequestApproval { peer, request, .. } => {
            json!({"event": "approval", "number": number, "peer": peer.to_string(), "variant": request.0})
        }
    });
}

pub fn request(number: u64, received: &ReceiveRequest<Message, Message>) {
    let peer = received.peer.to_string();
    say(&json!({"event": "request", "number": number, "peer": peer, "message": received.request}));
}

pub fn event(happened: &NetworkEvent) {
    match happened {
        NetworkEvent::InboundFailure { peer, failure, .. } => {
            say(&json!({"event": "failure", "peer": peer.to_string(), "failure": format!("{failure:?}")}));
        }
        NetworkEvent::ConnectionEstablished {
            peer, num_established, ..
        } => say(&json!({"event": "established", "peer": peer.to_string(), "connections": num_established})),
        NetworkEvent::ConnectionClosed {
            peer, num_established, ..
        } => say(&json!({"event": "closed", "peer": peer.to_string(), "connections": num_established})),
        _ => {}
    }
}
