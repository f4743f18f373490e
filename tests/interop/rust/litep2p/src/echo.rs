//! `/bench/echo/1`, both sides of it, as a protocol of the user's.

use std::collections::HashMap;

use litep2p::{
    PeerId, ProtocolName,
    codec::ProtocolCodec,
    protocol::{Direction, TransportEvent, TransportService, UserProtocol},
    substream::Substream,
    types::SubstreamId,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, oneshot},
};

const CHUNK: usize = 65_536;

pub enum Order {
    /// Send these bytes on a new stream, end it, and tell what came back.
    Echo(PeerId, Vec<u8>, Reply),
    /// Close the connection.
    Close(PeerId),
}

pub type Reply = oneshot::Sender<Result<Vec<u8>, String>>;

pub struct Echo {
    orders: mpsc::UnboundedReceiver<Order>,
    opening: HashMap<SubstreamId, (Vec<u8>, Reply)>,
}

impl Echo {
    pub fn new() -> (Echo, mpsc::UnboundedSender<Order>) {
        let (sender, orders) = mpsc::unbounded_channel();
        (
            Echo {
                orders,
                opening: HashMap::new(),
            },
            sender,
        )
    }

    fn obey(&mut self, order: Order, service: &mut TransportService) {
        match order {
            Order::Echo(peer, payload, reply) => match service.open_substream(peer) {
                Ok(id) => _ = self.opening.insert(id, (payload, reply)),
                Err(error) => _ = reply.send(Err(format!("{error:?}"))),
            },
            Order::Close(peer) => _ = service.force_close(peer),
        }
    }

    fn happened(&mut self, event: TransportEvent) {
        match event {
            TransportEvent::SubstreamOpened {
                direction: Direction::Inbound,
                substream,
                ..
            } => {
                tokio::spawn(serve(substream));
            }
            TransportEvent::SubstreamOpened {
                direction: Direction::Outbound(id),
                substream,
                ..
            } => {
                if let Some((payload, reply)) = self.opening.remove(&id) {
                    tokio::spawn(async move {
                        let result = ask(substream, &payload).await;
                        let _ = reply.send(result.map_err(|error| error.to_string()));
                    });
                }
            }
            TransportEvent::SubstreamOpenFailure { substream, error } => {
                if let Some((_, reply)) = self.opening.remove(&substream) {
                    let _ = reply.send(Err(format!("{error:?}")));
                }
            }
            _ => {}
        }
    }
}

#[async_trait::async_trait]
impl UserProtocol for Echo {
    fn protocol(&self) -> ProtocolName {
        "/bench/echo/1".into()
    }

    fn codec(&self) -> ProtocolCodec {
        ProtocolCodec::Unspecified
    }

    async fn run(mut self: Box<Self>, mut service: TransportService) -> litep2p::Result<()> {
        use futures::StreamExt;
        loop {
            tokio::select! {
                Some(order) = self.orders.recv() => self.obey(order, &mut service),
                event = service.next() => match event {
                    Some(event) => self.happened(event),
                    None => return Ok(()),
                },
            }
        }
    }
}

async fn serve(mut substream: Substream) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let n = substream.read(&mut buffer).await?;
        if n == 0 {
            return substream.shutdown().await;
        }
        substream.write_all(&buffer[..n]).await?;
        substream.flush().await?;
    }
}

async fn ask(mut substream: Substream, payload: &[u8]) -> std::io::Result<Vec<u8>> {
    substream.write_all(payload).await?;
    substream.shutdown().await?;
    let mut answer = vec![];
    substream.read_to_end(&mut answer).await?;
    Ok(answer)
}
