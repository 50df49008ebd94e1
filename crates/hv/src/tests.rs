//! The core on a model of the machine: scripted exits, flat memory, a line of two queues.
extern crate std;

mod apic;
mod bench;
mod counter;
mod cpuid;
mod debugger;
mod exits;
mod halt;
mod hardware;
mod hole;
mod host;
mod intel;
mod line;
mod monitor_trap;
mod msr;
mod nmi;
mod ports;
mod post;
mod probe;
mod random;
mod rip;
mod stepping;
mod string_io;
mod string_store;
mod task;
mod tsc;
mod vcpu;
