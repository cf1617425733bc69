//! What the process tells of itself: logs, and metrics.

mod log;
pub mod metrics;

pub use log::{
    Format, Level, LevelError, Out, deceives, init, level, logged, set_level, tells_programs,
};
