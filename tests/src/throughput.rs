//! How fast TCP goes from one network namespace to another, with a plain veth pair as the measure.

use serde_json::Value;

use crate::{Elsewhere, Host, Namespace, Run, Running, Tenant};

const PORT: &str = "5001";

/// Two ends, one of which sends as much as it can for as long as it is told.
#[derive(Debug)]
pub struct Path {
    pump: Pump,
    address: String,
    _sink: Running,
    _ends: Vec<Elsewhere>,
}

#[derive(Debug)]
enum Pump {
    Inside(String),
    In(Namespace),
}

impl Path {
    /// From one tenant to another.
    ///
    /// # Panics
    /// When the probe cannot listen there.
    pub fn between(from: &Tenant<'_>, to: &Tenant<'_>, address: &str) -> Self {
        from.bring_probe();
        to.bring_probe();
        let mut sink = Running::start(&to.exec(&["/root/probe", "sink", PORT]));
        sink.expect("listening");
        let pump = Pump::Inside(from.name().to_owned());
        Self { pump, address: address.to_owned(), _sink: sink, _ends: Vec::new() }
    }

    /// From one network namespace to another over nothing but a veth pair, by IPv4.
    ///
    /// # Panics
    /// When they cannot be made.
    pub fn plain(host: &Host) -> Self {
        Self::plain_to(host, "192.0.2.2")
    }

    /// The same by IPv6.
    ///
    /// # Panics
    /// When they cannot be made.
    pub fn plain_ipv6(host: &Host) -> Self {
        Self::plain_to(host, "2001:db8::2")
    }

    fn plain_to(host: &Host, target: &str) -> Self {
        let ends = vec![Elsewhere::new(), Elsewhere::new()];
        let [near, far] = [ends[0].network(), ends[1].network()];
        let far_pid = far.pid();
        near.shell(&format!("ip link add eth0 type veth peer name eth0 netns {far_pid}")).ok();
        for (end, number) in [(&near, 1), (&far, 2)] {
            let four = format!("ip addr add 192.0.2.{number}/24 dev eth0");
            let six = format!("ip addr add 2001:db8::{number}/64 dev eth0 nodad");
            end.shell(&format!("{four}; {six}; ip link set eth0 up")).ok();
        }
        Self::in_namespaces(host, near, &far, target, ends)
    }

    /// From one network namespace to another that somebody has connected.
    ///
    /// # Panics
    /// When the probe cannot listen there.
    pub fn in_namespaces(
        host: &Host,
        near: Namespace,
        far: &Namespace,
        address: &str,
        ends: Vec<Elsewhere>,
    ) -> Self {
        let probe = host.program("probe").display().to_string();
        let mut sink = Running::start(&far.run(&probe, &["sink", PORT]));
        sink.expect("listening");
        Self { pump: Pump::In(near), address: address.to_owned(), _sink: sink, _ends: ends }
    }

    /// Sends for so many milliseconds.
    ///
    /// # Panics
    /// When nothing arrives.
    pub fn measure(&self, host: &Host, milliseconds: u32) -> Sample {
        let time = milliseconds.to_string();
        let words = ["pump", &self.address, PORT, &time];
        let run: Run = match &self.pump {
            Pump::Inside(name) => Tenant::new(host, name).exec(&["/root/probe"]).args(words),
            Pump::In(namespace) => namespace.run(&host.program("probe").display().to_string(), &words),
        };
        let said = run.ok().json();
        let number = |key: &str| said.get(key).and_then(Value::as_f64).expect("the probe says how much");
        let bits = number("bytes") * 8.0;
        Sample { rate: bits / number("us") * 1e6, effort: number("cpu_us") / bits * 1e3 }
    }
}

/// What was measured once.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Bit/s that arrived.
    pub rate: f64,
    /// Nanoseconds of CPU time for each bit, of the two threads that send and receive. What the kernel does
    /// on the way is done in their name.
    pub effort: f64,
}

/// Sends over every path in turn, so that whatever else the machine does hits all of them; the samples of
/// each.
///
/// # Panics
/// As [`Path::measure`].
pub fn rounds(host: &Host, paths: &[&Path], rounds: usize, milliseconds: u32) -> Vec<Vec<Sample>> {
    let mut samples = vec![Vec::new(); paths.len()];
    for _ in 0..rounds {
        for (path, samples) in paths.iter().zip(&mut samples) {
            samples.push(path.measure(host, milliseconds));
        }
    }
    samples
}
