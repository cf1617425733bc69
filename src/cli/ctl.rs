//! `regmirror ctl` and `regmirror healthcheck`: to a daemon, over its API.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::args::{Ctl, CtlCommand, Healthcheck, TableOrJson};
use super::exit::Exit;
use super::{board, output, terminal};
use crate::app::{Answer, Remote};

/// How long the daemon may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long it may take to say that it lives, which is less than containers give.
const HEALTH: Duration = Duration::from_secs(4);

/// How often `status --watch` and `trigger --wait` ask.
const PACE: Duration = Duration::from_secs(1);

pub(super) async fn run(arguments: &Ctl) -> Exit {
    match told(arguments).await {
        Ok(exit) => exit,
        Err(why) => {
            output::error(&why);
            Exit::Failed
        }
    }
}

/// Ends with 0 if the daemon lives.
pub(super) async fn healthcheck(arguments: &Healthcheck) -> Exit {
    let mut address = arguments.http.http_addr;
    // Where it listens to everybody, we are one of them.
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let asked = async {
        let remote = Remote::new(&format!("http://{address}"), None, HEALTH)?;
        remote.ask(Method::GET, &["livez"], None).await
    };
    match asked.await {
        Ok(Answer { status: 200, .. }) => Exit::Success,
        Ok(Answer { status, .. }) => {
            output::error(&format!("{address}/livez answers {status}"));
            Exit::Failed
        }
        Err(why) => {
            output::error(&why);
            Exit::Failed
        }
    }
}

/// A daemon's API.
struct Api(Remote);

impl Api {
    async fn get(&self, path: &[&str]) -> Result<Value, String> {
        self.ask(Method::GET, path, None).await?.success()
    }

    async fn post(&self, path: &[&str]) -> Result<Value, String> {
        self.ask(Method::POST, path, None).await?.success()
    }

    async fn ask(
        &self,
        method: Method,
        path: &[&str],
        body: Option<String>,
    ) -> Result<Answer, String> {
        self.0
            .ask(method, &[&["api", "v1"], path].concat(), body)
            .await
    }
}

async fn told(arguments: &Ctl) -> Result<Exit, String> {
    let token = arguments.token_file.as_deref().map(token).transpose()?;
    let api = Api(Remote::new(&arguments.url, token.as_deref(), PATIENCE)?);
    match &arguments.command {
        CtlCommand::Status { watch, output } => return status(&api, *watch, *output).await,
        CtlCommand::Trigger { jobs, wait } => return trigger(&api, jobs, *wait).await,
        CtlCommand::Pause(jobs) => set_paused(&api, "pause", &jobs.jobs).await?,
        CtlCommand::Resume(jobs) => set_paused(&api, "resume", &jobs.jobs).await?,
        CtlCommand::Cancel { run } => {
            api.post(&["runs", run, "cancel"]).await?;
            output::print(&format!("{run} ends when what is under way is done\n"));
        }
        CtlCommand::Reload => {
            let answer = api.post(&["reload"]).await?;
            let jobs = answer.get("jobs").and_then(Value::as_u64);
            let jobs = output::plural(jobs.unwrap_or_default(), "job");
            output::print(&format!("the configuration was read again: {jobs}\n"));
        }
        CtlCommand::LogLevel { wanted } => {
            let answer = match wanted {
                None => api.get(&["log-level"]).await?,
                Some(level) => {
                    let body = json!({ "level": level.to_string() }).to_string();
                    let answer = api.ask(Method::PUT, &["log-level"], Some(body));
                    answer.await?.success()?
                }
            };
            output::print(&format!("{}\n", board::text(&answer, "level")));
        }
    }
    Ok(Exit::Success)
}

fn token(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("could not read {}: {error}", path.display()))?;
    Ok(text.trim().to_owned())
}

async fn status(api: &Api, watch: bool, form: TableOrJson) -> Result<Exit, String> {
    let mut drawn = 0;
    loop {
        let status = api.get(&["status"]).await?;
        let jobs = api.get(&["jobs"]).await?;
        let registries = api.get(&["registries"]).await?;
        let healthy = status.get("healthy") == Some(&Value::Bool(true));
        let shown = match form {
            TableOrJson::Table => {
                let colour = terminal::colour(&std::io::stdout());
                board::table(&status, &jobs, &registries, colour)
            }
            TableOrJson::Json => {
                let all = json!({ "status": status, "jobs": jobs, "registries": registries });
                let text = match watch {
                    true => serde_json::to_string(&all),
                    false => serde_json::to_string_pretty(&all),
                };
                text.expect("maps with text for keys") + "\n"
            }
        };
        if !watch {
            output::print(&shown);
            // As a check: what people see at a glance, scripts see as well.
            return Ok(if healthy { Exit::Success } else { Exit::Failed });
        }
        let over = form == TableOrJson::Table && terminal::width().is_some();
        let again = if over && drawn > 0 {
            // Up over what was drawn, and clear from there on.
            format!("\u{1b}[{drawn}A\u{1b}[J{shown}")
        } else {
            shown.clone()
        };
        drawn = shown.lines().count();
        if !output::try_print(&again) {
            return Ok(Exit::Success);
        }
        tokio::time::sleep(PACE).await;
    }
}

async fn trigger(api: &Api, jobs: &[String], wait: bool) -> Result<Exit, String> {
    let mut runs = Vec::new();
    for job in jobs {
        let answer = api.post(&["jobs", job, "trigger"]).await;
        let answer = answer.map_err(|why| format!("{job}: {why}"))?;
        let run = board::text(&answer, "run_id").to_owned();
        output::print(&format!("{job}: {run}\n"));
        runs.push((job, run));
    }
    let mut exit = Exit::Success;
    for (job, run) in runs.iter().filter(|_| wait) {
        let ended = loop {
            let answer = api.ask(Method::GET, &["runs", run], None).await?;
            if answer.status != 404 {
                break answer.success()?;
            }
            let state = api.get(&["jobs", job]).await?;
            let running = state
                .get("running")
                .map(|running| board::text(running, "run_id"));
            let last = state
                .get("last_run")
                .map(|last| board::text(last, "run_id"));
            if running != Some(run) && last != Some(run) {
                return Err(format!("{job}: nothing is known of {run} any more"));
            }
            tokio::time::sleep(PACE).await;
        };
        let result = board::text(&ended, "result");
        output::print(&format!("{job}: {result}\n"));
        if result != "success" {
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

async fn set_paused(api: &Api, verb: &str, jobs: &[String]) -> Result<(), String> {
    let word = match verb {
        "pause" => "paused",
        _ => "resumed",
    };
    if jobs.is_empty() {
        let answer = api.post(&[verb]).await?;
        let count = answer.get("jobs").and_then(Value::as_u64);
        let count = output::plural(count.unwrap_or_default(), "job");
        output::print(&format!("{count} {word}\n"));
    }
    for job in jobs {
        let answer = api.post(&["jobs", job, verb]).await;
        answer.map_err(|why| format!("{job}: {why}"))?;
        output::print(&format!("{job}: {word}\n"));
    }
    Ok(())
}
