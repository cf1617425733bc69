//! The daemon: runs jobs when they are due, and goes on with another
//! configuration when there is one.
//!
//! [`Agenda`] knows which jobs are due and has no clock; [`Supervisor`] has one,
//! owns the runs, and takes what it is told. What runs a job is an [`Engine`]. The
//! [`Board`] has what there is to show, which [`admin`] serves.

pub mod admin;
mod agenda;
mod board;
mod clock;
mod reload;
mod supervisor;

pub use agenda::{Agenda, Call, Skip, TriggerError};
pub use board::{Board, Change, Keeper, StateError};
pub use clock::{Clock, SystemClock};
pub use reload::{Asked, NO_SCHEDULE, Reloader};
pub use supervisor::{Command, Engine, Kind, Known, Supervisor};
