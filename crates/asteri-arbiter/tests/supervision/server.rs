//! An arbiter in a process of its own, and how a test talks to it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use asteri_server::sys::process::{self, Pid};
use asteri_server::sys::signals::Signal;

/// After this long something that was waited for will not come.
pub const LIMIT: Duration = Duration::from_secs(20);

pub struct Server {
    pub child: Child,
    lines: Receiver<String>,
    pub seen: Vec<String>,
    pub dir: PathBuf,
    pub address: Option<SocketAddr>,
}

/// Who answered: process, generation, age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    pub pid: Pid,
    pub generation: u32,
    pub age: u64,
}

impl Server {
    /// Starts an arbiter in a directory of its own; `config` is added to a port of the system's choice.
    pub fn start(config: &str) -> Server {
        Server::start_with(&format!("--bind 127.0.0.1:0 {config}"), |_| {})
    }

    pub fn ready(config: &str) -> Server {
        let mut server = Server::start(config);
        server.wait_ready();
        server
    }

    pub fn start_with(config: &str, prepare: impl FnOnce(&Path)) -> Server {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("asteri-arbiter-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("config"), config).unwrap();
        prepare(&dir);
        let mut child = Command::new(supervise()).arg(&dir).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Server { child, lines, seen: Vec::new(), dir, address: None }
    }

    pub fn configure(&self, config: &str) {
        fs::write(self.dir.join("config"), format!("--bind 127.0.0.1:0 {config}")).unwrap();
    }

    pub fn boot_order(&self, order: &str) {
        fs::write(self.dir.join("boot"), order).unwrap();
    }

    /// Waits for the next line of the log that contains `part`, and returns it.
    pub fn wait_line(&mut self, part: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) else {
                panic!("no line with {part:?}; the log was:\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    pub fn wait_ready(&mut self) {
        let line = self.wait_line("Listening at: http://");
        let url = line.split("http://").nth(1).unwrap();
        self.address = Some(url.split(' ').next().unwrap().parse().unwrap());
        self.wait_line("Ready:");
    }

    pub fn signal(&self, signal: Signal) {
        process::kill(self.child.id() as Pid, signal).unwrap();
    }

    pub fn wait_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.seen.extend(self.lines.iter());
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end; the log was:\n{}", self.rest());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn rest(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address.unwrap()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Sends a command to whichever worker accepts it, and waits until one has.
    pub fn send(&self, command: &str) -> BufReader<TcpStream> {
        let mut stream = self.connect();
        writeln!(stream, "{command}").unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "begun\n");
        reader
    }

    pub fn ask(&self, command: &str) -> String {
        answer(self.send(command))
    }

    pub fn who(&self) -> Who {
        let answer = self.ask("who");
        let mut parts = answer.split(' ');
        let mut next = || parts.next().unwrap().parse::<u64>().unwrap();
        Who { pid: next() as Pid, generation: next() as u32, age: next() }
    }

    /// Asks until somebody answers who satisfies `wanted`.
    pub fn who_is(&self, wanted: impl Fn(&Who) -> bool) -> Who {
        let deadline = Instant::now() + LIMIT;
        loop {
            let who = self.who();
            if wanted(&who) {
                return who;
            }
            assert!(Instant::now() < deadline, "only {who:?} answers");
        }
    }

    /// The ids of the arbiter's living children.
    pub fn workers(&self) -> Vec<Pid> {
        children(self.child.id() as Pid)
    }

    /// Waits until the arbiter has exactly `count` children.
    pub fn wait_workers(&mut self, count: usize) -> Vec<Pid> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let workers = self.workers();
            if workers.len() == count {
                return workers;
            }
            assert!(Instant::now() < deadline, "{workers:?} instead of {count}; the log was:\n{}", self.rest());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let workers = self.workers();
        let _ = self.child.kill();
        let _ = self.child.wait();
        for worker in workers {
            let _ = process::kill(worker, Signal::KILL);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The program next to this test's own: `target/PROFILE/examples/supervise`.
fn supervise() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().unwrap().parent().unwrap().join("examples/supervise");
    assert!(program.exists(), "{} is not built: run `cargo build --examples` first", program.display());
    program
}

pub fn answer(mut reader: BufReader<TcpStream>) -> String {
    let mut line = String::new();
    // A worker that dies resets the connection or ends it: no answer either way.
    let _ = reader.read_line(&mut line);
    line.trim().to_owned()
}

fn children(parent: Pid) -> Vec<Pid> {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Waits until no process has this id any more, not even a zombie.
pub fn wait_gone(pid: Pid) {
    let deadline = Instant::now() + LIMIT;
    while process::is_alive(pid) {
        assert!(Instant::now() < deadline, "process {pid} stays");
        std::thread::sleep(Duration::from_millis(5));
    }
}
