//! A headless Chromium of its own for a test, driven over WebDriver by ChromeDriver. Both are killed when it is
//! dropped, also if the test fails.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use fantoccini::{Client, ClientBuilder, wd::WebDriverCompatibleCommand};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::{ParseError, Url};

use crate::{app::wait_until, ports::free_port, process::Guard};

pub struct Browser {
    pub client: Client,
    // Dropped in this order.
    _driver: Guard,
    _chromium: Chromium,
    _profile: TempDir,
}

/// Kills all processes that name the folder of the profile: ChromeDriver leaves them if it is killed.
struct Chromium(String);

impl Drop for Chromium {
    fn drop(&mut self) {
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&arguments).contains(&self.0) {
                let kill = Command::new("kill")
                    .arg("-9")
                    .arg(process.file_name())
                    .status();
                drop(kill);
            }
        }
    }
}

impl Browser {
    /// Starts a browser. If it is not installed, prints SKIPPED and returns `None`.
    pub async fn start() -> Option<Self> {
        for program in ["/usr/bin/chromium", "/usr/bin/chromedriver"] {
            if !Path::new(program).exists() {
                // Not eprintln!: the test harness hides its output if the test passes.
                let skipped =
                    format!("SKIPPED: {program} is missing, so the page was not opened\n");
                std::io::stderr().write_all(skipped.as_bytes()).unwrap();
                return None;
            }
        }
        let profile = TempDir::with_prefix("publisher-browser-").unwrap();
        let chromium = Chromium(profile.path().to_str().unwrap().to_owned());
        let (driver, port) = driver();
        let capabilities = json!({
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "binary": "/usr/bin/chromium", "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-dev-shm-usage", "--hide-scrollbars",
                format!("--user-data-dir={}", chromium.0),
            ]},
        });
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities.as_object().unwrap().clone());
        let url = format!("http://127.0.0.1:{port}");
        let client = builder.connect(&url);
        Some(Self {
            client: client.await.unwrap(),
            _driver: driver,
            _chromium: chromium,
            _profile: profile,
        })
    }

    /// Runs the body of a JavaScript function in the page and returns its result.
    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Waits until an expression of JavaScript is true.
    pub async fn until(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        wait_until(expression, async || self.run(&script).await == json!(true)).await;
    }

    /// Returns the text of the first element.
    pub async fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?}).innerText");
        self.run(&script).await.as_str().unwrap().to_owned()
    }

    /// Waits until the first element contains a text.
    pub async fn shows(&self, selector: &str, text: &str) {
        let text = json!(text);
        let expression =
            format!("document.querySelector({selector:?})?.innerText.includes({text})");
        self.until(&expression).await;
    }

    /// Sends a command of the Chrome DevTools Protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.send("goog/cdp/execute", body).await
    }

    /// Shows pages in a viewport of this size in CSS pixels, in the light or the dark theme.
    pub async fn show(&self, width: u32, height: u32, theme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 2, "mobile": width < 500 });
        self.devtools("Emulation.setDeviceMetricsOverride", size)
            .await;
        let theme = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.devtools("Emulation.setEmulatedMedia", theme).await;
    }

    /// Returns what was written to the console since the last call: errors of scripts, of the network and of the
    /// policy.
    pub async fn console(&self) -> Vec<String> {
        let entries = self.send("se/log", json!({ "type": "browser" })).await;
        let entries = entries.as_array().unwrap().iter();
        entries
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Ends the session and the browser.
    pub async fn close(self) {
        self.client.close().await.unwrap();
    }

    async fn send(&self, path: &'static str, body: Value) -> Value {
        let command = ChromeCommand { path, body };
        self.client.issue_cmd(command).await.unwrap()
    }
}

/// Starts ChromeDriver; returns its port. With `--port=0` it needs the port that the system gives it for IPv4 for IPv6, too,
/// and ends if another process has that.
fn driver() -> (Guard, u16) {
    let started = (0..10).find_map(|_| {
        let mut driver = Command::new("/usr/bin/chromedriver");
        driver
            .arg(format!("--port={}", free_port()))
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let mut driver = Guard(driver.stdout(Stdio::piped()).spawn().unwrap());
        let port = port(&mut driver)?;
        Some((driver, port))
    });
    started.expect("ChromeDriver starts")
}

/// Reads the port that ChromeDriver listens on, if it does; goes on reading, so that it never waits for its reader.
fn port(driver: &mut Guard) -> Option<u16> {
    let mut lines = BufReader::new(driver.0.stdout.take().unwrap()).lines();
    let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    });
    std::thread::spawn(move || lines.for_each(drop));
    port
}

/// A command that only ChromeDriver knows.
#[derive(Debug)]
struct ChromeCommand {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for ChromeCommand {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}
