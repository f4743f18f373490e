//! What the command line says.

use std::time::Duration;

use libp2p::Multiaddr;

use crate::Failure;

pub struct Options {
    pub command: String,
    pub host: String,
    pub port: u16,
    pub ws: Option<u16>,
    pub listen: bool,
    pub listen_ws: bool,
    pub mdns: bool,
    pub query_every: Option<Duration>,
    pub relay: bool,
    pub via: Option<Multiaddr>,
    pub key_type: String,
}

impl Options {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, Failure> {
        let mut options = Options {
            command: words.next().ok_or("usage: rust-peer serve|drive [options]")?,
            host: "127.0.0.1".into(),
            port: 0,
            ws: None,
            listen: false,
            listen_ws: false,
            mdns: false,
            query_every: None,
            relay: false,
            via: None,
            key_type: "ed25519".into(),
        };
        while let Some(name) = words.next() {
            let mut value = || words.next().ok_or(format!("{name} needs a value"));
            match name.as_str() {
                "--host" => options.host = value()?,
                "--port" => options.port = value()?.parse()?,
                "--ws" => options.ws = Some(value()?.parse()?),
                "--listen" => options.listen = true,
                "--listen-ws" => options.listen_ws = true,
                "--mdns" => options.mdns = true,
                "--query-every" => options.query_every = Some(Duration::from_secs_f64(value()?.parse()?)),
                "--relay" => options.relay = true,
                "--via" => options.via = Some(value()?.parse()?),
                "--key-type" => options.key_type = value()?,
                _ => return Err(format!("no option {name}").into()),
            }
        }
        Ok(options)
    }

    /// Where `serve` listens.
    pub fn served(&self) -> Result<Vec<Multiaddr>, Failure> {
        let mut listen = vec![self.tcp(self.port, "")?];
        if let Some(port) = self.ws {
            listen.push(self.tcp(port, "/ws")?);
        }
        Ok(listen)
    }

    /// Where `drive` listens.
    pub fn driven(&self) -> Result<Vec<Multiaddr>, Failure> {
        let ends = [(self.listen, ""), (self.listen_ws, "/ws")];
        ends.iter()
            .filter(|(wanted, _)| *wanted)
            .map(|(_, end)| self.tcp(0, end))
            .collect()
    }

    fn tcp(&self, port: u16, end: &str) -> Result<Multiaddr, Failure> {
        Ok(format!("/ip4/{}/tcp/{port}{end}", self.host).parse()?)
    }
}
