//! Drafters with their models, in virtual time.

use std::time::Duration;

use card_core::cost::CostCurve;
use card_core::drafter::{Drafter, DrafterConfig};
use card_core::driver::SharedLane;
use card_core::forward::{Forward, Model};
use card_core::protocol::{DraftInput, Drafted, Lanes, Outlook};
use card_core::scheduler::Scheduler;
use card_core::types::Source;

use super::device::VirtualDevice;

/// A drafter with its model.
pub struct VirtualLane {
    pub drafter: Drafter,
    /// `None` if there is no drafter, or it died.
    pub model: Option<Box<dyn Model>>,
    device: VirtualDevice,
    /// Whether it takes turns with the target.
    pub shared: bool,
    /// Its forward that runs, and when it ends.
    pub drafting: Option<(Forward, Duration)>,
    /// What it will hear after its forward.
    pub news: Vec<DraftInput>,
}

impl VirtualLane {
    /// `cost` is what is known of the model's forwards.
    pub fn new(
        config: DrafterConfig,
        model: Option<Box<dyn Model>>,
        cost: CostCurve,
        device: VirtualDevice,
    ) -> Self {
        VirtualLane {
            shared: config.lanes == Lanes::Shared,
            drafter: Drafter::new(config, cost),
            model,
            device,
            drafting: None,
            news: Vec::new(),
        }
    }

    /// Hears the news, unless a forward runs.
    pub fn listen(&mut self) {
        if self.drafting.is_none() {
            for message in self.news.drain(..) {
                self.drafter.handle(message);
            }
        }
    }

    /// Begins a step; `false` if there is nothing to draft.
    pub fn begin(&mut self, now: Duration) -> bool {
        let Some(model) = &mut self.model else {
            return false;
        };
        let Some(forward) = self.drafter.poll(now) else {
            return false;
        };
        let mut ops = Vec::new();
        self.drafter.take_ops(&mut ops);
        for op in ops {
            model.apply(op).unwrap();
        }
        model.forward(&forward).unwrap();
        let end = now + self.device.takes(&forward, 1.0);
        self.drafting = Some((forward, end));
        true
    }

    /// What the step drafted, if it is over.
    pub fn end(&mut self, now: Duration) -> Option<Drafted> {
        let (forward, _) = self.drafting.take_if(|d| d.1 <= now)?;
        let model = self.model.as_deref().unwrap();
        Some(self.drafter.complete(&forward, model, now))
    }
}

/// Those of the drafters that take turns with the target.
pub struct OnTheLane<'a>(pub [&'a mut VirtualLane; 2]);

impl SharedLane for OnTheLane<'_> {
    fn outlooks(&mut self) -> Vec<Outlook> {
        let lanes = self.0.iter_mut();
        let here = lanes.filter(|lane| lane.shared && lane.model.is_some());
        here.filter_map(|lane| lane.drafter.outlook()).collect()
    }

    fn draft(&mut self, source: Source, now: Duration, _scheduler: &mut Scheduler) -> bool {
        let mut lanes = self.0.iter_mut();
        let lane = lanes.find(|lane| lane.drafter.source() == source);
        lane.is_some_and(|lane| lane.begin(now))
    }
}
