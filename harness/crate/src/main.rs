//! A peer on the published crate `stronghold-p2p`: `drive` does what JSON lines say, `serve` and `client` keep the
//! command line that all compared implementations share (modes seq and conc).

mod bench;
mod drive;
mod messages;
mod node;
mod options;
mod talk;

use std::{error::Error, process::ExitCode};

use options::Options;

pub const VERSION: &str = "stronghold-p2p 0.4.2";

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Outcome {
    let options = Options::parse(std::env::args().skip(1))?;
    match options.command.as_str() {
        "drive" => drive::run(&options).await,
        "serve" => bench::serve(&options).await,
        "client" => bench::client(&options).await,
        other => Err(format!("no command {other}: drive, serve, client").into()),
    }
}
