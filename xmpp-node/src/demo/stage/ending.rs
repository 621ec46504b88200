//! The end of a demo: everything under way arrives, everything down comes back, the books are compared, the nodes stop.

use std::time::Duration;

use tokio::time::sleep;

use super::{Outcome, Stage, TICK};
use crate::demo::error::DemoError;
use crate::demo::reckoning::reckon;
use crate::demo::report::Report;
use crate::demo::view::View;

impl Stage {
    /// Stops sending, lets everything that is down come back and everything under way arrive, and compares the books.
    pub(super) async fn wind_up(mut self, view: &mut View) -> Result<Outcome, DemoError> {
        self.faults.cease();
        view.show(&self.picture());
        view.leave();
        let totals = self.run.drain(DRAIN).await;
        while !self.faults.calm() {
            self.look(view).await?;
            sleep(TICK).await;
        }
        self.look(view).await?;
        let report = Report::new(&totals, self.killed, self.leader_changes);
        let mut complaints = totals.complaints();
        if report.unaccounted > 0 {
            let numbers = self.run.open_numbers(20).join(" ");
            complaints.push(format!(
                "not accounted for (sender>recipient:number): {numbers}"
            ));
        }
        let mut shared = self.shared;
        let others = |statuses: &[_]| {
            shared |= self.used_by_others(statuses);
            shared
        };
        complaints.extend(reckon(&self.cluster, &self.run, &totals, others).await);
        self.print_statuses(view).await;
        view.say(&closing(&report));
        for complaint in &complaints {
            view.say(&format!("NOT WELL: {complaint}"));
        }
        self.run.stop().await;
        view.say("stopping the nodes");
        self.cluster.shutdown(SHUTDOWN).await;
        Ok(Outcome { report, complaints })
    }
}

fn closing(report: &Report) -> String {
    let gaps = report.gap_ms_by_fault.iter().map(|gap| format!("{gap} ms"));
    let gaps: Vec<String> = gaps.collect();
    let by_fault = match gaps.is_empty() {
        true => String::new(),
        false => format!(" (by fault: {})", gaps.join(", ")),
    };
    format!(
        "{} sent, {} delivered, {} errors, {} duplicates, {} out of order, {} unaccounted for\n\
         {} faults, {} leader changes, longest gap {} ms{by_fault}\n\
         latency p50 {} us, p99 {} us",
        report.sent,
        report.delivered,
        report.errors,
        report.duplicates,
        report.out_of_order,
        report.unaccounted,
        report.faults,
        report.leader_changes,
        report.longest_gap_ms,
        report.latency_us.p50,
        report.latency_us.p99
    )
}

/// How long what was sent may take to arrive once nothing more is sent.
const DRAIN: Duration = Duration::from_secs(10);

/// How long nodes may take to stop in good order; a little more than `timing.stop_timeout`.
const SHUTDOWN: Duration = Duration::from_secs(12);
