//! What a rollout needs of the host it works on; a fake one stands in for it in tests.

use std::time::Duration;

use tenant::model::{ids::Digest, image::ImageName};
use wire::RebaseMode;

use super::{
    machine::Told,
    policy::Gate,
    record::{Channel, Record},
    seen::{Seen, Tenants},
};

/// A host, as a rollout works on it. What fails is told in words.
pub trait World: Send + Sync + 'static {
    /// Writes the record, so that it survives a power cut.
    fn write(&self, record: &Record) -> impl Future<Output = Result<(), String>> + Send;
    /// The tenants of the image that this rollout has, as they are now; nothing is read of the files of others, or of
    /// their own: neither labels nor the channel are known.
    fn members(&self, record: &Record) -> impl Future<Output = Tenants> + Send;
    /// The tenants of the image, without those that another rollout has.
    fn all(&self, image: &ImageName, rollout: u64) -> impl Future<Output = Tenants> + Send;
    /// One tenant.
    fn seen(&self, uuid: &str) -> impl Future<Output = Option<Seen>> + Send;
    /// Gives a tenant a version; what of it waits for its next start is the answer.
    fn rebase(
        &self,
        name: &str,
        image: &ImageName,
        to: Digest,
        mode: RebaseMode,
    ) -> impl Future<Output = Result<Option<String>, String>> + Send;
    /// Starts a tenant.
    fn start(&self, name: &str) -> impl Future<Output = Result<(), String>> + Send;
    /// The failed units of its systemd; none where it does not answer.
    fn failed_units(&self, name: &str) -> impl Future<Output = Option<Vec<String>>> + Send;
    /// Asks a gate once.
    fn ask(&self, name: &str, gate: &Gate) -> impl Future<Output = Result<(), String>> + Send;
    /// Points a channel of the image at its version.
    fn point(&self, image: &ImageName, channel: &Channel) -> impl Future<Output = Result<(), String>> + Send;
    /// Tells what happened.
    fn tell(&self, record: &Record, told: &Told);
    /// Tells of a tenant that failed.
    fn tell_failed(&self, record: &Record, name: &str, reason: &str);
    /// The date, RFC 3339.
    fn date(&self) -> String;
    /// A clock that nothing sets, from any beginning.
    fn clock(&self) -> Duration;
    /// Waits.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;
    /// The id of this boot of the machine.
    fn boot(&self) -> String;
}
