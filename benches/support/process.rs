//! Processes of the real binary, and what Linux tells of a process.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Length of the kernel's clock ticks as it tells them to programs: `USER_HZ` is 100 on Linux.
const TICK: Duration = Duration::from_millis(10);

/// How often it is looked at what a command uses.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A command of penstock.
pub(crate) fn command<I: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
    command.args(arguments);
    command
}

/// Runs a command that ends on its own; panics with what it said when it fails.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed: {out}{err}");
    out.into_owned()
}

/// What a command came to that ended on its own.
pub(crate) struct Measured {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) took: Duration,
    pub(crate) usage: Usage,
}

/// Runs a command that ends on its own. What it has used is looked up every few milliseconds, since it is gone with
/// the process.
pub(crate) fn measured(command: &mut Command) -> Measured {
    let started = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        stdout.read_to_end(&mut all).unwrap();
        all
    });
    let mut usage = Usage::default();
    let status = loop {
        let now = Usage::of(child.id());
        usage.cpu = usage.cpu.max(now.cpu);
        usage.peak_resident_mib = usage.peak_resident_mib.max(now.peak_resident_mib);
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(LOOK_EVERY),
        }
    };
    Measured { code: status.code(), stdout: reading.join().unwrap(), took: started.elapsed(), usage }
}

/// A command of penstock that serves until it is stopped.
pub(crate) struct Role {
    child: Child,
    addresses: HashMap<String, String>,
}

impl Role {
    /// Starts it and waits until it has told, each on a line with the word before it, every address of
    /// `words`.
    pub(crate) fn start(mut command: Command, words: &[&str]) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut addresses = HashMap::new();
        while !words.iter().all(|word| addresses.contains_key(*word)) {
            let line = lines.next().unwrap_or_else(|| panic!("{command:?} ended before it served"));
            let mut words = line.split_whitespace();
            if let (Some(word), Some(address)) = (words.next(), words.next()) {
                addresses.insert(word.to_owned(), address.to_owned());
            }
        }
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, addresses }
    }

    /// The address it told after `word`.
    pub(crate) fn address(&self, word: &str) -> &str {
        &self.addresses[word]
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Usage {
        Usage::of(self.child.id())
    }

    /// Asks it to stop, and waits until it has finished what it accepted.
    pub(crate) fn stop(mut self) {
        let stopped = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let ended: ExitStatus = self.child.wait().unwrap();
        assert!(stopped.unwrap().success() && ended.success(), "it did not stop cleanly: {ended}");
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // Fails when it has been stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Processor time of all its threads, in user and in kernel mode, to 10 ms.
    pub(crate) cpu: Duration,
    /// The most memory it ever held.
    pub(crate) peak_resident_mib: f64,
}

impl Usage {
    /// That of a process, also of one that has ended and was not waited for; nothing where there is no
    /// `/proc`.
    pub(crate) fn of(process: u32) -> Self {
        let cpu = Stat::of(process).map_or(Duration::ZERO, |stat| TICK * stat.own_ticks);
        Self { cpu, peak_resident_mib: peak_resident_mib(process) }
    }

    /// Processor time of a process and of its children, those that have ended included.
    pub(crate) fn cpu_of_family(process: u32) -> Duration {
        let Some(parent) = Stat::of(process) else { return Duration::ZERO };
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let children = processes.filter_map(Stat::of).filter(|stat| stat.parent == process);
        TICK * (parent.own_ticks + parent.ended_ticks + children.map(|stat| stat.own_ticks).sum::<u32>())
    }
}

/// What `/proc/<id>/stat` tells.
struct Stat {
    parent: u32,
    /// Of the process itself.
    own_ticks: u32,
    /// Of children that have ended.
    ended_ticks: u32,
}

impl Stat {
    fn of(process: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The command in brackets may hold blanks; what follows the last bracket does not.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let field = |index: usize| fields.get(index)?.parse::<u32>().ok();
        Some(Self {
            parent: field(1)?,
            own_ticks: field(11)? + field(12)?,
            ended_ticks: field(13)? + field(14)?,
        })
    }
}

#[allow(clippy::cast_precision_loss, reason = "kilobytes of one process")]
fn peak_resident_mib(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
    kib as f64 / 1_024.0
}
