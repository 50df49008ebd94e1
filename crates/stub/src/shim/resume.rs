//! How the guest is to go on.

use super::Shim;
use core::convert::Infallible;
use gdbstub::common::{Signal, Tid};
use gdbstub::target::ext::base::multithread::{
    MultiThreadRangeStepping, MultiThreadRangeSteppingOps, MultiThreadResume,
    MultiThreadSchedulerLocking, MultiThreadSchedulerLockingOps, MultiThreadSingleStep,
    MultiThreadSingleStepOps,
};

impl Shim<'_> {
    /// A thread that is not there must not become a guest that runs freely.
    fn name(&mut self, tid: Tid) {
        self.unknown |= tid.get() > self.target.cpus();
    }
}

impl MultiThreadResume for Shim<'_> {
    fn resume(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn clear_resume_actions(&mut self) -> Result<(), Infallible> {
        self.step = None;
        self.range = None;
        self.unknown = false;
        Ok(())
    }

    fn set_resume_action_continue(
        &mut self,
        tid: Tid,
        _: Option<Signal>,
    ) -> Result<(), Infallible> {
        self.name(tid);
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_range_step(&mut self) -> Option<MultiThreadRangeSteppingOps<'_, Self>> {
        Some(self)
    }

    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadSingleStep for Shim<'_> {
    fn set_resume_action_step(&mut self, tid: Tid, _: Option<Signal>) -> Result<(), Infallible> {
        self.name(tid);
        self.step = self.step.or(Some(tid.get()));
        Ok(())
    }
}

impl MultiThreadRangeStepping for Shim<'_> {
    fn set_resume_action_range_step(
        &mut self,
        tid: Tid,
        start: u64,
        end: u64,
    ) -> Result<(), Infallible> {
        self.name(tid);
        if self.step.is_none() {
            self.step = Some(tid.get());
            self.range = Some((start, end));
        }
        Ok(())
    }
}

impl MultiThreadSchedulerLocking for Shim<'_> {
    // Which other CPUs run while one steps is the debugger's choice.
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
