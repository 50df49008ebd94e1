//! One program, so that the tests share their memory model.

mod ept;
mod extent;
mod layouts;
mod memory;
mod mtrr;
mod tables;
mod walk_hostile;
mod walk_modes;
mod walk_rights;
