//! Where everything lies on the host: the one place that knows file names.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::model::{
    ids::Digest,
    image::{ChannelName, ImageName, ProfileName},
    name::TenantName,
    snapshot::SnapshotName,
};

/// The host's directory tree, all of it below one root (`/`, or `--root DIR` / `$TENANTRY_ROOT`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Default for Layout {
    fn default() -> Self {
        Self::new("/")
    }
}

impl Layout {
    /// Environment variable that names another root.
    pub const ENV: &'static str = "TENANTRY_ROOT";

    /// A layout below `root`, which should be absolute.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The root itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether this is the machine's own tree.
    pub fn is_default(&self) -> bool {
        self.root == Path::new("/")
    }

    /// A name for what cannot lie below the root (cgroups): `tenantry`, or `tenantry-<8 hex digits of
    /// the root's path>`.
    pub fn instance(&self) -> String {
        if self.is_default() {
            return "tenantry".to_owned();
        }
        let hash: [u8; 32] = Sha256::digest(self.root.as_os_str().as_encoded_bytes()).into();
        format!("tenantry-{}", &Digest::from_bytes(hash).hex()[..8])
    }

    /// `/etc/tenantry`.
    pub fn etc(&self) -> PathBuf {
        self.root.join("etc/tenantry")
    }

    /// `/etc/tenantry/hostd.toml`.
    pub fn host_config(&self) -> PathBuf {
        self.etc().join("hostd.toml")
    }

    /// `/etc/tenantry/nics.toml`: NICs and VLANs of the host, given to tenants. A host that has only `ports.toml`, as
    /// the file was called in 0.1, keeps that.
    pub fn nic_table(&self) -> PathBuf {
        let [now, before] = ["nics.toml", "ports.toml"].map(|name| self.etc().join(name));
        if before.exists() && !now.exists() { before } else { now }
    }

    /// `/etc/tenantry/keys`: public keys whose signatures of images this host trusts, `NAME.pub`.
    pub fn keys(&self) -> PathBuf {
        self.etc().join("keys")
    }

    /// `/etc/tenantry/tenants`.
    pub fn tenant_configs(&self) -> PathBuf {
        self.etc().join("tenants")
    }

    /// `/etc/tenantry/tenants/NAME.toml`.
    pub fn tenant_config(&self, name: &TenantName) -> PathBuf {
        self.tenant_configs().join(format!("{name}.toml"))
    }

    /// `/etc/tenantry/credentials/NAME`: a file for each credential of a tenant.
    pub fn credentials(&self, name: &TenantName) -> PathBuf {
        self.etc().join("credentials").join(name.as_str())
    }

    /// Where a profile is looked for, first match wins.
    pub fn profile_paths(&self, name: &ProfileName) -> [PathBuf; 2] {
        let file = format!("{name}.toml");
        [self.profiles().join(&file), self.root.join("usr/share/tenantry/profiles").join(&file)]
    }

    /// `/etc/tenantry/profiles`: this host's own profiles.
    pub fn profiles(&self) -> PathBuf {
        self.etc().join("profiles")
    }

    /// `/run/tenantry/nics`: one file for each NIC of the host that a tenant has.
    pub fn nic_claims(&self) -> PathBuf {
        self.run().join("nics")
    }

    /// `/var/lib/tenantry`.
    pub fn state(&self) -> PathBuf {
        self.root.join("var/lib/tenantry")
    }

    /// `/var/cache/tenantry`: what can be made again.
    pub fn cache(&self) -> PathBuf {
        self.root.join("var/cache/tenantry")
    }

    /// `/var/lib/tenantry/images`.
    pub fn images(&self) -> PathBuf {
        self.state().join("images")
    }

    /// `/var/lib/tenantry/images/IMAGE`.
    pub fn image(&self, image: &ImageName) -> PathBuf {
        self.images().join(image.as_str())
    }

    /// `…/IMAGE/versions`.
    pub fn versions(&self, image: &ImageName) -> PathBuf {
        self.image(image).join("versions")
    }

    /// `…/IMAGE/versions/sha256-HEX`.
    pub fn version(&self, image: &ImageName, digest: &Digest) -> PathBuf {
        self.versions(image).join(digest.dir_name())
    }

