//! A generation waits for its slot.

use std::sync::Arc;
use std::time::Instant;

use super::news::News;
use super::run::run;
use super::sink::EventSink;
use super::task::GenerationTask;
use crate::app::App;

/// Waits for a slot and runs the task in it.
pub(crate) async fn run_in_slot(app: Arc<App>, mut task: GenerationTask, sink: EventSink) {
    let enter = async {
        if let Some(mut first) = task.after.take() {
            // Its failure frees the others as well.
            let _ = first.wait_for(|read| *read).await;
        }
        app.admission.slot(task.deadline).await
    };
    let slot = tokio::select! {
        slot = enter => slot,
        () = sink.closed() => return,
    };
    match slot {
        Ok(slot) => {
            let work = move || {
                let start = Instant::now();
                run(&app, task, &sink);
                app.admission.took(start.elapsed());
                drop(slot);
            };
            // It tells its sink of everything; a panic ends the channel.
            let _ = tokio::task::spawn_blocking(work).await;
        }
        Err(error) => {
            task.watched.ended("timeout");
            sink.tell(News::Failed(error)).await;
        }
    }
}
