//! Listener addresses as Kafka writes them: `NAME://HOST:PORT`.

/// One element of `listeners` or `advertised.listeners`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Upper case, `PLAINTEXT` unless given.
    pub name: String,
    /// Empty: every address of the machine.
    pub host: String,
    pub port: u16,
}

impl Endpoint {
    /// `NAME://HOST:PORT`, `HOST:PORT` and `:PORT`; a host with colons stands in brackets.
    pub fn parse(text: &str) -> Result<Endpoint, String> {
        let (name, address) = text.split_once("://").unwrap_or(("PLAINTEXT", text));
        let (host, port) = address.rsplit_once(':').ok_or_else(|| format!("{text}: expected NAME://HOST:PORT"))?;
        let port = port.parse().map_err(|_| format!("{text}: {port:?} is not a port (0 to 65535)"))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Ok(Endpoint { name: name.to_ascii_uppercase(), host: host.to_owned(), port })
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.name, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.name, self.host, self.port)
        }
    }
}
