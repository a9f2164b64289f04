//! A raw HTTP/1.1 client: it sends exactly what a test says and shows everything that comes back.
//! One request a connection.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use standin::Standin;

/// The route to the stand-in, and the credential.
#[derive(Clone)]
pub(crate) struct Client<'a> {
    standin: &'a Standin,
    transport: Transport,
    authorization: Option<String>,
}

#[derive(Clone)]
enum Transport {
    Plain,
    Tls,
    Name(String),
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// True if the body is as long as its header says.
    pub(crate) complete: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The status and code of a refusal in the registry's envelope.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let code = &self.json()["errors"][0]["code"];
        (self.status, code.as_str().unwrap_or_default().to_owned())
    }

    /// The message of a refusal in the registry's envelope.
    pub(crate) fn message(&self) -> String {
        let message = &self.json()["errors"][0]["message"];
        message.as_str().unwrap_or_default().to_owned()
    }
}

impl<'a> Client<'a> {
    /// A client of a name behind the proxy.
    pub(crate) fn at(standin: &'a Standin, name: &str) -> Self {
        Self::new(standin, Transport::Name(name.to_owned()))
    }

    /// A client of the plain registry without TLS.
    pub(crate) fn plain(standin: &'a Standin) -> Self {
        Self::new(standin, Transport::Plain)
    }

    /// A client of the plain registry over TLS.
    pub(crate) fn tls(standin: &'a Standin) -> Self {
        Self::new(standin, Transport::Tls)
    }

    fn new(standin: &'a Standin, transport: Transport) -> Self {
        Self {
            standin,
            transport,
            authorization: None,
        }
    }

    /// Sends this `Authorization` from now on.
    pub(crate) fn authorized(mut self, authorization: &str) -> Self {
        self.authorization = Some(authorization.to_owned());
        self
    }

    /// Sends this token from now on.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.authorized(&format!("Bearer {token}"))
    }

    /// Sends this user and password from now on.
    pub(crate) fn basic(self, user: &str, password: &str) -> Self {
        use base64::Engine;
        let credential = format!("{user}:{password}");
        let credential = base64::prelude::BASE64_STANDARD.encode(credential);
        self.authorized(&format!("Basic {credential}"))
    }

    /// The same client without a credential.
    pub(crate) fn anonymous(&self) -> Self {
        Self::new(self.standin, self.transport.clone())
    }

    pub(crate) fn host(&self) -> String {
        match &self.transport {
            Transport::Plain => self.standin.plain_address(),
            Transport::Tls => self.standin.tls_address(),
            Transport::Name(name) => name.clone(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn head(&self, path: &str) -> Answer {
        self.send("HEAD", path, &[], b"")
    }

    /// Sends a request with a body of known length; writes always have a length.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let length = body.len().to_string();
        let mut all = headers.to_vec();
        if !matches!(method, "GET" | "HEAD" | "DELETE") {
            all.push(("content-length", &length));
        }
        self.try_send(method, path, &all, body).unwrap()
    }

    /// Sends a head and a body verbatim, and reads whatever comes back.
    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut stream = self.connect()?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head += &format!("host: {}\r\n", self.host());
        }
        if let Some(authorization) = &self.authorization {
            head += &format!("authorization: {authorization}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        stream.write_all(head.as_bytes())?;
        // The server may answer or reset before it has read everything.
        let written = stream.write_all(body).and_then(|()| stream.flush());
        let mut received = Vec::new();
        match stream.read_to_end(&mut received) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            _ => {}
        }
        if received.is_empty() {
            written?;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(parse(method, &received))
    }

    /// An open connection, for tests that speak HTTP themselves.
    pub(crate) fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let plain = self.standin.plain_address();
        let (stream, name) = match &self.transport {
            Transport::Plain => return Ok(Box::new(TcpStream::connect(plain)?)),
            Transport::Tls => (TcpStream::connect(self.standin.tls_address())?, "127.0.0.1"),
            Transport::Name(name) => (tunnel(self.standin, &format!("{name}:443"))?, name.as_str()),
        };
        let ca = CertificateDer::from_pem_slice(self.standin.ca_pem().as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        Ok(Box::new(StreamOwned::new(connection, stream)))
    }
}

/// Both directions of a connection.
pub(crate) trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Opens a tunnel through the proxy; an error holds the proxy's answer.
pub(crate) fn tunnel(standin: &Standin, target: &str) -> io::Result<TcpStream> {
    let proxy = standin.proxy_url();
    let mut stream = TcpStream::connect(proxy.strip_prefix("http://").unwrap())?;
    write!(
        stream,
        "CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if head.starts_with(b"HTTP/1.1 200") {
        return Ok(stream);
    }
    Err(io::Error::other(
        String::from_utf8_lossy(&head).into_owned(),
    ))
}

fn parse(method: &str, received: &[u8]) -> Answer {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.expect("an answer has a head");
    let head = String::from_utf8_lossy(&received[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let body = received[end + 4..].to_vec();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map(|(_, value)| value.parse::<usize>().unwrap());
    Answer {
        status: status.parse().unwrap(),
        complete: method == "HEAD" || length.is_none_or(|length| length == body.len()),
        headers,
        body,
    }
}
