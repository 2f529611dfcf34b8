//! A device in virtual time.

use std::time::Duration;

use card_core::cost::CostCurve;
use card_core::forward::Forward;

/// What forwards take on a device.
pub struct VirtualDevice {
    cost: CostCurve,
    /// Every forward takes what one of a single row does.
    flat: bool,
    /// Milliseconds that a forward takes longer if it has another number of rows than the last one.
    change_ms: f64,
    last_rows: usize,
}

impl VirtualDevice {
    pub fn new(cost: CostCurve, change_ms: f64) -> Self {
        VirtualDevice {
            cost,
            flat: false,
            change_ms,
            last_rows: 0,
        }
    }

    /// Where rows cost nothing.
    pub fn flat(cost: CostCurve, change_ms: f64) -> Self {
        VirtualDevice {
            flat: true,
            ..VirtualDevice::new(cost, change_ms)
        }
    }

    /// What this forward takes, after those before it; `part` of it if nobody else is at work.
    pub fn takes(&mut self, forward: &Forward, part: f64) -> Duration {
        let rows = forward.rows.len().max(forward.pad_to);
        let change = if rows == self.last_rows {
            0.0
        } else {
            self.change_ms
        };
        self.last_rows = rows;
        let rows = if self.flat { 1 } else { rows };
        let ms = part * self.cost.ms(rows as u32) + change;
        Duration::from_secs_f64(ms / 1e3)
    }
}
