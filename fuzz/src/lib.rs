//! What comes from outside, fuzzed: each target takes bytes, gives them to a crate as its hostile input, and
//! panics when what comes out breaks a promise of that crate.
//!
//! The targets are plain functions. `cargo xtask fuzz` drives them by libFuzzer with coverage; the tests
//! of this crate drive them by their seeds, mutated, and by every input that once broke one.
#![deny(unsafe_code)]

mod acpi;
mod buffer;
mod decoder;
mod e820;
mod input;
mod multiboot;
mod stub_input;
mod tables;
mod walk;
mod words;

#[cfg(test)]
mod tests;

/// One thing that is fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// How it is called.
    pub name: &'static str,
    /// Takes one input; panics if it is mistreated.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "stub", run: stub_input::run, seeds: stub_input::seeds },
    Target { name: "multiboot", run: multiboot::run, seeds: multiboot::seeds },
    Target { name: "e820", run: e820::run, seeds: e820::seeds },
    Target { name: "acpi", run: acpi::run, seeds: acpi::seeds },
    Target { name: "decoder", run: decoder::run, seeds: decoder::seeds },
    Target { name: "walk", run: walk::run, seeds: walk::seeds },
    Target { name: "tables", run: tables::run, seeds: tables::seeds },
    Target { name: "words", run: words::run, seeds: words::seeds },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|target| target.name == name).copied()
}
