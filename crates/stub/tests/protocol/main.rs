//! The stub from outside: transcripts in bytes, garbage, and the real gdb.

mod clients;
mod copies;
mod exdi;
mod fake;
mod garbage;
mod gdb;
mod memory;
mod range;
mod resend;
mod running;
mod talk;
mod transcripts;