    /// `…/versions/sha256-HEX/manifest.toml`.
    pub fn manifest(&self, image: &ImageName, digest: &Digest) -> PathBuf {
        self.version(image, digest).join("manifest.toml")
    }

    /// `…/versions/sha256-HEX/manifest.sig`: the signature of the manifest, if it is signed.
    pub fn signature(&self, image: &ImageName, digest: &Digest) -> PathBuf {
        self.version(image, digest).join("manifest.sig")
    }

    /// `/var/lib/tenantry/signed/IMAGE`.
    pub fn all_newest_signed(&self, image: &ImageName) -> PathBuf {
        self.state().join("signed").join(image.as_str())
    }

    /// `/var/lib/tenantry/signed/IMAGE/CHANNEL`: the newest signed version that the channel has had, and when it was
    /// made.
    pub fn newest_signed(&self, image: &ImageName, channel: &ChannelName) -> PathBuf {
        self.all_newest_signed(image).join(channel.as_str())
    }

    /// `/var/lib/tenantry/pushed`.
    pub fn all_pushed(&self) -> PathBuf {
        self.state().join("pushed")
    }

    /// `/var/lib/tenantry/pushed/IMAGE.json`: which versions of an image registries were sent.
    pub fn pushed(&self, image: &ImageName) -> PathBuf {
        self.all_pushed().join(format!("{image}.json"))
    }

    /// `/run/tenantry/signed`: what was verified since the host was booted.
    pub fn signed_run(&self) -> PathBuf {
        self.run().join("signed")
    }

    /// `…/versions/sha256-HEX/tree`.
    pub fn tree(&self, image: &ImageName, digest: &Digest) -> PathBuf {
        self.version(image, digest).join("tree")
    }

    /// `…/versions/sha256-HEX/image.erofs`.
    pub fn erofs(&self, image: &ImageName, digest: &Digest) -> PathBuf {
        self.version(image, digest).join("image.erofs")
    }

    /// `…/versions/sha256-HEX/image.verity`: the hash tree of an erofs version that has one.
    pub fn hash_tree(&self, image: &ImageName, digest: &Digest) -> PathBuf {
        self.version(image, digest).join("image.verity")
    }

    /// `…/IMAGE/channels`.
    pub fn channels(&self, image: &ImageName) -> PathBuf {
        self.image(image).join("channels")
    }

    /// `…/IMAGE/channels/CHANNEL`, a file that holds a digest and a newline.
    pub fn channel(&self, image: &ImageName, channel: &ChannelName) -> PathBuf {
        self.channels(image).join(channel.as_str())
    }

    /// `/var/lib/tenantry/images/.staging`: unpublished trees, on the same filesystem.
    pub fn staging(&self) -> PathBuf {
        self.images().join(".staging")
    }

    /// `/var/lib/tenantry/images/.lock`: flock(2) exclusive to publish or remove, shared to pin.
    pub fn images_lock(&self) -> PathBuf {
        self.images().join(".lock")
    }

    /// `/var/lib/tenantry/tenants`.
    pub fn tenants(&self) -> PathBuf {
        self.state().join("tenants")
    }

    /// `/var/lib/tenantry/tenants/NAME`.
    pub fn tenant(&self, name: &TenantName) -> PathBuf {
        self.tenants().join(name.as_str())
    }

    /// `…/tenants/NAME/allocation.toml`.
    pub fn allocation(&self, name: &TenantName) -> PathBuf {
        self.tenant(name).join("allocation.toml")
    }

    /// `…/tenants/NAME/allocation.copy.toml`: the same once more, for a host whose record is damaged.
    pub fn allocation_copy(&self, name: &TenantName) -> PathBuf {
        self.tenant(name).join("allocation.copy.toml")
    }

    /// `…/tenants/NAME/carried.toml`.
    pub fn applied_config(&self, name: &TenantName) -> PathBuf {
        self.tenant(name).join("carried.toml")
    }

    /// `…/tenants/NAME/drift.toml`: which versions the tenant's own files take into account.
    pub fn drift(&self, name: &TenantName) -> PathBuf {
        self.tenant(name).join("drift.toml")
    }

