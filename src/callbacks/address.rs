//! Where callbacks may go: no address of this machine or of the networks around it, unless an operator
//! allows it. Names are checked by what they resolve to when a connection is made, never before. What a proxy
//! resolves them to is not seen: there its own rules stand in for these.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::{Host, Url};

/// What kind of address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservedRange {
    /// `0.0.0.0/8`, `::`.
    Unspecified,
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// RFC 1918.
    Private,
    /// RFC 6598: `100.64.0.0/10`, carriers' and some clouds' own.
    Shared,
    /// `169.254.0.0/16`, `fe80::/10`; clouds serve credentials there.
    LinkLocal,
    /// RFC 4193: `fc00::/7`.
    UniqueLocal,
    /// Many receivers at once, broadcast among them.
    Multicast,
    /// For documentation, benchmarks, protocols; nobody is there.
    Reserved,
    /// IPv6 that carries an IPv4 address through a gateway that nobody named.
    Tunnel,
}

impl fmt::Display for ReservedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::Shared => "a shared (CGNAT) address",
            Self::LinkLocal => "a link-local address",
            Self::UniqueLocal => "a unique local address",
            Self::Multicast => "a multicast or broadcast address",
            Self::Reserved => "a reserved address",
            Self::Tunnel => "an address behind a tunnel",
        })
    }
}

/// Why nothing is sent to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {range}; add it to callbacks.allow_networks if that is meant")]
pub struct RefusedAddress {
    /// The address.
    pub address: IpAddr,
    /// What kind it is.
    pub range: ReservedRange,
}

/// Sees whether something may be sent to `address`, given networks that an operator allows. What leads to an
/// IPv4 address through NAT64 is judged by that address, also where its network is allowed: whoever allows
/// the way has not allowed everything behind it.
pub fn check_address(address: IpAddr, allowed: &[IpNet]) -> Result<(), RefusedAddress> {
    let is_allowed = |address| allowed.iter().any(|network| network.contains(&address));
    let canonical = address.to_canonical();
    let (judged, range) = match canonical {
        IpAddr::V4(v4) => (canonical, reserved_v4(v4)),
        IpAddr::V6(v6) => match behind_nat64(v6) {
            Some(Nat64 { address, is_local }) => {
                if is_local && !is_allowed(canonical) {
                    return Err(RefusedAddress { address: canonical, range: ReservedRange::Tunnel });
                }
                (address.into(), reserved_v4(address))
            }
            None => (canonical, reserved_v6(v6)),
        },
    };
    match range {
        Some(range) if !is_allowed(judged) => Err(RefusedAddress { address, range }),
        _ => Ok(()),
    }
}

/// An IPv4 address that is reached through NAT64.
struct Nat64 {
    address: Ipv4Addr,
    /// Its prefix is one that a network chooses for itself (RFC 8215), so an operator must name it.
    is_local: bool,
}

/// The IPv4 address at the end of one of the well-known prefixes, `64:ff9b::/96` (RFC 6052) or one of 96 bits
/// in `64:ff9b:1::/48` (RFC 8215).
fn behind_nat64(address: Ipv6Addr) -> Option<Nat64> {
    let is_local = match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => false,
        [0x64, 0xff9b, 1, ..] => true,
        _ => return None,
    };
    let [.., a, b, c, d] = address.octets();
    Some(Nat64 { address: Ipv4Addr::new(a, b, c, d), is_local })
}

