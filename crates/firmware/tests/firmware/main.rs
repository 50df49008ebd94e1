//! Tests of the crate `firmware` from outside, on memory made by hand.
mod acpi;
mod bda;
mod e820;
mod mp_table;
mod multiboot;
mod options;
mod ram;
