//! The stub from outside: transcripts in bytes, garbage, and the real gdb.

mod copies;
mod exdi;
mod fake;
mod garbage;
mod gdb;
mod memory;
mod range;
mod resend;
mod transcripts;
