//! Who is one client: an address, or of IPv6 the network of a subscriber. This machine is one, whichever of its loopback
//! addresses are used: any program can have all 16 million of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::AtomicBool;

/// Bits of an IPv6 address that tell one subscriber from the next; the others are theirs to choose (RFC 4291, 2.5.1).
const NETWORK: u128 = !0 << 64;

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// Stands for all addresses that they have.
    pub(super) address: IpAddr,
    /// They were refused on this connection, for want of a good password.
    pub(super) was_refused: AtomicBool,
}

impl Peer {
    pub(super) fn new(address: IpAddr) -> Self {
        let address = match address.to_canonical() {
            local if local.is_loopback() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
            address => address,
        };
        Self {
            address,
            was_refused: AtomicBool::new(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_client_are_the_same() {
        let of = |text: &str| Peer::new(text.parse().unwrap()).address;
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:3:4:5:6"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        for local in ["127.0.0.2", "127.255.255.254", "::1", "::ffff:127.0.0.3"] {
            assert_eq!(of(local), of("127.0.0.1"), "{local}");
        }
        assert_ne!(of("::2"), of("127.0.0.1"));
        assert_ne!(of("128.0.0.1"), of("127.0.0.1"));
    }
}
