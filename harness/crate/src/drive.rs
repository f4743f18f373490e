//! `drive`: the node does what lines say, and tells what it is asked. Questions and requests wait under a number until
//! they are answered, dropped, or for ever.

use std::{
    collections::HashMap,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc, Mutex,
    },
};

use futures::{channel::oneshot, StreamExt};
use p2p::{
    firewall::{FirewallRequest, Rule},
    NetworkEvent, PeerId,
};
use serde_json::{json, Value};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    messages::{Message, View},
    node::{self, Channels, Node},
    options::Options,
    talk::{self, Command, Line},
    Outcome, VERSION,
};

type Reply = Result<Value, String>;

/// The channels whose other end waits for us.
enum Waiting {
    Rule(oneshot::Sender<Rule<View>>),
    Approval(oneshot::Sender<bool>),
    Response(oneshot::Sender<Message>),
}

#[derive(Default)]
struct Driver {
    waiting: Mutex<HashMap<u64, Waiting>>,
    last: AtomicU64,
    manual: AtomicBool,
}

/// Until standard input ends.
pub async fn run(options: &Options) -> Outcome {
    let (mut node, channels) = node::build(options).await?;
    let address = node.start_listening("/ip4/127.0.0.1/tcp/0".parse()?).await?;
    let driver = Arc::new(Driver::default());
    listen(&driver, channels);
    let peer = node.peer_id().to_string();
    talk::say(&json!({"peer": peer, "addr": address.to_string(), "version": VERSION}));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(text) = lines.next_line().await? {
        let line: Line = serde_json::from_str(&text)?;
        let (node, driver) = (node.clone(), driver.clone());
        tokio::spawn(async move { talk::answer(line.id, driver.obey(node, line.command).await) });
    }
    Ok(())
}

fn listen(driver: &Arc<Driver>, mut channels: Channels) {
    let asked = driver.clone();
    tokio::spawn(async move {
        while let Some(question) = channels.questions.next().await {
            asked.ask(question);
        }
    });
    let requested = driver.clone();
    tokio::spawn(async move {
        while let Some(received) = channels.requests.next().await {
            let number = requested.number();
            talk::request(number, &received);
            if requested.manual.load(Ordering::SeqCst) {
                requested.keep(number, Waiting::Response(received.response_tx));
            } else {
                let _ = received.response_tx.send(received.request.answer());
            }
        }
    });
    tokio::spawn(async move {
        while let Some(event) = channels.events.next().await {
            let event: NetworkEvent = event;
            talk::event(&event);
        }
    });
}

impl Driver {
    fn number(&self) -> u64 {
        self.last.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn keep(&self, number: u64, waiting: Waiting) {
        self.waiting.lock().expect("no panic").insert(number, waiting);
    }

    fn take(&self, number: u64) -> Result<Waiting, String> {
        let found = self.waiting.lock().expect("no panic").remove(&number);
        found.ok_or(format!("nothing waits under {number}"))
    }

    fn ask(&self, question: FirewallRequest<View>) {
        let number = self.number();
        talk::question(number, &question);
        self.keep(
            number,
            match question {
                FirewallRequest::PeerSpecificRule { rule_tx, .. } => Waiting::Rule(rule_tx),
                FirewallRequest::RequestApproval { approval_tx, .. } => Waiting::Approval(approval_tx),
            },
        );
    }

    async fn obey(&self, mut node: Node, command: Command) -> Reply {
        match command {
            Command::Address { peer, addr } => {
                let addr = addr.parse().map_err(|_| format!("no address {addr}"))?;
                node.add_address(id(&peer)?, addr).await;
                Ok(Value::Null)
            }
            Command::Connect { peer } => match node.connect_peer(id(&peer)?).await {
                Ok(address) => Ok(json!(address.to_string())),
                Err(error) => Err(format!("{error:?}")),
            },
            Command::Ban { peer } => {
                node.ban_peer(id(&peer)?).await;
                Ok(Value::Null)
            }
            Command::Request { peer, message } => match node.send_request(id(&peer)?, message).await {
                Ok(answer) => Ok(json!(answer)),
                Err(failure) => Err(format!("{failure:?}")),
            },
            Command::Rule { peer, rule } => set_rule(node, peer, rule).await,
            Command::Manual { on } => {
                self.manual.store(on, Ordering::SeqCst);
                Ok(Value::Null)
            }
            Command::Decide { number, rule } => self.decide(number, rule),
            Command::Approve { number, allow } => self.approve(number, allow),
            Command::Answer { number, message } => self.answer(number, message),
        }
    }

    fn decide(&self, number: u64, rule: Option<String>) -> Reply {
        match (self.take(number)?, rule) {
            (Waiting::Rule(channel), Some(name)) => {
                let rule = node::rule(&name).ok_or(format!("no rule {name}"))?;
                Ok(json!(channel.send(rule).is_ok()))
            }
            (Waiting::Rule(_), None) => Ok(Value::Null),
            _ => Err(format!("{number} is no rule query")),
        }
    }

    fn approve(&self, number: u64, allow: Option<bool>) -> Reply {
        match (self.take(number)?, allow) {
            (Waiting::Approval(channel), Some(allow)) => Ok(json!(channel.send(allow).is_ok())),
            (Waiting::Approval(_), None) => Ok(Value::Null),
            _ => Err(format!("{number} is no approval")),
        }
    }

    fn answer(&self, number: u64, message: Option<Message>) -> Reply {
        match (self.take(number)?, message) {
            (Waiting::Response(channel), Some(message)) => Ok(json!(channel.send(message).is_ok())),
            (Waiting::Response(_), None) => Ok(Value::Null),
            _ => Err(format!("{number} is no request")),
        }
    }
}

/// For one peer or, without one, the default; no rule takes it away.
async fn set_rule(mut node: Node, peer: Option<String>, rule: Option<String>) -> Reply {
    let rule = match rule {
        Some(name) => Some(node::rule(&name).ok_or(format!("no rule {name}"))?),
        None => None,
    };
    match (peer, rule) {
        (None, rule) => node.set_firewall_default(rule).await,
        (Some(peer), Some(rule)) => node.set_peer_rule(id(&peer)?, rule).await,
        (Some(peer), None) => node.remove_peer_rule(id(&peer)?).await,
    }
    Ok(Value::Null)
}

fn id(text: &str) -> Result<PeerId, String> {
    text.parse().map_err(|_| format!("no peer id {text}"))
}
