//! Conversations with systemd, see org.freedesktop.systemd1(5).
//!
//! Each goes over a connection of its own to the socket of PID 1, `/run/systemd/private`, where dbus-daemon
//! has no part; over the system bus where that socket is not. Nothing is kept open in between, so that neither
//! a re-executed systemd nor a restarted dbus-daemon leaves anything to be noticed.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    time::Duration,
};

use tenant::TenantName;
use tokio::time::{Instant, sleep, timeout};
use zbus::{
    Connection, Message,
    connection::Builder,
    zvariant::{DynamicType, OwnedObjectPath, OwnedValue, Value},
};

use super::private;

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE_UNIT: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// How long systemd may be away, for example while it re-executes itself.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(50);

/// Why systemd was not heard, or refused.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// Neither its socket nor the bus.
    #[error("cannot connect to systemd")]
    Unreachable(#[source] zbus::Error),
    /// It answered with an error, or not at all.
    #[error("cannot {0} through systemd")]
    Call(&'static str, #[source] zbus::Error),
}

impl BusError {
    /// Whether the connection broke, so that the same can be tried again.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Call(_, zbus::Error::InputOutput(_)))
    }

    /// Whether there is no such unit, unit file or job.
    pub(super) fn is_unknown(&self) -> bool {
        let Self::Call(_, zbus::Error::MethodError(name, ..)) = self else { return false };
        ["org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.DBus.Error.FileNotFound"]
            .contains(&name.as_str())
    }
}

/// A unit in a list: name, description, load state, active state, sub state, followed unit, object, job's
/// number, type and object.
pub(super) type Listed =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// A connection to systemd.
pub(super) struct Bus {
    pub(super) connection: Connection,
    is_direct: bool,
}

/// The unit of a tenant.
pub(super) fn unit(name: &TenantName) -> String {
    format!("tenant@{name}.service")
}

/// The tenant of a unit.
pub(super) fn tenant(unit: &str) -> Option<TenantName> {
    unit.strip_prefix("tenant@")?.strip_suffix(".service")?.parse().ok()
}

/// The object of a unit; looking at it loads the unit. See sd_bus_path_encode(3).
fn object(unit: &str) -> String {
    let mut path = format!("{MANAGER_PATH}/unit/");
    for byte in unit.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => path.push(byte.into()),
            _ => path.push_str(&format!("_{byte:02x}")),
        }
    }
    path
}

impl Bus {
    /// Connects.
    ///
    /// # Errors
    /// [`BusError::Unreachable`].
    pub(super) async fn open() -> Result<Self, BusError> {
        if cfg!(test) {
            // Not that of the machine on which the unit tests are run.
            return Err(BusError::Unreachable(zbus::Error::Unsupported));
        }
        let deadline = Instant::now() + RECONNECT_TIMEOUT;
        loop {
            let error = match Self::direct().await {
                Ok(connection) => return Ok(Self { connection, is_direct: true }),
                Err(error) => error,
            };
            // It is away for a moment, or this socket is not for us.
            let passes = matches!(&error, zbus::Error::InputOutput(error)
                if error.kind() != io::ErrorKind::PermissionDenied);
            if !passes || Instant::now() >= deadline {
                log::debug!("cannot use the socket of systemd: {error}");
                break;
            }
            sleep(RETRY).await;
        }
        let connect = async { Builder::system()?.method_timeout(ANSWER).build().await };
        let connection = within(connect).await.map_err(BusError::Unreachable)?;
        Ok(Self { connection, is_direct: false })
    }

    async fn direct() -> zbus::Result<Connection> {
        let stream = private::connect().await?;
        within(Builder::unix_stream(stream).p2p().method_timeout(ANSWER).build()).await
    }

    /// Whether PID 1 itself is at the other end: it tells what happens without being asked to.
    pub(super) fn is_direct(&self) -> bool {
        self.is_direct
    }

    async fn ask(
        &self,
        what: &'static str,
        path: &str,
        interface: &str,
        method: &str,
        body: &(impl serde::Serialize + DynamicType),
    ) -> Result<Message, BusError> {
        self.connection
            .call_method(Some(SERVICE), path, Some(interface), method, body)
            .await
            .map_err(|error| BusError::Call(what, error))
    }

    /// Calls a method of the manager; `what` completes "cannot … through systemd".
    pub(super) async fn manager(
        &self,
        what: &'static str,
        method: &str,
        body: &(impl serde::Serialize + DynamicType),
    ) -> Result<Message, BusError> {
        self.ask(what, MANAGER_PATH, MANAGER, method, body).await
    }

