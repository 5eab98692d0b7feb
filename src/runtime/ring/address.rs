//! Socket addresses as the kernel writes them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

pub(super) fn to_native(address: SocketAddr) -> (Box<libc::sockaddr_storage>, libc::socklen_t) {
    // SAFETY: all zeros is a valid sockaddr_storage of no family.
    let mut native: Box<libc::sockaddr_storage> = Box::new(unsafe { std::mem::zeroed() });
    let length = match address {
        SocketAddr::V4(v4) => {
            let short = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is large enough and aligned for every family's address.
            unsafe { (&raw mut *native).cast::<libc::sockaddr_in>().write(short) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let long = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (&raw mut *native).cast::<libc::sockaddr_in6>().write(long) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (native, length as libc::socklen_t)
}

pub(super) fn from_native(native: &libc::sockaddr_storage) -> io::Result<SocketAddr> {
    match i32::from(native.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which address it is; sockaddr_storage is aligned for it.
            let v4 = unsafe { &*(&raw const *native).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Ok(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*(&raw const *native).cast::<libc::sockaddr_in6>() };
            let (ip, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
            Ok(SocketAddr::V6(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id)))
        }
        family => Err(io::Error::other(format!("socket of address family {family}, expected IPv4 or IPv6"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A swapped byte here connects to another host.
    #[test]
    fn addresses_survive_the_way_to_the_kernel_and_back() {
        for text in ["127.0.0.1:9092", "10.1.2.3:65535", "[::1]:1", "[fe80::1%3]:9092"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(from_native(&to_native(address).0).unwrap(), address);
        }
    }
}
