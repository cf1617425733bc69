//! `/api/v1`: how things are, and what to do.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::{StatusCode, Uri};
use serde_json::Value;
use tokio::sync::oneshot;

use super::{Admin, answer, error};
use crate::daemon::agenda::TriggerError;
use crate::daemon::supervisor::Command;
use crate::report::{
    Accepted, JobStatuses, Line, LogLevel, Registries, Run, Runs, SCHEMA_VERSION, Status,
};
use crate::telemetry;

type Shared = State<Arc<Admin>>;

const NO_JOB: &str = "there is no such job in the configuration";
const NO_RUN: &str = "no run of that name is remembered";

impl Admin {
    pub(super) fn status(&self) -> Status {
        let pool = self.engine.pool();
        self.board.status(pool, self.access.allows_changes())
    }

    pub(super) fn registries(&self) -> Registries {
        Registries {
            schema_version: SCHEMA_VERSION,
            registries: self.board.registries(self.engine.registries()),
        }
    }

    /// The latest runs, or those of them that failed.
    pub(super) fn runs(&self, failed: bool, most: usize) -> Runs {
        let runs = self.board.runs(failed).into_iter().take(most);
        Runs {
            schema_version: SCHEMA_VERSION,
            runs: runs.map(|run| Run::clone(&run)).collect(),
        }
    }

    /// Tells the supervisor, and waits for what it answers.
    async fn tell<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Response> {
        let ending = || {
            let text = "the daemon is ending";
            error(StatusCode::SERVICE_UNAVAILABLE, text)
        };
        if self.board.is_draining() {
            return Err(ending());
        }
        let (sender, told) = oneshot::channel();
        let sent = self.commands.send(command(sender)).await;
        sent.map_err(|_| ending())?;
        told.await.map_err(|_| ending())
    }

    async fn set_paused(&self, name: Option<String>, paused: bool) -> Response {
        let one = name.is_some();
        let told = self.tell(|answer| Command::Pause(name, paused, answer));
        match told.await {
            Ok(0) if one => error(StatusCode::NOT_FOUND, NO_JOB),
            Ok(jobs) => accepted(Accepted {
                jobs: Some(jobs),
                ..Accepted::default()
            }),
            Err(response) => response,
        }
    }
}

fn accepted(accepted: Accepted) -> Response {
    answer(StatusCode::ACCEPTED, &Line::Accepted(accepted))
}

fn found(line: Option<Line>, otherwise: &str) -> Response {
    match line {
        Some(line) => answer(StatusCode::OK, &line),
        None => error(StatusCode::NOT_FOUND, otherwise),
    }
}

pub(super) async fn status(State(admin): Shared) -> Response {
    answer(StatusCode::OK, &Line::Status(admin.status()))
}

pub(super) async fn jobs(State(admin): Shared) -> Response {
    let jobs = JobStatuses {
        schema_version: SCHEMA_VERSION,
        jobs: admin.board.jobs(),
    };
    answer(StatusCode::OK, &Line::Jobs(jobs))
}

pub(super) async fn job(State(admin): Shared, Path(name): Path<String>) -> Response {
    let job = admin.board.job(&name);
    found(job.map(|job| Line::JobStatus(Box::new(job))), NO_JOB)
}

pub(super) async fn runs(State(admin): Shared, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    let failed = query.split('&').any(|part| part == "failed=1");
    answer(StatusCode::OK, &Line::Runs(admin.runs(failed, usize::MAX)))
}

pub(super) async fn run(State(admin): Shared, Path(id): Path<String>) -> Response {
    let run = admin.board.run(&id);
    found(run.map(|run| Line::Run(Run::clone(&run))), NO_RUN)
}

pub(super) async fn registries(State(admin): Shared) -> Response {
    answer(StatusCode::OK, &Line::Registries(admin.registries()))
}

pub(super) async fn config(State(admin): Shared) -> Response {
    answer(StatusCode::OK, &Line::Config(admin.board.configuration()))
}

pub(super) async fn version(State(admin): Shared) -> Response {
    answer(StatusCode::OK, &Line::Version(admin.version.clone()))
}

pub(super) async fn log_level() -> Response {
    let level = telemetry::level().map(|level| level.to_string());
    let level = level.unwrap_or_else(|| "off".to_owned());
    answer(StatusCode::OK, &Line::LogLevel(LogLevel { level }))
}

/// Takes `{"level": "debug"}`, or the bare word.
pub(super) async fn set_log_level(body: String) -> Response {
    let json: Option<Value> = serde_json::from_str(&body).ok();
    let word = match json.as_ref().and_then(|json| json.get("level")) {
        Some(Value::String(word)) => word.as_str(),
        _ => body.trim(),
    };
    match word.parse() {
        Ok(level) => {
            telemetry::set_level(level);
            tracing::warn!(%level, "somebody changed how much is logged");
            log_level().await
        }
        Err(why) => {
            let why: telemetry::LevelError = why;
            error(StatusCode::BAD_REQUEST, &why.to_string())
        }
    }
}

pub(super) async fn trigger(State(admin): Shared, Path(name): Path<String>) -> Response {
    match admin.tell(|answer| Command::Trigger(name, answer)).await {
        Ok(Ok(id)) => accepted(Accepted {
            run_id: Some(id.to_string()),
            ..Accepted::default()
        }),
        Ok(Err(TriggerError::Unknown)) => error(StatusCode::NOT_FOUND, NO_JOB),
        Ok(Err(TriggerError::Running)) => {
            let text = TriggerError::Running.to_string();
            error(StatusCode::CONFLICT, &text)
        }
        Err(response) => response,
    }
}

pub(super) async fn pause(State(admin): Shared, Path(name): Path<String>) -> Response {
    admin.set_paused(Some(name), true).await
}

pub(super) async fn resume(State(admin): Shared, Path(name): Path<String>) -> Response {
    admin.set_paused(Some(name), false).await
}

pub(super) async fn pause_all(State(admin): Shared) -> Response {
    admin.set_paused(None, true).await
}

pub(super) async fn resume_all(State(admin): Shared) -> Response {
    admin.set_paused(None, false).await
}

pub(super) async fn cancel(State(admin): Shared, Path(id): Path<String>) -> Response {
    let named = id.clone();
    match admin.tell(|answer| Command::Cancel(named, answer)).await {
        Ok(true) => accepted(Accepted {
            run_id: Some(id),
            ..Accepted::default()
        }),
        Ok(false) => error(StatusCode::NOT_FOUND, "no such run is under way"),
        Err(response) => response,
    }
}

pub(super) async fn reload(State(admin): Shared) -> Response {
    let Some(reloads) = &admin.reloads else {
        let text = "the configuration came from standard input, which is over";
        return error(StatusCode::CONFLICT, text);
    };
    let (sender, told) = oneshot::channel();
    let gone = || error(StatusCode::SERVICE_UNAVAILABLE, "the daemon is ending");
    if reloads.send(sender).await.is_err() {
        return gone();
    }
    match told.await {
        Ok(Ok(jobs)) => answer(
            StatusCode::OK,
            &Line::Accepted(Accepted {
                jobs: Some(jobs),
                ..Accepted::default()
            }),
        ),
        Ok(Err(why)) => error(StatusCode::UNPROCESSABLE_ENTITY, &why),
        Err(_) => gone(),
    }
}