    /// `…/tenants/NAME/dirs`: the tenant's own directories, on-disk owners 0..65535.
    pub fn dirs(&self, name: &TenantName) -> PathBuf {
        self.tenant(name).join("dirs")
    }

    /// `…/tenants/NAME/snapshots`: what was kept of its directories.
    pub fn snapshots(&self, name: &TenantName) -> PathBuf {
        self.tenant(name).join("snapshots")
    }

    /// `…/tenants/NAME/snapshots/SNAPSHOT`, with `snapshot.toml` and `dirs`.
    pub fn snapshot(&self, name: &TenantName, snapshot: &SnapshotName) -> PathBuf {
        self.snapshots(name).join(snapshot.as_str())
    }

    /// `…/tenants/NAME/.work`: trees that are to take the place of others, or were taken out of it.
    pub fn work(&self, name: &TenantName) -> PathBuf {
        self.tenant(name).join(".work")
    }

    /// `…/tenants/NAME/log`: console logs.
    pub fn log(&self, name: &TenantName) -> PathBuf {
        self.tenant(name).join("log")
    }

    /// `/var/lib/tenantry/rollouts`: a record for each rollout.
    pub fn rollouts(&self) -> PathBuf {
        self.state().join("rollouts")
    }

    /// `…/rollouts/ID.json`.
    pub fn rollout(&self, id: u64) -> PathBuf {
        self.rollouts().join(format!("{id}.json"))
    }

    /// `/run/tenantry`.
    pub fn run(&self) -> PathBuf {
        self.root.join("run/tenantry")
    }

    /// `/run/tenantry/hostd.sock`.
    pub fn hostd_socket(&self) -> PathBuf {
        self.run().join("hostd.sock")
    }

    /// `/run/tenantry/turns`: tenants that boot or wait for their turn.
    pub fn turns(&self) -> PathBuf {
        self.run().join("turns")
    }

    /// `/run/tenantry/forwarding6.json`: what of the host was different before it forwarded IPv6 for tenants.
    pub fn forwarding6(&self) -> PathBuf {
        self.run().join("forwarding6.json")
    }

    /// `/run/tenantry/images/sha256-HEX`: where an erofs version is mounted once.
    pub fn image_mount(&self, digest: &Digest) -> PathBuf {
        self.run().join("images").join(digest.dir_name())
    }

    /// `/run/tenantry/tenants`.
    pub fn runtimes(&self) -> PathBuf {
        self.run().join("tenants")
    }

    /// `/run/tenantry/tenants/NAME`.
    pub fn runtime(&self, name: &TenantName) -> PathBuf {
        self.runtimes().join(name.as_str())
    }

    /// `…/run/tenantry/tenants/NAME/console.sock`.
    pub fn console_socket(&self, name: &TenantName) -> PathBuf {
        self.runtime(name).join("console.sock")
    }

    /// `…/run/tenantry/tenants/NAME/control.sock`.
    pub fn control_socket(&self, name: &TenantName) -> PathBuf {
        self.runtime(name).join("control.sock")
    }

    /// `…/run/tenantry/tenants/NAME/started.toml`: the text of the tenant's file as its present boot read it.
    pub fn started(&self, name: &TenantName) -> PathBuf {
        self.runtime(name).join("started.toml")
    }

    /// `…/run/tenantry/tenants/NAME/exec.json`: what processes that join the tenant are started with.
    pub fn exec_context(&self, name: &TenantName) -> PathBuf {
        self.runtime(name).join("exec.json")
    }

    /// `…/run/tenantry/tenants/NAME/state.json`.
    pub fn run_state(&self, name: &TenantName) -> PathBuf {
        self.runtime(name).join("state.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_nics_keeps_the_name_that_an_earlier_release_gave_it() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        std::fs::create_dir_all(layout.etc()).unwrap();
        let name = || layout.nic_table().file_name().unwrap().to_owned();
        assert_eq!(name(), "nics.toml");
        std::fs::write(layout.etc().join("ports.toml"), "").unwrap();
        assert_eq!(name(), "ports.toml");
        std::fs::write(layout.etc().join("nics.toml"), "").unwrap();
        assert_eq!(name(), "nics.toml");
    }
}
