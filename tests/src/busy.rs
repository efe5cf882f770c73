//! A host that is not empty: a firewall of its own that drops, somebody else's containers behind a bridge, two
//! ways out, one of them narrow, and machines beyond that answer.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    Elsewhere, Host, Namespace,
    frame::{ALL_NODES, Frame, multicast},
    poll,
};

/// Where a machine far away answers, by each family.
pub const FAR: [&str; 2] = ["203.0.113.7", "2001:db8:7::7"];
/// The nearest machine, the router.
pub const ROUTER: &str = "192.0.2.2";
/// The host's own address towards it.
pub const OWN: &str = "192.0.2.1";
/// MTU of the uplinks, bytes; beyond them it is 1500.
pub const MTU: u32 = 1400;

/// Every machine sends back what comes to this port, line by line.
const ECHO: u16 = 7;
/// Every machine takes what comes to this port, and sends as much back.
const BULK: u16 = 9;
/// Bytes of such an exchange: many packets of the largest size.
const AMOUNT: usize = 256 << 10;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the host's admin has loaded: `POLICY` is that of forwarded packets.
const FIREWALL: &str = "
table inet firewall {
    chain input {
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state established,related accept
        icmp type echo-request accept
        icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
    }
}
table ip filter {
    chain USER { }
    chain FORWARD {
        type filter hook forward priority filter; policy POLICY;
        jump USER
        ct state established,related accept
        iifname \"foreign0\" accept
    }
}
table ip6 filter {
    chain USER { }
    chain FORWARD {
        type filter hook forward priority filter; policy POLICY;
        jump USER
        ct state established,related accept
    }
}
table ip nat {
    chain POSTROUTING {
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr 172.17.0.0/16 oifname != \"foreign0\" masquerade
    }
}
";

/// Everything around one host.
#[derive(Debug)]
pub struct Surroundings {
    router: Elsewhere,
    far: Elsewhere,
    container: Elsewhere,
    lasting: BufReader<TcpStream>,
}

impl Surroundings {
    /// Puts them around a host that has nothing yet. `policy` is what becomes of forwarded packets that no rule of
    /// the admin's is about: `accept` or `drop`.
    ///
    /// # Panics
    /// When they cannot be made.
    pub fn of(host: &Host, policy: &str) -> Self {
        let [router, far, container] = [(); 3].map(|()| Elsewhere::new());
        let pids = [&router, &far, &container].map(|place| place.network().pid());
        host.network().shell(&host_script(&pids)).ok();
        router.network().shell(&router_script(&pids[1])).ok();
        far.network().shell(FAR_SCRIPT).ok();
        container.network().shell(CONTAINER_SCRIPT).ok();
        host.run("nft", &["-f", "-"]).stdin(FIREWALL.replace("POLICY", policy)).ok();
        serve(&router.network());
        serve(&far.network());
        let lasting = host.network().inside(|| connect(ROUTER, ECHO)).expect("the router answers");
        let around = Self { router, far, container, lasting: BufReader::new(lasting) };
        around.advertise(host);
        around
    }

    /// The machine at the other end of the uplinks.
    pub fn router(&self) -> Namespace {
        self.router.network()
    }

    /// The machine behind it.
    pub fn far(&self) -> Namespace {
        self.far.network()
    }

    /// The router advertises itself once, and the host takes its IPv6 default route from that.
    ///
    /// # Panics
    /// When it does not.
    pub fn advertise(&self, host: &Host) {
        let router = self.router.network();
        let link = poll::until("the router has a link-local address", || {
            let said = router.run("ip", &["-json", "address", "show", "dev", "up0"]).ok().json();
            let is_it = |own: &&Value| own["scope"] == "link" && own["tentative"].is_null();
            let address = said[0]["addr_info"].as_array()?.iter().find(is_it)?["local"].as_str()?.to_owned();
            Some((said[0]["address"].as_str()?.to_owned(), address))
        });
        let source: Ipv6Addr = link.1.parse().expect("an address");
        let mac: Vec<u8> =
            link.0.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("a byte")).collect();
        let mac = mac.try_into().expect("six bytes");
        // A router for half an hour.
        let body = [64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        let frame =
            Frame::discovery("the router", (multicast(ALL_NODES), mac), (ALL_NODES, source), 134, &body);
        let probe = host.program("probe").display().to_string();
        poll::until_true("the host has taken its route", || {
            router.run(&probe, &["inject", "up0", "1"]).stdin(frame.hex()).ok();
            self.has_learnt_route(host)
        });
    }

    /// Whether the host has the IPv6 default route that was advertised.
    pub fn has_learnt_route(&self, host: &Host) -> bool {
        host.run("ip", &["-6", "route", "show", "default"]).ok().stdout.contains("proto ra")
    }

    /// The host's default route leads over another uplink: number 0 or 1.
    ///
    /// # Panics
    /// When it cannot be changed.
    pub fn leave_by(&self, host: &Host, uplink: usize) {
        let via = [ROUTER, "198.51.100.2"][uplink];
        host.network().shell(&format!("ip route replace default via {via} dev up{uplink}")).ok();
    }

