//! rust-libp2p as a peer of the interoperability tests, with the command line of harness/go:
//!
//!   rust-peer serve [--port P] [--ws PORT] [options]    one JSON line when it listens, one for each event, until SIGTERM
//!   rust-peer drive [--listen] [--listen-ws] [options]  driven by JSON lines (drive.rs)
//!
//! Options: --host H (127.0.0.1), --mdns, --query-every SECONDS, --relay (serves circuits), --via RELAY (reserves a
//! place there), --key-type K.

mod actions;
mod drive;
mod handlers;
mod host;
mod node;
mod options;
mod requests;

use std::{error::Error, process::ExitCode};

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{node::Node, options::Options};

pub const VERSION: &str = "rust-libp2p 0.57.1";

pub type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peer: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failure> {
    let options = Options::parse(std::env::args().skip(1))?;
    match options.command.as_str() {
        "serve" => serve(&options).await,
        "drive" => drive::run(&options).await,
        other => Err(format!("no command {other}: serve, drive").into()),
    }
}

async fn serve(options: &Options) -> Result<(), Failure> {
    let node = Node::start(options, options.served()?).await?;
    handlers::contract(&node)?;
    let addrs = node.addresses();
    let addr = format!("{}/p2p/{}", addrs.first().ok_or("no listen address")?, node.peer);
    drive::say(&json!({
        "peer": node.peer.to_string(), "addr": addr, "addrs": addrs, "pid": std::process::id(), "version": VERSION,
    }));
    let mut told = tokio::time::interval(std::time::Duration::from_millis(20));
    let mut terminated = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            _ = told.tick() => node.take_events().iter().filter(|event| event["event"] != "stream").for_each(drive::say),
            _ = terminated.recv() => return Ok(()),
        }
    }
}