fn reserved_v4(address: Ipv4Addr) -> Option<ReservedRange> {
    match address.octets() {
        [0, ..] => Some(ReservedRange::Unspecified),
        [127, ..] => Some(ReservedRange::Loopback),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some(ReservedRange::Private),
        [100, 64..=127, ..] => Some(ReservedRange::Shared),
        [169, 254, ..] => Some(ReservedRange::LinkLocal),
        [224..=239, ..] | [255, 255, 255, 255] => Some(ReservedRange::Multicast),
        // Protocols, documentation, 6to4 relays, benchmarks, and what was never given out.
        [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [240..=255, ..] => Some(ReservedRange::Reserved),
        _ => None,
    }
}

fn reserved_v6(address: Ipv6Addr) -> Option<ReservedRange> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(ReservedRange::Unspecified),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(ReservedRange::Loopback),
        // IPv4-compatible, translated (RFC 2765), NAT64, Teredo, 6to4.
        [0, 0, 0, 0, 0 | 0xffff, 0, ..] | [0x64, 0xff9b, ..] | [0x2001, 0, ..] | [0x2002, ..] => {
            Some(ReservedRange::Tunnel)
        }
        [0xfc00..=0xfdff, ..] => Some(ReservedRange::UniqueLocal),
        [0xfe80..=0xfebf, ..] => Some(ReservedRange::LinkLocal),
        [0xff00..=0xffff, ..] => Some(ReservedRange::Multicast),
        // Only 2000::/3 is given out; within it protocols and documentation are not.
        [0x2001, 0x0001..=0x01ff | 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => {
            Some(ReservedRange::Reserved)
        }
        [0x2000..=0x3fff, ..] => None,
        _ => Some(ReservedRange::Reserved),
    }
}

/// Why a text is no URL of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It does not parse, or names no host.
    #[error("is no URL such as https://risk.bank.example/events")]
    Malformed,
    /// It is not encrypted.
    #[error("is not https; set allow_http on the endpoint if its network is trusted")]
    NotHttps,
    /// It speaks another protocol altogether.
    #[error("is neither https nor http")]
    Scheme,
    /// It has a user or a password in it, which logs would show.
    #[error("has a user or password in it; put a header with the credential into the endpoint instead")]
    Credentials,
    /// Nobody can be connected to there.
    #[error("has port 0, which nobody listens on")]
    Port,
    /// It has a fragment, which is never sent.
    #[error("has a #fragment, which no server gets to see")]
    Fragment,
}

/// The URL of an endpoint: HTTPS unless HTTP is allowed, with a host, without credentials or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointUrl(Url);

impl EndpointUrl {
    /// Takes an absolute URL.
    pub fn parse(text: &str, allow_http: bool) -> Result<Self, UrlError> {
        let url = Url::parse(text).map_err(|_| UrlError::Malformed)?;
        match url.scheme() {
            "https" => {}
            "http" if allow_http => {}
            "http" => return Err(UrlError::NotHttps),
            _ => return Err(UrlError::Scheme),
        }
        if url.host().is_none() {
            return Err(UrlError::Malformed);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(UrlError::Fragment);
        }
        if url.port() == Some(0) {
            return Err(UrlError::Port);
        }
        Ok(Self(url))
    }

    /// The URL.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// The host, when it is an address. No resolver is asked about it.
    pub fn address(&self) -> Option<IpAddr> {
        match self.0.host()? {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        }
    }
}

/// Why a text is no URL of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyUrlError {
    /// It does not parse, or has more in it than a proxy's address.
    #[error("is no URL of a proxy such as http://proxy.bank.example:3128")]
    Malformed,
    /// The proxy speaks another protocol.
    #[error("is not http://; no other kind of proxy is spoken to, whatever the endpoint's own URL is")]
    Scheme,
    /// It has a user or a password in it, which no proxy is told.
    #[error(
        "has a user or password in it, which is not sent; have the proxy admit this machine without"
    )]
    Credentials,
}

/// The URL of an HTTP proxy: plain HTTP, a host and perhaps a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUrl(Url);

