//! Measures the bytes that connections have sent and the other side has not acknowledged.
//!
//! The kernel reports them for one socket with SIOCOUTQ, which no safe function provides, and for
//! all sockets in `/proc/net/tcp` (proc(5)).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;

/// The lists of the connections of this network namespace.
const TABLES: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];

/// A set of connections, by their local addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct SendQueues(Arc<Mutex<Vec<String>>>);

impl SendQueues {
    /// Adds the connection with this local address.
    pub(super) fn add(&self, own: SocketAddr) {
        let mut all = self.0.lock();
        all.push(table_address(own));
    }

    /// The number of unacknowledged bytes. 0 if the system does not report it.
    pub(crate) fn unacknowledged(&self) -> u64 {
        let mut all = self.0.lock();
        if all.is_empty() {
            return 0;
        }
        let text: String = TABLES
            .iter()
            .filter_map(|table| std::fs::read_to_string(table).ok())
            .collect();
        let rows: Vec<_> = text.lines().filter_map(row).collect();
        // Connections that have ended are removed.
        all.retain(|own| rows.iter().any(|(address, _)| address == own));
        let own = rows
            .iter()
            .filter(|(address, _)| all.iter().any(|own| own == address));
        own.map(|(_, queued)| queued).sum()
    }
}

/// Formats an address as in the tables: each 32 bits in the machine's byte order.
fn table_address(address: SocketAddr) -> String {
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words: String = octets
        .chunks_exact(4)
        .filter_map(|word| word.try_into().ok())
        .map(|word| format!("{:08X}", u32::from_ne_bytes(word)))
        .collect();
    format!("{words}:{:04X}", address.port())
}

/// Returns the local address in a row and its number of unacknowledged bytes.
fn row(line: &str) -> Option<(&str, u64)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let own = fields.next()?;
    let (sending, _) = fields.nth(2)?.split_once(':')?;
    Some((own, u64::from_str_radix(sending, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn unread_bytes_are_unacknowledged() {
        for own in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(own) else {
                eprintln!("{own} is not there, and not tested");
                continue;
            };
            let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut peer, _) = listener.accept().unwrap();
            let queues = SendQueues::default();
            assert_eq!(queues.unacknowledged(), 0);
            queues.add(stream.local_addr().unwrap());
            stream.set_nonblocking(true).unwrap();
            let mut written = 0;
            while let Ok(length) = stream.write(&[0; 65536]) {
                written += length;
            }
            let queued = queues.unacknowledged();
            assert!(
                queued > 0 && queued <= written as u64,
                "{queued} of {written}"
            );
            let mut left = written;
            while left > 0 {
                left -= peer.read(&mut [0; 65536]).unwrap();
            }
            while queues.unacknowledged() > 0 {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn row_is_parsed() {
        let line = "   1: 0100007F:D96A 0100007F:8067 01 0001F400:00000010 03:00001492 00000000";
        assert_eq!(row(line), Some(("0100007F:D96A", 0x1F400)));
        assert_eq!(
            row("  sl  local_address rem_address   st tx_queue rx_queue tr"),
            None
        );
        #[cfg(target_endian = "little")]
        assert_eq!(
            table_address("127.0.0.1:55658".parse().unwrap()),
            "0100007F:D96A"
        );
    }
}
