//! The resident image: binds the neutral core to this machine's CPU, its link and its memory, and
//! runs the guest. Entered once by setup (crate `handover`), never left.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod backtrace;
#[cfg(target_os = "none")]
mod carve;
#[cfg(target_os = "none")]
mod cpu;
#[cfg(target_os = "none")]
mod descriptors;
#[cfg(target_os = "none")]
mod fault;
#[cfg(target_os = "none")]
mod host;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod others;
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
mod time;

/// What setup knows the image by.
#[cfg(target_os = "none")]
// SAFETY: the section holds notes and nothing else, and this is one.
#[unsafe(link_section = ".note.ramooflax")]
#[used]
static SEAL: handover::seal::Seal = handover::seal::Seal::THIS;

/// The image exists for bare metal only.
#[cfg(not(target_os = "none"))]
fn main() {}