impl ProxyUrl {
    /// Takes an absolute URL.
    pub fn parse(text: &str) -> Result<Self, ProxyUrlError> {
        let url = Url::parse(text).map_err(|_| ProxyUrlError::Malformed)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ProxyUrlError::Credentials);
        }
        // What is written without a scheme has its host for one.
        if url.cannot_be_a_base() {
            return Err(ProxyUrlError::Malformed);
        }
        if url.scheme() != "http" {
            return Err(ProxyUrlError::Scheme);
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(ProxyUrlError::Malformed);
        }
        Ok(Self(url))
    }

    /// The URL.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Option<String> {
        let url = match EndpointUrl::parse(text, false) {
            Ok(url) => url,
            Err(error) => return Some(error.to_string()),
        };
        check_address(url.address()?, &[]).err().map(|refused| refused.range.to_string())
    }

    #[test]
    fn hostile_urls_are_refused_with_a_reason() {
        for (url, reason) in [
            ("https://127.0.0.1/", "a loopback address"),
            ("https://127.1/", "a loopback address"),
            ("https://2130706433/", "a loopback address"),
            ("https://0x7f.0.0.1/", "a loopback address"),
            ("https://0177.0.0.1/", "a loopback address"),
            ("https://[::1]/", "a loopback address"),
            ("https://[::ffff:127.0.0.1]/", "a loopback address"),
            ("https://[::ffff:7f00:1]/", "a loopback address"),
            ("https://[::127.0.0.1]/", "an address behind a tunnel"),
            ("https://0.0.0.0/", "an unspecified address"),
            ("https://0/", "an unspecified address"),
            ("https://[::]/", "an unspecified address"),
            ("https://10.1.2.3/", "a private address"),
            ("https://172.16.0.1/", "a private address"),
            ("https://172.31.255.255/", "a private address"),
            ("https://192.168.1.1/", "a private address"),
            ("https://[::ffff:192.168.1.1]/", "a private address"),
            ("https://169.254.169.254/latest/meta-data/", "a link-local address"),
            ("https://[::ffff:a9fe:a9fe]/", "a link-local address"),
            ("https://[fe80::1]/", "a link-local address"),
            ("https://[fd00:ec2::254]/", "a unique local address"),
            ("https://100.100.100.200/", "a shared (CGNAT) address"),
            ("https://[64:ff9b::a9fe:a9fe]/", "a link-local address"),
            ("https://[64:ff9b::10.0.0.1]/", "a private address"),
            ("https://[64:ff9b::127.0.0.1]/", "a loopback address"),
            ("https://[64:ff9b:1::8.8.8.8]/", "an address behind a tunnel"),
            ("https://[64:ff9b:2::8.8.8.8]/", "an address behind a tunnel"),
            ("https://[2002:7f00:1::]/", "an address behind a tunnel"),
            ("https://[2001:0:53aa:64c::1]/", "an address behind a tunnel"),
            ("https://224.0.0.1/", "a multicast or broadcast address"),
            ("https://255.255.255.255/", "a multicast or broadcast address"),
            ("https://[ff02::1]/", "a multicast or broadcast address"),
            ("https://198.18.0.1/", "a reserved address"),
            ("https://[2001:db8::1]/", "a reserved address"),
            ("https://[4000::1]/", "a reserved address"),
            ("http://bank.example/", "is not https"),
            ("gopher://bank.example/", "is neither https nor http"),
            ("file:///etc/passwd", "is neither https nor http"),
            ("https://user:secret@bank.example/", "has a user or password"),
            ("https://bank.example/#x", "has a #fragment"),
            ("https://bank.example:0/", "has port 0"),
            ("https://", "is no URL"),
            ("bank.example", "is no URL"),
        ] {
            let found = refusal(url).unwrap_or_else(|| panic!("{url} was not refused"));
            assert!(found.starts_with(reason), "{url}: {found}");
        }
    }

    /// IANA's registries of special-purpose addresses that are not globally reachable, 6to4 relays (RFC 7526),
    /// multicast, and all of IPv6 that was never given out.
    const SPECIAL: [&str; 29] = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "::1/128",
        "64:ff9b:1::/48",
        "100::/64",
        "::/3",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "4000::/2",
        "8000::/1",
        "fc00::/7",
        "fe80::/10",
        "ff00::/8",
    ];

    #[test]
    fn special_ranges_are_refused_from_their_first_to_their_last_address_and_no_further() {
        let special: Vec<IpNet> = SPECIAL.iter().map(|range| range.parse().unwrap()).collect();
        let before = |address| match address {
            IpAddr::V4(v4) => u32::from(v4).checked_sub(1).map(|it| IpAddr::from(Ipv4Addr::from(it))),
            IpAddr::V6(v6) => u128::from(v6).checked_sub(1).map(|it| IpAddr::from(Ipv6Addr::from(it))),
        };
        let after = |address| match address {
            IpAddr::V4(v4) => u32::from(v4).checked_add(1).map(|it| IpAddr::from(Ipv4Addr::from(it))),
            IpAddr::V6(v6) => u128::from(v6).checked_add(1).map(|it| IpAddr::from(Ipv6Addr::from(it))),
        };
        for range in &special {
            for within in [range.network(), range.broadcast()] {
                assert!(check_address(within, &[]).is_err(), "{within} of {range}");
            }
            let outside = [before(range.network()), after(range.broadcast())];
            for neighbour in outside.into_iter().flatten() {
                let is_special = special.iter().any(|range| range.contains(&neighbour));
                let is_refused = check_address(neighbour, &[]).is_err();
                assert_eq!(is_refused, is_special, "{neighbour}, which is next to {range}");
            }
        }
    }

    #[test]
    fn public_addresses_and_names_pass() {
        for url in [
            "https://risk.bank.example/events?tenant=1",
            "https://8.8.8.8:8443/",
            "https://172.15.0.1/",
            "https://172.32.0.1/",
            "https://100.128.0.1/",
            "https://[2606:4700::1111]/",
            "https://[64:ff9b::8.8.8.8]/",
        ] {
            assert_eq!(refusal(url), None, "{url}");
        }
    }

    #[test]
    fn a_proxy_is_named_by_nothing_but_its_address() {
        for url in ["http://proxy.bank.example:3128", "http://10.0.0.1", "http://[fd00::1]:8080/"] {
            assert!(ProxyUrl::parse(url).is_ok(), "{url}");
        }
        for (url, reason) in [
            ("proxy.bank.example:3128", ProxyUrlError::Malformed),
            ("10.0.0.1:3128", ProxyUrlError::Malformed),
            ("http://", ProxyUrlError::Malformed),
            ("http://proxy.bank.example/path", ProxyUrlError::Malformed),
            ("https://proxy.bank.example:3128", ProxyUrlError::Scheme),
            ("socks5://proxy.bank.example:1080", ProxyUrlError::Scheme),
            ("http://user:secret@proxy.bank.example:3128", ProxyUrlError::Credentials),
        ] {
            assert_eq!(ProxyUrl::parse(url), Err(reason), "{url}");
        }
    }

    #[test]
    fn a_network_is_allowed_by_an_operator_in_all_its_spellings() {
        let allowed = ["10.1.0.0/16".parse().unwrap(), "fd00::/16".parse().unwrap()];
        let is_allowed = |text: &str| check_address(text.parse().unwrap(), &allowed).is_ok();
        assert!(is_allowed("10.1.2.3") && is_allowed("::ffff:10.1.2.3") && is_allowed("fd00::7"));
        assert!(!is_allowed("10.2.0.1") && !is_allowed("fd01::7"));
    }

    #[test]
    fn whoever_allows_a_way_through_nat64_allows_nothing_behind_it() {
        let is_allowed = |text: &str, networks: &[&str]| {
            let networks: Vec<IpNet> = networks.iter().map(|text| text.parse().unwrap()).collect();
            check_address(text.parse().unwrap(), &networks).is_ok()
        };
        let both = ["64:ff9b::/96", "64:ff9b:1::/48"];
        assert!(is_allowed("64:ff9b:1::8.8.8.8", &both));
        for hidden in ["169.254.169.254", "10.0.0.1", "127.0.0.1"] {
            for prefix in ["64:ff9b::", "64:ff9b:1::", "64:ff9b:1:7::"] {
                assert!(!is_allowed(&format!("{prefix}{hidden}"), &both), "{prefix}{hidden}");
            }
        }
        assert!(is_allowed("64:ff9b::10.0.0.1", &["10.0.0.0/8"]), "what is allowed is, on every way");
    }
}
