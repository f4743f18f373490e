//! What is asked and answered: one variant of each shape that serde gives an enum in JSON.

use p2p::firewall::FwRequest;
use serde::{Deserialize, Serialize};

/// A message. The answer to one is of the same type, so that an echo shows whether every shape survives.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Message {
    Ping,
    Pong,
    Text(String),
    Bytes(Vec<u8>),
    Pair(i64, String),
    Named {
        key: Vec<u8>,
        n: u64,
    },
    Maybe(Option<Vec<u8>>),
    /// A unit struct, a newtype struct, a struct and a map inside a message.
    Nested {
        unit: Unit,
        wrapped: Wrapped,
        point: Point,
        flags: std::collections::BTreeMap<String, bool>,
    },
    Outcome(Result<f64, String>),
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Unit;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Wrapped(pub Vec<u8>);

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Point {
    pub x: i64,
    pub label: Option<String>,
}

impl Message {
    /// What a server that is not told otherwise answers.
    pub fn answer(self) -> Self {
        match self {
            Message::Ping => Message::Pong,
            other => other,
        }
    }

    fn variant(&self) -> &'static str {
        match self {
            Message::Ping => "Ping",
            Message::Pong => "Pong",
            Message::Text(_) => "Text",
            Message::Bytes(_) => "Bytes",
            Message::Pair(..) => "Pair",
            Message::Named { .. } => "Named",
            Message::Maybe(_) => "Maybe",
            Message::Nested { .. } => "Nested",
            Message::Outcome(_) => "Outcome",
        }
    }
}

/// What the firewall sees of a message: its variant.
#[derive(Clone, Debug)]
pub struct View(pub &'static str);

impl FwRequest<Message> for View {
    fn from_request(request: &Message) -> Self {
        View(request.variant())
    }
}
