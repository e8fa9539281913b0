//! Addresses and ports of clients as Python objects: many requests come from few addresses (a proxy's, above all) and over
//! connections that were there before, so each object is made once and used again.

use std::net::{IpAddr, SocketAddr};

use pyo3::prelude::*;

use crate::shim;

/// What was made of the keys seen lately, in a direct-mapped table of `SLOTS` places, a power of two. Clients can evict entries,
/// and never make it grow.
struct Recent<K, const SLOTS: usize> {
    slots: Box<[Option<Made<K>>]>,
}

struct Made<K> {
    key: K,
    object: Py<PyAny>,
}

impl<K: PartialEq, const SLOTS: usize> Recent<K, SLOTS> {
    fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| None).collect() }
    }

    /// The object of a key, whose place is the remainder of `hash`.
    #[inline]
    fn get<'py>(
        &mut self,
        hash: usize,
        key: K,
        make: impl FnOnce(&K) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<&Py<PyAny>> {
        let slot = &mut self.slots[hash % SLOTS];
        if !matches!(slot, Some(made) if made.key == key) {
            let object = make(&key)?.unbind();
            *slot = Some(Made { key, object });
        }
        match slot {
            Some(made) => Ok(&made.object),
            None => unreachable!("the slot was filled just now"),
        }
    }
}

/// Addresses without port, as `str`.
pub struct Addresses(Recent<IpAddr, 64>);

impl Addresses {
    /// An empty table.
    pub fn new() -> Self {
        Self(Recent::new())
    }

    /// The text of an address.
    ///
    /// # Errors
    /// `MemoryError`.
    #[inline]
    pub fn text(&mut self, py: Python<'_>, address: IpAddr) -> PyResult<&Py<PyAny>> {
        self.0.get(hash_of(address), address, |address| shim::latin1(py, address.to_string().as_bytes()))
    }
}

/// Ports, as `str`.
pub struct Ports(Recent<u16, 1024>);

impl Ports {
    /// An empty table.
    pub fn new() -> Self {
        Self(Recent::new())
    }

    /// The text of a port.
    ///
    /// # Errors
    /// `MemoryError`.
    #[inline]
    pub fn text(&mut self, py: Python<'_>, port: u16) -> PyResult<&Py<PyAny>> {
        self.0.get(usize::from(port), port, |port| shim::latin1(py, itoa::Buffer::new().format(*port).as_bytes()))
    }
}

/// Addresses with their port, as tuples of `str` and `int`.
pub struct Clients {
    pairs: Recent<SocketAddr, 1024>,
    addresses: Addresses,
}

impl Clients {
    /// An empty table.
    pub fn new() -> Self {
        Self { pairs: Recent::new(), addresses: Addresses::new() }
    }

    /// The tuple of an address.
    ///
    /// # Errors
    /// `MemoryError`.
    #[inline]
    pub fn pair(&mut self, py: Python<'_>, client: SocketAddr) -> PyResult<&Py<PyAny>> {
        let addresses = &mut self.addresses;
        self.pairs.get(usize::from(client.port()), client, |client| {
            let pair = (addresses.text(py, client.ip())?.clone_ref(py), client.port());
            Ok(pair.into_pyobject(py)?.into_any())
        })
    }
}

/// Neighbours in a network differ in their last bits, networks in their first.
#[inline]
fn hash_of(address: IpAddr) -> usize {
    let folded = match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            (bits >> 64) as u64 ^ bits as u64
        }
    };
    // Fibonacci hashing: the highest bits of the product depend on all bits.
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize
}
