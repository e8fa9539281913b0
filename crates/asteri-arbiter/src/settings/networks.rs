//! Networks of trusted peers: `127.0.0.1`, `10.0.0.0/8`, `::1`, `*`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The peers whose word about the client is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    all: bool,
    networks: Vec<Network>,
}

impl Networks {
    /// From texts that [`Kind::Networks`](super::kind::Kind::Networks) has accepted; others are left out.
    pub(super) fn new(texts: &[String]) -> Self {
        Self {
            all: texts.iter().any(|text| text == "*"),
            networks: texts.iter().filter_map(|text| text.parse().ok()).collect(),
        }
    }

    /// Whether a peer is trusted. `None` is a peer on a Unix socket: only processes of this machine get there, and the
    /// mode of the socket decides which, so they are trusted as in Gunicorn.
    #[must_use]
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        let Some(peer) = peer else { return true };
        // A dual-stack socket shows IPv4 peers as ::ffff:a.b.c.d.
        let peer = peer.to_canonical();
        self.all || self.networks.iter().any(|network| network.contains(peer))
    }

    /// Whether every peer is trusted (`*`).
    #[must_use]
    pub fn is_everyone(&self) -> bool {
        self.all
    }
}

/// An address, or a network in CIDR notation. The bits after the prefix are zero: `192.168.1.1/24` is more often a
/// mistake than a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    fn contains(&self, peer: IpAddr) -> bool {
        match (self.address, peer) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                masked(peer, self.prefix) == self.address
            }
            _ => false,
        }
    }

    /// The network that an address with host bits lies in, for suggestions.
    pub(super) fn without_host_bits(text: &str) -> Option<Self> {
        let (address, prefix) = split(text)?;
        Some(Self { address: masked(address, prefix), prefix })
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = split(text).ok_or(())?;
        if masked(address, prefix) == address { Ok(Self { address, prefix }) } else { Err(()) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn split(text: &str) -> Option<(IpAddr, u32)> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => most,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
    };
    (prefix <= most).then_some((address, prefix))
}

fn masked(address: IpAddr, prefix: u32) -> IpAddr {
    match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(text: &str) -> Networks {
        Networks::new(&text.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn membership() {
        let some = networks("127.0.0.1,10.0.0.0/8,::1,fd00::/8");
        for inside in ["127.0.0.1", "10.1.2.3", "::1", "fd12::1", "::ffff:10.0.0.1"] {
            assert!(some.trusts(inside.parse().ok()), "{inside}");
        }
        for outside in ["127.0.0.2", "11.0.0.0", "::2", "fe80::1", "::ffff:11.0.0.1", "::10.0.0.1"] {
            assert!(!some.trusts(outside.parse().ok()), "{outside}");
        }
        assert!(networks("0.0.0.0/0").trusts("203.0.113.9".parse().ok()));
        assert!(!networks("0.0.0.0/0").trusts("2001:db8::1".parse().ok()));
        assert!(networks("*").trusts("2001:db8::1".parse().ok()));
        assert!(!Networks::default().trusts("127.0.0.1".parse().ok()));
        assert!(Networks::default().trusts(None));
    }

    #[test]
    fn malformed() {
        for text in ["", "localhost", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::1/129", "10.0.0"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        assert_eq!(
            Network::without_host_bits("192.168.1.1/24").map(|n| n.to_string()).as_deref(),
            Some("192.168.1.0/24")
        );
    }
}
