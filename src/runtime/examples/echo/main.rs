//! CPU per request of an echo server (100 bytes) on the runtime's `Stream`, against a bare io_uring loop in the same run.
//!
//! `cargo run --release -p ringlane-runtime --example echo [SECONDS]` prints one table. To profile one side: `echo serve-runtime` (or
//! `serve-bare`) prints its address, `echo load ADDRESS CONNECTIONS SECONDS` drives it. Server on the first CPU, client on the last;
//! the server's CPU time is the kernel's own count over all its threads; medians of three interleaved rounds.

mod bare;

use ringlane_runtime::ring::{RingOptions, allowed_cores, run};
use ringlane_runtime::{Buffer, Listener, Stream, counters, sleep, spawn};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CONNECTIONS: [usize; 3] = [4, 50, 200];
const ROUNDS: usize = 3;
const MESSAGE_BYTES: usize = 100;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("serve-bare") => bare::serve(first_core()),
        Some("serve-runtime") => serve_runtime(),
        Some("load") => load(&arguments[1..]),
        seconds => compare(seconds.map_or(2.0, |text| text.parse().expect("a number of seconds"))),
    }
}

fn load(arguments: &[String]) {
    let [address, connections, seconds] = arguments else { panic!("expected ADDRESS CONNECTIONS SECONDS") };
    let last_core = *allowed_cores().last().unwrap();
    let mut client = bare::Client::connect(last_core, address.parse().unwrap(), connections.parse().unwrap());
    let seconds: f64 = seconds.parse().unwrap();
    println!("{:.0} requests/s", client.run(Duration::from_secs_f64(seconds)) as f64 / seconds);
}

fn first_core() -> usize {
    allowed_cores()[0]
}

#[derive(Clone, Copy)]
struct Sample {
    cpu_us: f64,
    requests_per_s: f64,
}

fn compare(seconds: f64) {
    println!("| connections | bare us/request | runtime us/request | ratio | bare requests/s | runtime requests/s |");
    println!("|--:|--:|--:|--:|--:|--:|");
    for connections in CONNECTIONS {
        let (mut bare, mut runtime) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bare.push(measure("serve-bare", connections, seconds));
            runtime.push(measure("serve-runtime", connections, seconds));
        }
        let (bare, runtime) = (median(bare), median(runtime));
        println!(
            "| {connections} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} |",
            bare.cpu_us,
            runtime.cpu_us,
            runtime.cpu_us / bare.cpu_us,
            bare.requests_per_s,
            runtime.requests_per_s
        );
    }
}

fn median(mut samples: Vec<Sample>) -> Sample {
    samples.sort_by(|a, b| a.cpu_us.total_cmp(&b.cpu_us));
    samples[samples.len() / 2]
}

fn measure(mode: &str, connections: usize, seconds: f64) -> Sample {
    let own = std::env::current_exe().unwrap();
    let mut server = Command::new(own).arg(mode).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut client = bare::Client::connect(*allowed_cores().last().unwrap(), line.trim().parse().unwrap(), connections);
    client.run(Duration::from_millis(300));
    let (cpu_before, began) = (cpu_nanos(&server), Instant::now());
    let requests = client.run(Duration::from_secs_f64(seconds));
    let (took, cpu) = (began.elapsed(), cpu_nanos(&server) - cpu_before);
    server.kill().unwrap();
    server.wait().unwrap();
    Sample { cpu_us: cpu as f64 / 1000.0 / requests as f64, requests_per_s: requests as f64 / took.as_secs_f64() }
}

/// Time on a CPU of all threads, as the scheduler counts it.
fn cpu_nanos(process: &Child) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    let on_cpu = |thread: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    threads.map(on_cpu).sum()
}

fn serve_runtime() {
    let options = RingOptions { cores: vec![first_core()], pool_bytes_per_shard: 64 << 20, spin_us: 0 };
    let main = || async {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        println!("{}", listener.local_address());
        if std::env::var_os("ECHO_COUNTERS").is_some() {
            spawn("counters", async {
                loop {
                    sleep(Duration::from_secs(1)).await;
                    eprintln!("{:?}", counters());
                }
            })
            .detach();
        }
        loop {
            let stream = listener.accept().await.unwrap().into_stream();
            spawn("echo", echo(stream)).detach();
        }
    };
    run(options, vec![Box::new(move || Box::pin(main()))]).unwrap();
}

/// As a broker does: a fresh buffer per request, its bytes handed to the send.
async fn echo(stream: Stream) {
    loop {
        let (received, mut buffer) = stream.recv(Buffer::take(4096), 0).await;
        match received {
            Ok(0) | Err(_) => return,
            Ok(bytes) => buffer.truncate(bytes),
        }
        if stream.send(buffer.freeze()).await.is_err() {
            return;
        }
    }
}
