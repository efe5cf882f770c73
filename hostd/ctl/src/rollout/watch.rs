//! A rollout that is shown while it goes on: drawn over itself on a terminal, else a line for each change.

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
    time::{Duration, Instant},
};

use wire::{Code, Failure, Rollout, RolloutState};

use super::view;
use crate::{context::Context, output};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Lines of the view besides its waves, and the one that the cursor is on.
const FRAME: usize = 7;
/// How long a hostd that has ended is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where a rollout is, in the API.
pub(super) fn path(id: u64, rest: &str) -> String {
    format!("/v1/rollouts/{id}{rest}")
}

/// What a command ends with that has seen a rollout to its end.
fn code(rollout: &Rollout) -> ExitCode {
    match rollout.state {
        Some(RolloutState::Failed | RolloutState::Aborted) | None => ExitCode::FAILURE,
        Some(_) => ExitCode::SUCCESS,
    }
}

fn is_over(rollout: &Rollout) -> bool {
    rollout.state.is_none_or(RolloutState::is_final)
}

/// The rollout as it is now; the same once more while hostd is started again.
async fn look(context: &Context, last: &Rollout) -> Result<Rollout, Failure> {
    let since = Instant::now();
    loop {
        match context.client.get(&path(last.id, "")).await {
            Err(failure) if failure.code == Code::NoHostd && since.elapsed() < PATIENCE => {
                tokio::time::sleep(LOOK).await;
            }
            answer => return answer,
        }
    }
}

/// A rollout that goes on, as it fits on the terminal.
fn live(rollout: &Rollout) -> String {
    let (_, height) = output::terminal_size();
    let waves = height.saturating_sub(FRAME).max(1);
    format!("{}Ctrl-C ends this view; the rollout goes on\n", view::progress(rollout, waves))
}

/// Shows a rollout until it has ended.
pub(super) async fn watch(context: &Context, mut rollout: Rollout) -> crate::Result {
    let draws = io::stdout().is_terminal() && !context.output.json;
    let (mut drawn, mut said) = (0, String::new());
    loop {
        if draws {
            let up = if drawn > 0 { format!("\x1b[{drawn}A\x1b[J") } else { String::new() };
            let text = match is_over(&rollout) {
                true => view::status(&rollout),
                // What is longer than a line is cut off, so that it is known how many lines there are.
                false => format!("\x1b[?7l{}\x1b[?7h", live(&rollout)),
            };
            drawn = text.matches('\n').count();
            output::write(&format!("{up}{text}"));
        } else if !context.output.json {
            // What is left of a bake is no change.
            let line = view::line(&Rollout { bake_left_ms: None, ..rollout.clone() });
            if line != said && !is_over(&rollout) {
                output::write(&line);
                said = line;
            }
        }
        if is_over(&rollout) {
            break;
        }
        tokio::time::sleep(LOOK).await;
        rollout = look(context, &rollout).await?;
    }
    if !draws {
        context.output.print(&rollout, view::status);
    }
    Ok(code(&rollout))
}

/// Waits until a rollout has ended that is to end.
pub(super) async fn until_end(context: &Context, mut rollout: Rollout) -> crate::Result {
    while !is_over(&rollout) {
        tokio::time::sleep(LOOK).await;
        rollout = look(context, &rollout).await?;
    }
    context.output.print(&rollout, view::line);
    Ok(ExitCode::SUCCESS)
}
