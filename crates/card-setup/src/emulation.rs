//! Emulation of devices: profiles by name or file, and whether this machine kept pace.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use card_core::cost::CostCurve;
use card_core::forward::Model;
use card_engine::emulate::{Emulated, EmulatedDevice, EmulationProfile, Overruns};

/// Devices that are emulated, and the time by which real forwards overran their paced times.
/// Clones count the same overruns.
#[derive(Clone, Debug)]
pub struct Emulation {
    /// What the devices are like.
    pub profile: EmulationProfile,
    overruns: Overruns,
}

impl Emulation {
    /// Emulation by the profile in a file, or by the built-in one of that name.
    ///
    /// # Errors
    /// If there is neither, or if it is no profile.
    pub fn load(file: &Path) -> Result<Self> {
        Ok(Emulation {
            profile: profile(file)?,
            overruns: Overruns::default(),
        })
    }

    /// Makes the dilation long enough for this machine's forwards, and says it in a line: `real` are
    /// the costs of target, drafter and head ([`EmulationProfile::fit`]).
    ///
    /// # Errors
    /// If the profile says a dilation that is not long enough.
    pub fn fit(&mut self, real: [&CostCurve; 3]) -> Result<()> {
        let said = self.profile.dilation > 0.0;
        let least = self.profile.fit(real).map_err(anyhow::Error::msg)?;
        let dilation = self.profile.dilation;
        eprintln!(
            "emulated devices: times dilated {dilation} times{}; forwards here need {least:.1}",
            if said { ", as the profile says" } else { "" }
        );
        Ok(())
    }

    /// Makes sure that the profile says what forwards of a head take.
    ///
    /// # Errors
    /// If it does not.
    pub fn check_head(&self) -> Result<()> {
        ensure!(
            self.profile.head.is_some(),
            "the profile {:?} does not say what forwards of the target's head take: give it a [head] as \
             in a100-70b-mtp, or draft with another model (--draft NAME) or with none (--draft none)",
            self.profile.title
        );
        Ok(())
    }

    /// A model whose forwards take what `cost`, that of `device`, says.
    pub fn pace(
        &self,
        model: impl Model + Send + 'static,
        cost: CostCurve,
        device: &EmulatedDevice,
    ) -> Box<dyn Model + Send> {
        let paced = Emulated::new(model, cost, self.overruns.clone());
        Box::new(paced.with_shape_change(self.profile.shape_change(device)))
    }

    /// Makes sure that what was emulated was.
    ///
    /// # Errors
    /// If a forward took longer here than on the emulated device.
    pub fn check(&self) -> Result<()> {
        /// Share of the time that stalls of the machine may add.
        const TOLERATED: f64 = 0.02;
        let share = self.overruns.share();
        ensure!(
            share <= TOLERATED,
            "this machine is too slow for the emulation: forwards took {:.0} % longer than their paced \
             time, so the figures mean nothing; nothing else may run meanwhile, or say a larger \
             `dilation` in a profile of your own",
            100.0 * share
        );
        Ok(())
    }
}

/// The profile in a file, or the built-in one of that name.
fn profile(file: &Path) -> Result<EmulationProfile> {
    let shown = file.display();
    let text = match file.to_str().and_then(built_in) {
        Some(text) if !file.exists() => text.to_owned(),
        _ => std::fs::read_to_string(file).with_context(|| {
            format!(
                "cannot read the profile {shown}; built in are: {}",
                built_in_names()
            )
        })?,
    };
    let profile: EmulationProfile =
        toml::from_str(&text).with_context(|| format!("{shown} is no emulation profile"))?;
    profile
        .check()
        .map_err(|why| anyhow::anyhow!("{shown} is no emulation profile: {why}"))?;
    Ok(profile)
}

const PROFILES: [(&str, &str); 4] = [
    ("a100-70b-1b", include_str!("../profiles/a100-70b-1b.toml")),
    ("a100-70b-8b", include_str!("../profiles/a100-70b-8b.toml")),
    (
        "a100-70b-mtp",
        include_str!("../profiles/a100-70b-mtp.toml"),
    ),
    (
        "edge-cloud-70b-1b",
        include_str!("../profiles/edge-cloud-70b-1b.toml"),
    ),
];

fn built_in(name: &str) -> Option<&'static str> {
    PROFILES.iter().find(|p| p.0 == name).map(|p| p.1)
}

fn built_in_names() -> String {
    PROFILES.map(|p| p.0).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_profiles_make_sense_and_measure_their_dilation() {
        for (name, _) in PROFILES {
            let found = profile(Path::new(name)).unwrap_or_else(|e| panic!("{name}: {e:#}"));
            assert_eq!(found.dilation, 0.0, "{name}");
            assert_eq!(found.head.is_some(), name == "a100-70b-mtp");
        }
    }
}
