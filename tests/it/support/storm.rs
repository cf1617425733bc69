//! Faults at random, the same ones for the same seed and order of requests.

use std::collections::HashMap;
use std::time::Duration;

use super::fault::{End, Fault};

/// How often in a row the same request may fail: what is tested is what
/// passes. Requests that look the same count as one, as the beginnings of all
/// uploads to a repository do: what fails for one is not seen to.
const IN_A_ROW: u32 = 4;

#[derive(Debug)]
pub(super) struct Storm {
    random: fastrand::Rng,
    /// How often each request failed since it was last served.
    failed: HashMap<String, u32>,
    /// How many requests a fault was chosen for.
    pub(super) faults: usize,
}

impl Storm {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            failed: HashMap::new(),
            faults: 0,
        }
    }

    /// A fault for one request in five.
    pub(super) fn strike(&mut self, method: &str, path: &str) -> Option<Fault> {
        let key = format!("{method} {path}");
        let failed = self.failed.get(&key).copied().unwrap_or_default();
        if self.random.u8(..5) != 0 || failed == IN_A_ROW {
            self.failed.remove(&key);
            return None;
        }
        self.failed.insert(key, failed + 1);
        self.faults += 1;
        let blob = path.contains("/blobs/") && !path.contains("/uploads");
        Some(match (method, self.random.u8(..10)) {
            (_, 0) => Fault::Drop,
            (_, 1) => Fault::Lose,
            (_, 2) => Fault::Status(500),
            (_, 3) => Fault::Status(503),
            // Mostly it says nothing of when it may be asked again.
            (_, 4) if self.random.u8(..10) == 0 => {
                Fault::reply(429, &[("retry-after", "1")], "slow down")
            }
            (_, 4) => Fault::Status(429),
            ("GET", number) if blob => {
                let after = self.random.usize(..96 << 10);
                match number {
                    5 => Fault::Stall(after),
                    6 => Fault::Drip {
                        bytes: 16 << 10,
                        every: Duration::from_millis(2),
                    },
                    7 => Fault::cut(after),
                    _ => Fault::Cut {
                        after,
                        how: End::Reset,
                    },
                }
            }
            ("PUT" | "PATCH", _) if path.contains("/uploads/") => {
                let stored = self.random.usize(..96 << 10);
                Fault::UploadCut { stored }
            }
            ("GET", number) => match number {
                5 | 6 => Fault::Stall(10),
                7 => Fault::cut(10),
                _ => Fault::Cut {
                    after: 10,
                    how: End::Reset,
                },
            },
            _ => Fault::Status(502),
        })
    }
}