    async fn properties(
        &self,
        unit: &str,
        interface: &'static str,
    ) -> Result<HashMap<String, OwnedValue>, BusError> {
        let what = "read the properties of a unit";
        let answer = self.ask(what, &object(unit), PROPERTIES, "GetAll", &(interface,)).await?;
        answer.body().deserialize().map_err(|error| BusError::Call(what, error))
    }

    /// How a unit is.
    ///
    /// # Errors
    /// See [`BusError`].
    pub(super) async fn unit(&self, unit: &str) -> Result<UnitFacts, BusError> {
        let common = self.properties(unit, UNIT).await?;
        let job = common.get("Job").and_then(|value| <(u32, OwnedObjectPath)>::try_from(value.clone()).ok());
        Ok(UnitFacts {
            active: text(&common, "ActiveState"),
            sub: text(&common, "SubState"),
            file: text(&common, "UnitFileState"),
            has_job: job.is_some_and(|(id, _)| id != 0),
        })
    }

    /// What the service in a unit has come to.
    ///
    /// # Errors
    /// See [`BusError`].
    pub(super) async fn service(&self, unit: &str) -> Result<ServiceFacts, BusError> {
        let own = self.properties(unit, SERVICE_UNIT).await?;
        let numbers = own.iter().filter_map(|(name, value)| Some((name.clone(), value.downcast_ref().ok()?)));
        Ok(ServiceFacts {
            result: text(&own, "Result"),
            status: text(&own, "StatusText"),
            restarts: own.get("NRestarts").and_then(|value| value.downcast_ref().ok()).unwrap_or_default(),
            numbers: numbers.collect(),
        })
    }

    /// The status line of a unit; empty without one.
    ///
    /// # Errors
    /// See [`BusError`].
    pub(super) async fn status_line(&self, unit: &str) -> Result<String, BusError> {
        let what = "read the status of a unit";
        let body = (SERVICE_UNIT, "StatusText");
        let answer = self.ask(what, &object(unit), PROPERTIES, "Get", &body).await?;
        let value: OwnedValue = answer.body().deserialize().map_err(|error| BusError::Call(what, error))?;
        Ok(value.downcast_ref::<&str>().unwrap_or_default().to_owned())
    }

    /// Sets properties of a unit, for good: in `/etc/systemd/system.control`.
    ///
    /// # Errors
    /// See [`BusError`].
    pub(super) async fn set(&self, unit: &str, properties: &[(&str, u64)]) -> Result<(), BusError> {
        let values: Vec<(&str, Value<'_>)> =
            properties.iter().map(|(name, value)| (*name, Value::U64(*value))).collect();
        self.manager("set the properties of a unit", "SetUnitProperties", &(unit, false, values)).await?;
        Ok(())
    }
}

async fn within<T>(work: impl Future<Output = zbus::Result<T>>) -> zbus::Result<T> {
    timeout(RECONNECT_TIMEOUT, work)
        .await
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

fn text(properties: &HashMap<String, OwnedValue>, name: &str) -> String {
    let value = properties.get(name).and_then(|value| value.downcast_ref::<&str>().ok());
    value.unwrap_or_default().to_owned()
}

/// How a unit is, in systemd's words.
#[derive(Clone, Debug, Default)]
pub(super) struct UnitFacts {
    pub(super) active: String,
    pub(super) sub: String,
    pub(super) file: String,
    pub(super) has_job: bool,
}

impl UnitFacts {
    /// Whether nothing of it runs, and nothing is about to.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.active.as_str(), "inactive" | "failed") && !self.has_job
    }
}

/// What the service in a unit has come to.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceFacts {
    pub(super) result: String,
    pub(super) status: String,
    pub(super) restarts: u32,
    /// All properties that are 64 bits wide.
    pub(super) numbers: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_has_a_name_and_an_object() {
        let name: TenantName = "a-1".parse().unwrap();
        assert_eq!(unit(&name), "tenant@a-1.service");
        assert_eq!(tenant("tenant@a-1.service"), Some(name));
        assert_eq!(tenant("tenant@.service"), None);
        assert_eq!(tenant("hostd.service"), None);
        assert_eq!(object("tenant@a-1.service"), "/org/freedesktop/systemd1/unit/tenant_40a_2d1_2eservice");
    }
}