    /// The host's own traffic: a connection that has been there all the time, new ones by both families, and one of
    /// a container, forwarded and translated. All but the first packet of each needs connection tracking.
    ///
    /// # Errors
    /// What does not work.
    pub fn exchange(&mut self, host: &Host) -> Result<(), String> {
        echo(&mut self.lasting).map_err(|error| format!("the connection that was there: {error}"))?;
        for address in FAR {
            ask(&host.network(), address).map_err(|error| format!("a new one to {address}: {error}"))?;
        }
        ask(&self.container.network(), FAR[0]).map_err(|error| format!("of a container: {error}"))
    }

    /// What the host has beside Tenantry: rules, links, addresses, routes, and what it forwards.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn state(&self, host: &Host) -> BTreeSet<String> {
        let script = "
            nft --stateless list ruleset
            ip -brief link; ip -brief address; ip route; ip -6 route | sed 's/ expires [^ ]*//'
            cd /proc/sys/net
            grep . ipv4/ip_forward ipv4/conf/*/forwarding ipv4/conf/*/rp_filter ipv4/conf/*/proxy_arp \
                ipv6/conf/*/forwarding ipv6/conf/*/accept_ra ipv6/conf/*/proxy_ndp";
        host.network().shell(script).ok().stdout.lines().map(str::to_owned).collect()
    }
}

/// The host: two uplinks, a bridge with a port that is somebody's container, and forwarding, as whoever runs
/// containers has turned it on.
fn host_script([router, _, container]: &[String; 3]) -> String {
    format!(
        "ip link add up0 mtu {MTU} type veth peer name up0 netns {router}
         ip link add up1 mtu {MTU} type veth peer name up1 netns {router}
         ip address add {OWN}/24 dev up0
         ip address add 198.51.100.1/24 dev up1
         ip address add fd99::1/64 dev up0 nodad
         echo 1 > /proc/sys/net/ipv6/conf/up0/accept_ra
         ip link set up0 up
         ip link set up1 up
         ip route add default via {ROUTER} dev up0
         ip link add foreign0 type bridge
         ip address add 172.17.0.1/16 dev foreign0
         ip link set foreign0 up
         ip link add foreign1 type veth peer name eth0 netns {container}
         ip link set foreign1 master foreign0 up
         echo 1 > /proc/sys/net/ipv4/ip_forward"
    )
}

fn router_script(far: &str) -> String {
    format!(
        "ip link set up0 mtu {MTU} up
         ip link set up1 mtu {MTU} up
         ip address add {ROUTER}/24 dev up0
         ip address add 198.51.100.2/24 dev up1
         ip address add fd99::2/64 dev up0 nodad
         ip link add far0 type veth peer name eth0 netns {far}
         ip address add 203.0.113.1/24 dev far0
         ip address add 2001:db8:7::1/64 dev far0 nodad
         ip link set far0 up
         echo 1 > /proc/sys/net/ipv4/ip_forward
         echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"
    )
}

const FAR_SCRIPT: &str = "
    ip link set eth0 up
    ip address add 203.0.113.7/24 dev eth0
    ip address add 2001:db8:7::7/64 dev eth0 nodad
    ip route add default via 203.0.113.1
    ip -6 route add default via 2001:db8:7::1";

const CONTAINER_SCRIPT: &str = "
    ip link set eth0 up
    ip address add 172.17.0.2/16 dev eth0
    ip route add default via 172.17.0.1";

/// A machine that answers at [`ECHO`] and [`BULK`].
fn serve(machine: &Namespace) {
    for (port, answer) in [(ECHO, send_back as fn(TcpStream)), (BULK, take_and_give)] {
        let listener = machine.inside(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))).expect("a port");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || answer(stream));
            }
        });
    }
}

fn send_back(mut stream: TcpStream) {
    let Ok(own) = stream.try_clone() else { return };
    for line in BufReader::new(own).lines().map_while(Result::ok) {
        // Who has gone does not hear it.
        let _gone = writeln!(stream, "{line}");
    }
}

fn take_and_give(mut stream: TcpStream) {
    let mut bytes = vec![0; AMOUNT];
    let _gone = stream.read_exact(&mut bytes).and_then(|()| stream.write_all(&bytes));
}

fn connect(address: &str, port: u16) -> std::io::Result<TcpStream> {
    let address = SocketAddr::new(address.parse().expect("an address"), port);
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn echo(stream: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    writeln!(stream.get_mut(), "anybody?")?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    if line == "anybody?\n" { Ok(()) } else { Err(std::io::Error::other(format!("{line:?} came back"))) }
}

/// Connects from a network namespace to a machine of the surroundings, and has a line sent back.
///
/// # Errors
/// It does not come back.
pub fn ask(from: &Namespace, address: &str) -> std::io::Result<()> {
    from.inside(|| echo(&mut BufReader::new(connect(address, ECHO)?)))
}

/// Sends far more than a packet holds, and has as much sent back.
///
/// # Errors
/// It does not arrive.
pub fn exchange_bulk(from: &Namespace, address: &str) -> std::io::Result<()> {
    from.inside(|| {
        let mut stream = connect(address, BULK)?;
        stream.write_all(&vec![7; AMOUNT])?;
        stream.read_exact(&mut vec![0; AMOUNT])
    })
}

/// What a web server says to a machine of the surroundings.
///
/// # Errors
/// It says nothing.
pub fn fetch(from: &Namespace, address: &str, port: u16, path: &str) -> std::io::Result<String> {
    from.inside(|| {
        let mut stream = connect(address, port)?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })
}
