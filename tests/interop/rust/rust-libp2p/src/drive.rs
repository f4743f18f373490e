//! `drive`: JSON lines in, JSON lines out, with the commands of harness/go/drive.go. Not here: codes of resets, raw,
//! and warnings (rust-libp2p logs nothing unless somebody subscribes).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use libp2p::Stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{Failure, VERSION, actions, handlers, node::Node, options::Options};

/// One line on standard input; each runs on its own.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Command {
    pub id: Value,
    pub cmd: String,
    pub addr: String,
    pub peer: String,
    pub protocol: Option<String>,
    pub n: Option<usize>,
    pub after: usize,
    pub up: u64,
    pub down: u64,
    pub bytes: u64,
    pub size: Option<usize>,
    pub others: usize,
    pub no_echo: bool,
    pub remote_first: bool,
    pub timeout: Option<f64>,
}

#[derive(Clone)]
pub struct Driver {
    pub node: Node,
    pub held: Arc<Mutex<Vec<Arc<tokio::sync::Mutex<Stream>>>>>,
}

pub async fn run(options: &Options) -> Result<(), Failure> {
    let node = Node::start(options, options.driven()?).await?;
    handlers::tests(&node)?;
    say(&json!({
        "ready": true, "peer": node.peer.to_string(), "addrs": node.addresses(), "key": actions::key(&node.key),
        "pid": std::process::id(), "version": VERSION,
    }));
    let driver = Driver {
        node,
        held: Arc::default(),
    };
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(text) = lines.next_line().await? {
        let command: Command = serde_json::from_str(&text)?;
        tokio::spawn(answer(driver.clone(), command));
    }
    Ok(())
}

async fn answer(driver: Driver, command: Command) {
    let id = command.id.clone();
    let timeout = Duration::from_secs_f64(command.timeout.unwrap_or(60.0));
    let result = match tokio::time::timeout(timeout, actions::perform(&driver, command)).await {
        Ok(result) => result,
        Err(_) => Err("deadline exceeded".into()),
    };
    let mut line = match result {
        Ok(fields) => fields,
        Err(error) => json!({"error": error.to_string()}),
    };
    line["ok"] = line.get("error").is_none().into();
    line["id"] = id;
    say(&line);
}

pub fn say(line: &Value) {
    println!("{line}");
}
