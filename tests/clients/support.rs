//! A broker process for a test, and the clients that talk to it. Every process has an end, also when a test fails.
#![expect(clippy::disallowed_methods, reason = "a test drives processes and files of the real machine")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds after which a broker or client that hangs is ended; ten times what the slowest needed on two busy cores.
const BROKER_SECONDS_MAX: &str = "600";
const CLIENT_SECONDS_MAX: &str = "300";
const LOG_WAIT: Duration = Duration::from_secs(30);

/// A broker that serves; it ends with the value, and its directory goes when the test was happy.
pub struct Broker {
    process: Child,
    address: String,
    directory: PathBuf,
    options: Vec<String>,
}

impl Broker {
    /// On a free port and an empty directory.
    pub fn start(options: &[&str]) -> Broker {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("broker-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&directory).expect("a directory for the test");
        Broker::on(directory, "127.0.0.1:0", options.iter().map(|option| (*option).to_owned()).collect())
    }

    fn on(directory: PathBuf, listen: &str, options: Vec<String>) -> Broker {
        let log =
            std::fs::File::options().append(true).create(true).open(directory.join("broker.log")).expect("a log file");
        // `timeout` hands SIGTERM on, and ends a broker that outlives its test run.
        let mut process = Command::new("timeout")
            .args(["--kill-after=10", BROKER_SECONDS_MAX, env!("CARGO_BIN_EXE_ringlane"), "server", "--listen", listen])
            .arg("--data")
            .arg(directory.join("data"))
            .args(&options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the broker's process");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("the line that says it serves");
        let address = line.trim().strip_prefix("ringlane: serving on ").map(str::to_owned);
        let address = address.unwrap_or_else(|| panic!("the broker did not start:\n{}", log_of(&directory)));
        Broker { process, address, directory, options }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Everything on standard error so far.
    pub fn log(&self) -> String {
        log_of(&self.directory)
    }

    /// Sends a signal and waits until the log holds `expected`.
    pub fn signal_until_logged(&self, signal: &str, expected: &str) {
        let asked =
            Command::new("pkill").args(["--signal", signal, "--parent", &self.process.id().to_string()]).status();
        assert!(asked.expect("pkill").success(), "no broker to signal");
        let deadline = Instant::now() + LOG_WAIT;
        while !self.log().contains(expected) {
            assert!(Instant::now() < deadline, "{expected:?} did not come; the log is:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGTERM, and again on the same directory and port.
    pub fn restart(mut self) -> Broker {
        let status = self.stop();
        assert!(status.success(), "stopping in order ended with {status}:\n{}", log_of(&self.directory));
        Broker::on(self.directory.clone(), &self.address, std::mem::take(&mut self.options))
    }

    /// SIGTERM; its data stay.
    pub fn stop_and_keep(mut self) -> PathBuf {
        assert!(self.stop().success(), "{}", self.log());
        self.data()
    }

    fn stop(&mut self) -> std::process::ExitStatus {
        let pid = self.process.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().expect("kill");
        self.process.wait().expect("the broker's end")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.stop();
            if std::thread::panicking() {
                eprintln!("the broker's log:\n{}", log_of(&self.directory));
            } else {
                // What is left is in the build's own directory.
                let _ = std::fs::remove_dir_all(&self.directory);
            }
        }
    }
}

fn log_of(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("broker.log")).unwrap_or_else(|error| error.to_string())
}

/// Where a client comes from.
#[derive(Clone, Copy)]
pub enum Client {
    Python,
    Java,
    Go,
    /// Driven by a Python program.
    Kcat,
}

impl Client {
    /// Runs one of the client's programs; what it printed. Panics with that when it failed.
    pub fn run(self, program: &str, arguments: &[&str]) -> String {
        self.run_with_input(program, arguments, "")
    }

    pub fn run_with_input(self, program: &str, arguments: &[&str], input: &str) -> String {
        self.fetch();
        let clients = clients();
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let (command, mut all) = match self {
            Client::Python if program == "-c" => (text(clients.join("python/bin/python")), vec!["-c".to_owned()]),
            Client::Python | Client::Kcat => {
                (text(clients.join("python/bin/python")), vec![text(here.join("python").join(program))])
            }
            Client::Java => {
                let class_path = format!("{}/*", text(clients.join("java")));
                // One of Kafka's tools, or a program of ours.
                let class = match program.ends_with(".java") {
                    true => text(here.join("java").join(program)),
                    false => format!("org.apache.kafka.tools.{program}"),
                };
                ("java".to_owned(), vec!["-XX:TieredStopAtLevel=1".to_owned(), "-cp".to_owned(), class_path, class])
            }
            Client::Go => (text(clients.join(program)), Vec::new()),
        };
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        run(&command, &all, input)
    }

    fn fetch(self) {
        let names: &[&str] = match self {
            Client::Python => &["python"],
            Client::Java => &["java"],
            Client::Go => &["go"],
            Client::Kcat => &["python", "kcat"],
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/clients");
        let status =
            Command::new(script).args(names).env("CARGO_TARGET_DIR", target()).status().expect("scripts/clients");
        assert!(status.success(), "scripts/clients {names:?} failed: its message says what is missing");
    }
}

/// The clock that clients stamp their records by.
pub fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_millis()).expect("a clock before the year 292 million")
}

/// Runs a program to its end and gives what it printed on standard output. Panics when it failed.
pub fn run(program: &str, arguments: &[&str], input: &str) -> String {
    let ended = end_of(program, arguments, input);
    assert_eq!(ended.code, Some(0), "{program} {arguments:?}\n{}\n{}", ended.out, ended.errors);
    ended.out
}

/// How a program ended.
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub errors: String,
}

/// Runs a program to its end, whatever that is.
pub fn end_of(program: &str, arguments: &[&str], input: &str) -> Ended {
    let mut process = Command::new("timeout")
        .args(["--kill-after=10", CLIENT_SECONDS_MAX, program])
        .args(arguments)
        .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = process.stdin.take().expect("piped");
    // A program that wants no input may have closed it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = process.wait_with_output().expect("its output");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ended { code: output.status.code(), out: text(output.stdout), errors: text(output.stderr) }
}

fn clients() -> PathBuf {
    target().join("clients")
}

/// The build's directory: that of its scratch files is in it.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("tmp is in it").to_path_buf()
}

pub fn write_file(path: &std::path::Path, content: &str) {
    std::fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

pub fn remove_file(path: &std::path::Path) {
    std::fs::remove_file(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
