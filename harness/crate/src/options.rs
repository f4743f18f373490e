//! The command line: a command, then options of the form `--name value`.

use std::{collections::HashMap, str::FromStr};

const FLAGS: [&str; 1] = ["nodelay"];

#[derive(Clone)]
/// Everything that can be set; which of it matters depends on the command.
pub struct Options {
    pub command: String,
    pub nodelay: bool,
    pub rule: Option<String>,
    pub request_timeout: u64,
    pub connection_timeout: u64,
    pub port: u16,
    pub addr: String,
    pub mode: String,
    pub n: usize,
    pub c: usize,
    pub size: usize,
}

impl Options {
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (words, values) = split(arguments)?;
        let command = words.into_iter().next().ok_or("name a command: drive, serve, client")?;
        let mut values = Values(values);
        let options = Options {
            command,
            nodelay: values.take("nodelay", false)?,
            rule: values.0.remove("rule"),
            request_timeout: values.take("request-timeout", 10)?,
            connection_timeout: values.take("connection-timeout", 10)?,
            port: values.take("port", 0)?,
            addr: values.take("addr", String::new())?,
            mode: values.take("mode", String::new())?,
            n: values.take("n", 0)?,
            c: values.take("c", 32)?,
            size: values.take("size", 64)?,
        };
        match values.0.into_keys().next() {
            Some(name) => Err(format!("no option --{name}")),
            None => Ok(options),
        }
    }
}

struct Values(HashMap<String, String>);

impl Values {
    fn take<T: FromStr>(&mut self, name: &str, default: T) -> Result<T, String> {
        match self.0.remove(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| format!("--{name} {text}")),
        }
    }
}

fn split(mut arguments: impl Iterator<Item = String>) -> Result<(Vec<String>, HashMap<String, String>), String> {
    let (mut words, mut values) = (Vec::new(), HashMap::new());
    while let Some(argument) = arguments.next() {
        let Some(name) = argument.strip_prefix("--") else {
            words.push(argument);
            continue;
        };
        let value = if FLAGS.contains(&name) {
            "true".to_owned()
        } else {
            arguments.next().ok_or(format!("--{name} needs a value"))?
        };
        values.insert(name.to_owned(), value);
    }
    Ok((words, values))
}
