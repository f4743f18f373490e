//! The protocols of the peer contract, and those that only the tests use (harness/go/handlers.go tells what each does).
//! An error resets the stream: rust-libp2p does so when a stream is dropped that was not closed.

use std::{future::Future, io, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{PeerId, Stream, StreamProtocol};
use serde_json::json;

use crate::{Failure, node::Node};

pub const PERF: &str = "/perf/1.0.0";
pub const ECHO: &str = "/bench/echo/1";
pub const SINK: &str = "/test/sink/1";
pub const SOURCE: &str = "/test/source/1";
pub const RESET: &str = "/test/reset/1";
pub const HALF_CLOSE: &str = "/test/halfclose/1";
const HOLD: &str = "/test/hold/1";
const SLOW: &str = "/test/slow/1";

const CHUNK: usize = 65_536;
const SLOW_CHUNK: usize = 16_384;
const SLOW_PAUSE: Duration = Duration::from_millis(5);

pub type Ended = (u64, io::Result<()>);

/// `/bench/rr/1` is served by request-response itself.
pub fn contract(node: &Node) -> Result<(), Failure> {
    serve(node, PERF, perf)?;
    serve(node, ECHO, echo)
}

pub fn tests(node: &Node) -> Result<(), Failure> {
    contract(node)?;
    serve(node, SINK, sink)?;
    serve(node, SOURCE, source)?;
    serve(node, RESET, reset)?;
    serve(node, HALF_CLOSE, half_close)?;
    serve(node, HOLD, hold)?;
    serve(node, SLOW, slow)
}

/// Each stream ends with an event: the bytes read, and the error if it was none of the remote's end.
pub fn serve<F>(node: &Node, name: &str, handler: fn(Stream) -> F) -> Result<(), Failure>
where
    F: Future<Output = Ended> + Send + 'static,
{
    let protocol = StreamProtocol::try_from_owned(name.to_owned())?;
    let mut incoming = node.control.clone().accept(protocol)?;
    let node = node.clone();
    let name = name.to_owned();
    tokio::spawn(async move {
        while let Some((peer, stream)) = incoming.next().await {
            tokio::spawn(serve_one(node.clone(), name.clone(), peer, handler(stream)));
        }
    });
    Ok(())
}

async fn serve_one(node: Node, name: String, peer: PeerId, handler: impl Future<Output = Ended>) {
    let (bytes, result) = handler.await;
    let mut event = json!({"event": "stream", "protocol": name, "peer": peer.to_string(), "bytes": bytes});
    if let Err(error) = result {
        event["error"] = error.to_string().into();
    }
    node.add(event);
}

async fn perf(mut stream: Stream) -> Ended {
    let mut wanted = [0; 8];
    if let Err(error) = stream.read_exact(&mut wanted).await {
        return (0, Err(error));
    }
    let (received, result) = drain(&mut stream).await;
    if result.is_err() {
        return (received, result);
    }
    (received, zeros_and_close(&mut stream, u64::from_be_bytes(wanted)).await)
}

pub async fn echo(mut stream: Stream) -> Ended {
    let mut buffer = vec![0; CHUNK];
    let mut received = 0;
    loop {
        let n = match stream.read(&mut buffer).await {
            Ok(0) => return (received, stream.close().await),
            Ok(n) => n,
            Err(error) => return (received, Err(error)),
        };
        received += n as u64;
        let written = async {
            stream.write_all(&buffer[..n]).await?;
            stream.flush().await
        };
        if let Err(error) = written.await {
            return (received, Err(error));
        }
    }
}

async fn sink(mut stream: Stream) -> Ended {
    let (received, result) = drain(&mut stream).await;
    if result.is_err() {
        return (received, result);
    }
    (received, count(&mut stream, received).await)
}

async fn slow(mut stream: Stream) -> Ended {
    let mut buffer = vec![0; SLOW_CHUNK];
    let mut received = 0;
    loop {
        tokio::time::sleep(SLOW_PAUSE).await;
        match stream.read(&mut buffer).await {
            Ok(0) => return (received, count(&mut stream, received).await),
            Ok(n) => received += n as u64,
            Err(error) => return (received, Err(error)),
        }
    }
}

async fn count(stream: &mut Stream, received: u64) -> io::Result<()> {
    stream.write_all(&received.to_be_bytes()).await?;
    stream.close().await
}

async fn source(mut stream: Stream) -> Ended {
    let mut wanted = [0; 8];
    if let Err(error) = stream.read_exact(&mut wanted).await {
        return (0, Err(error));
    }
    (8, zeros_and_close(&mut stream, u64::from_be_bytes(wanted)).await)
}

async fn reset(mut stream: Stream) -> Ended {
    let result = stream.read_exact(&mut [0]).await;
    (u64::from(result.is_ok()), result)
}

async fn half_close(mut stream: Stream) -> Ended {
    match stream.close().await {
        Ok(()) => drain(&mut stream).await,
        Err(error) => (0, Err(error)),
    }
}

async fn hold(mut stream: Stream) -> Ended {
    let (received, result) = drain(&mut stream).await;
    match result {
        Ok(()) => (received, stream.close().await),
        Err(error) => (received, Err(error)),
    }
}

pub async fn drain(stream: &mut Stream) -> Ended {
    let mut buffer = vec![0; CHUNK];
    let mut received = 0;
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return (received, Ok(())),
            Ok(n) => received += n as u64,
            Err(error) => return (received, Err(error)),
        }
    }
}

pub async fn zeros(stream: &mut Stream, total: u64) -> io::Result<()> {
    let chunk = vec![0; CHUNK];
    let mut left = total;
    while left > 0 {
        let n = left.min(CHUNK as u64);
        stream.write_all(&chunk[..n as usize]).await?;
        left -= n;
    }
    Ok(())
}

pub async fn zeros_and_close(stream: &mut Stream, total: u64) -> io::Result<()> {
    zeros(stream, total).await?;
    stream.close().await
}
