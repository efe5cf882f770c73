//! Another version of its image beneath a tenant that is running.

use std::time::Instant;

use crate::{
    apply,
    cause::chain,
    config::profile::load_host,
    files::sources::{LoadPlanError, load_manifest, read_manifest},
    model::{allocation::Pinned, ids::Digest, image::ImageName},
    plan::swap,
    protocol::control::{Reply, Swapped},
    supervisor::process::Supervisor,
};

impl Supervisor {
    /// Does what a request to swap asks for. The tenant is up.
    pub(in crate::supervisor) fn swap(&mut self, image: &ImageName, digest: &Digest) -> Reply {
        let began = Instant::now();
        let no_init = || Reply::refused("the tenant has no init", "wait for it");
        let (Some(plan), Some(state)) = (&self.plan, &mut self.state) else { return no_init() };
        let load = || -> Result<_, LoadPlanError> {
            let from = Pinned { image: plan.image_name.clone(), digest: plan.digest };
            let to = Pinned { image: image.clone(), digest: *digest };
            let host = load_host(&self.layout)?;
            Ok((read_manifest(&self.layout, &from)?, load_manifest(&self.layout, &to, &host)?))
        };
        let (from, to) = match load() {
            Ok(manifests) => manifests,
            Err(error) => return refused_to_load(&error),
        };
        let swap = match swap::plan(&self.layout, plan, &from, &to) {
            Ok(swap) => swap,
            Err(refusal) => {
                return Reply { needs_restart: true, ..Reply::refused(refusal.to_string(), refusal.help()) };
            }
        };
        if self.kept.is_none() {
            let error = "it was started in a way that lets nothing be exchanged beneath it";
            return Reply { needs_restart: true, ..Reply::refused(error, swap::RESTART_INTO_IT) };
        }
        // Before it is mounted: a version that is in use is not removed.
        let known = state.versions.len();
        for version in [plan.digest, *digest] {
            if !state.versions.contains(&version) {
                state.versions.push(version);
            }
        }
        if state.versions.len() > known {
            self.publish();
        }
        let (Some(plan), Some(init), Some(kept)) = (&mut self.plan, &self.init, &mut self.kept) else {
            return no_init();
        };
        let swapped = apply::swap(&self.kernel, init.pid, kept, &swap);
        let (directories, remains) = match swapped {
            Ok(swapped) => swapped,
            Err(error) => {
                let error_text = chain(&error);
                log::warn!("cannot swap the base of tenant {:?}: {error_text}", self.name.as_str());
                return Reply { needs_restart: true, ..Reply::refused(error_text, error.help()) };
            }
        };
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        plan.image_name = swap.to.pinned.image;
        plan.digest = swap.to.pinned.digest;
        plan.image = swap.to.image;
        // Letting go of it waits for the kernel's readers of mounts: after the answer.
        self.remains = remains;
        if let Some(state) = &mut self.state {
            state.digest = Some(*digest);
        }
        self.publish();
        let rest = swap.rest.iter().map(ToString::to_string).collect();
        Reply { swapped: Some(Box::new(Swapped { directories, rest, took_us })), ..Reply::done() }
    }
}

fn refused_to_load(error: &LoadPlanError) -> Reply {
    Reply::refused(chain(error), error.help().unwrap_or("check the image: rootfsctl verify"))
}
