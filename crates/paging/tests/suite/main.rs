//! One program, so that the tests share their memory model.

mod extent;
mod memory;
mod tables;
mod walk_hostile;
mod walk_modes;
mod walk_rights;
