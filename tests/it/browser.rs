//! The status page in a real browser: Debian's chromium, headless, driven over
//! WebDriver (W3C) by chromedriver. `.ci/run` asks for it with
//! `REGMIRROR_BROWSER_TEST=1`; without that it says that it was skipped.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::bench::Bench;
use crate::support::client;
use crate::support::daemon::{Server, TOKEN};
use crate::support::images::{push_image, repo, tagged};

/// A browser with one window.
struct Browser {
    driver: Child,
    session: String,
}

impl Browser {
    async fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed");
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| {
                let port = line.split_once("successfully on port ")?.1;
                port.trim_end_matches('.').parse::<u16>().ok()
            })
            .expect("it says where it listens");
        let options = json!({ "args": ["--headless=new", "--no-sandbox", "--disable-gpu",
            "--disable-dev-shm-usage", "--no-proxy-server", "--window-size=1200,900"] });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": 60000 },
        } } });
        let url = format!("http://127.0.0.1:{port}/session");
        let mut browser = Self {
            driver,
            session: url,
        };
        let begun = browser.post("", wanted).await;
        let id = begun["sessionId"].as_str().expect("a session").to_owned();
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.session);
        let request = client().post(url).body(body.to_string());
        let answer = request.send().await.expect("an answer").text().await;
        let answer: Value = serde_json::from_str(&answer.expect("a body")).expect("JSON");
        assert!(
            answer["value"]["error"].is_null(),
            "{path} {body}: {answer}"
        );
        answer["value"].clone()
    }

    async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// What an expression comes to in the page.
    async fn eval(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        self.post("/execute/sync", json!({ "script": script, "args": [] }))
            .await
    }

    /// Waits until an expression is true in the page.
    async fn until(&self, expression: &str) {
        let script = format!(
            "const done = arguments[0]; const end = Date.now() + 40000; const look = () => {{ \
             if ({expression}) done(true); else if (Date.now() > end) done(false); \
             else setTimeout(look, 20); }}; look();"
        );
        let body = json!({ "script": script, "args": [] });
        let so = self.post("/execute/async", body).await;
        if so != true {
            let page = self.eval("document.body.innerText").await;
            panic!(
                "not so: {expression}\n{}",
                page.as_str().unwrap_or_default()
            );
        }
    }

    async fn element(&self, selector: &str) -> String {
        let body = json!({ "using": "css selector", "value": selector });
        let found = self.post("/element", body).await;
        let id = found.as_object().and_then(|found| found.values().next());
        id.and_then(Value::as_str).expect("an element").to_owned()
    }

    async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/click"), json!({}))
            .await;
    }

    async fn write(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        let path = format!("/element/{element}/value");
        self.post(&path, json!({ "text": text })).await;
    }

    /// What the console holds since it was asked last.
    async fn console(&self) -> Vec<String> {
        let entries = self.post("/se/log", json!({ "type": "browser" })).await;
        let entries = entries.as_array().cloned().unwrap_or_default();
        entries.iter().map(ToString::to_string).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its browsers end with it when it is asked to, not when it is killed.
        let id = rustix::process::Pid::from_raw(self.driver.id().cast_signed());
        if let Some(id) = id {
            let _ = rustix::process::kill_process(id, Signal::TERM);
        }
        let _ = self.driver.wait();
    }
}

#[tokio::test]
async fn the_page_shows_what_fails_runs_a_job_and_survives_a_restart() {
    if std::env::var_os("REGMIRROR_BROWSER_TEST").is_none() {
        println!("skipped: set REGMIRROR_BROWSER_TEST=1, with chromium and chromedriver installed");
        return;
    }
    let bench = Bench::new().await;
    let app = repo("app");
    push_image(bench.source.store(), &app, Some("1"), &[b"1"]).await;
    // What a job is called must not become a part of the page.
    let hostile = "<img src=x onerror=alert(1)>";
    let entries = [
        "name: app, source: SOURCE/app, target: TARGET/app, type: repository, \
         schedule: '0 0 1 1 *'"
            .to_owned(),
        format!(
            "name: '{hostile}', source: 'SOURCE/gone:1', target: 'TARGET/gone:1', type: image, \
             schedule: '0 0 1 1 *'"
        ),
    ];
    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
    let mut server = Server::with_token(bench.program(&entries, &["server"]));
    server.run_job("app").await;
    let name = "%3Cimg%20src=x%20onerror=alert(1)%3E";
    assert_eq!(server.run_job(name).await["result"], "failure");
    let url = server.url().await;

    let browser = Browser::start().await;
    browser.open(&format!("{url}/")).await;
    browser
        .until("!document.querySelector('#sign-in').hidden")
        .await;
    browser.write("#token", TOKEN).await;
    browser.click("#sign-in button").await;

    // At a glance.
    browser
        .until("document.querySelector('#health').textContent === '1 failing'")
        .await;
    let failing = "document.querySelector('tr[data-state=failing]')";
    browser
        .until(&format!("{failing}?.innerText.includes('could not find')"))
        .await;
    let job = browser.eval(&format!("{failing}.dataset.job")).await;
    assert_eq!(job, hostile);
    browser
        .until("document.querySelector('#failures li')?.innerText.includes('could not find')")
        .await;
    assert_eq!(
        browser
            .eval("document.querySelectorAll('img').length")
            .await,
        0
    );
    let state = "document.querySelector('tr[data-job=app] .state').textContent";
    browser.until(&format!("{state} === 'ok'")).await;

    // Whoever cannot see or point is told as much.
    let unnamed = "[...document.querySelectorAll('button, input')].filter((one) => \
                   !one.textContent.trim() && !one.ariaLabel && !one.labels?.length).length";
    assert_eq!(browser.eval(unnamed).await, 0);
    let name = "document.querySelector('tr[data-job=app] button').ariaLabel";
    assert_eq!(browser.eval(name).await, "Run now: app");

    // The button.
    push_image(bench.source.store(), &app, Some("2"), &[b"2"]).await;
    browser.click("tr[data-job=app] button").await;
    let copied = "document.querySelector('tr[data-job=app] td[data-label=Copied]').textContent";
    browser.until(&format!("{copied} === '1'")).await;
    assert!(tagged(bench.target.store(), &app, "2").await.is_some());
    assert_eq!(browser.console().await, Vec::<String>::new());

    // On a phone nothing sticks out.
    browser
        .post("/window/rect", json!({ "width": 500, "height": 800 }))
        .await;
    browser
        .until("document.documentElement.scrollWidth <= window.innerWidth")
        .await;

    // The daemon goes, and comes back.
    server.signal(Signal::TERM);
    assert_eq!(server.end().await, 0);
    browser
        .until("!document.querySelector('#lost').hidden")
        .await;
    let lost = "document.querySelector('#health').textContent";
    assert_eq!(browser.eval(lost).await, "not connected");
    let address = url.strip_prefix("http://").unwrap();
    let again = bench.program(&entries, &["server"]);
    let mut server = Server::with_token_at(again, address);
    server.url().await;
    browser
        .until("document.querySelector('#lost').hidden")
        .await;
    browser.until(&format!("{state} !== 'ok'")).await;
    browser.click("tr[data-job=app] button").await;
    browser.until(&format!("{state} === 'ok'")).await;
}
