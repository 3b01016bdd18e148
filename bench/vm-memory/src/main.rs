// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The worker of the Rust crate vm-memory: answers "list" and "time NAME" on its standard input, one line each. One row's state
//! is kept at a time. The rows are in access.rs, snapshot.rs, dirty.rs and queue.rs; map.rs has what guests are made of.

mod access;
mod dirty;
mod map;
mod queue;
mod snapshot;

use std::io::{self, BufRead, Write};
use std::time::Instant;

/// What one repetition took: without what a row leaves out of its time.
pub struct Took {
    pub operations: u64,
    pub nanoseconds: u64,
}

/// A repetition that does not count, for another thread that belongs to it was off its CPU.
pub const ALONE: u64 = u64::MAX;

/// One repetition of about so many operations.
pub type Row = Box<dyn FnMut(u64) -> Took>;

/// A repetition's length: long enough for the clock, short enough for the programs to take turns.
pub const REPETITION_NS: u64 = 20_000_000;

/// What the compiler may neither drop nor see through.
#[inline(always)]
pub fn keep(value: u64) -> u64 {
    let mut kept = value;
    // SAFETY: no instruction at all.
    unsafe { std::arch::asm!("/* {0} */", inout(reg) kept, options(nomem, nostack, preserves_flags)) };
    kept
}

/// What is behind the pointer counts as read and written from here on.
#[inline(always)]
pub fn keep_memory<T: ?Sized>(place: &T) {
    // SAFETY: no instruction at all.
    unsafe { std::arch::asm!("/* {0} */", in(reg) place as *const T as *const u8, options(nostack, preserves_flags)) };
}

/// An access that has to succeed did not: the figure would be worth nothing.
#[cold]
#[inline(never)]
pub fn failed<E: std::fmt::Debug>(error: E) -> ! {
    eprintln!("peer-vm-memory: {:?}", error);
    std::process::exit(1);
}

#[inline(always)]
pub fn clock(start: Instant) -> u64 {
    start.elapsed().as_nanos() as u64
}

/// Times all of @count operations together.
#[inline(always)]
pub fn all(count: u64, work: impl FnOnce()) -> Took {
    let start = Instant::now();
    work();
    Took { operations: count, nanoseconds: clock(start) }
}

/// Warms up, and finds how many operations a repetition has.
fn calibrate(row: &mut Row) -> u64 {
    let mut count = 1;
    loop {
        let start = Instant::now();
        let mut took = row(count);
        // Also of what is left out: a row whose preparation is long has repetitions of one operation.
        let whole = clock(start);
        if took.nanoseconds == ALONE {
            took.nanoseconds = REPETITION_NS;
        }
        if took.nanoseconds >= REPETITION_NS / 4 || whole >= 4 * REPETITION_NS {
            let each = (took.nanoseconds / took.operations).max(1);
            let by_whole = (10 * REPETITION_NS * took.operations / whole.max(1)).max(1);
            return (REPETITION_NS / each).clamp(1, by_whole);
        }
        count *= 2;
    }
}

fn find_row(name: &str) -> Result<Row, String> {
    let parts: Vec<&str> = name.split('/').collect();
    access::row(&parts)
        .or_else(|| snapshot::row(&parts))
        .or_else(|| dirty::row(&parts))
        .or_else(|| queue::row(&parts))
        .ok_or_else(|| format!("unknown name {}", name))
}

fn names() -> Vec<String> {
    let mut names = Vec::new();
    access::names(&mut names);
    snapshot::names(&mut names);
    dirty::names(&mut names);
    queue::names(&mut names);
    names
}

/// Powers of two from 1 to 32768, for the curves.
pub fn curve() -> impl Iterator<Item = usize> {
    (0..16).map(|shift| 1usize << shift)
}

/// A number of regions, from a part of a name.
pub fn regions_of(part: &str) -> Option<usize> {
    part.parse().ok().filter(|&regions| (1..=1 << 20).contains(&regions))
}

struct Current {
    name: String,
    row: Row,
    count: u64,
}

fn answer(line: &str, current: &mut Option<Current>) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["list"] => names().join(" "),
        ["time", name] => {
            if current.as_ref().map_or(true, |now| now.name != name) {
                *current = None;
                let mut row = match find_row(name) {
                    Ok(row) => row,
                    Err(text) => return format!("error {}", text),
                };
                let count = calibrate(&mut row);
                *current = Some(Current { name: name.to_string(), row, count });
            }
            let now = current.as_mut().unwrap();
            let took = (now.row)(now.count);
            if took.nanoseconds == ALONE {
                return "nan".to_string();
            }
            format!("{:.4}", took.nanoseconds as f64 / took.operations as f64)
        }
        _ => "error unknown request".to_string(),
    }
}

/// Freed memory stays with the process. Otherwise each collect of a large log would take its words from the kernel anew, page by
/// page, and give them back: a long-lived monitor would see to it like this.
fn keep_freed_memory() {
    // SAFETY: sets two numbers of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}

fn main() -> io::Result<()> {
    let mut current = None;
    keep_freed_memory();
    for line in io::stdin().lock().lines() {
        let text = answer(&line?, &mut current);
        let mut output = io::stdout().lock();
        writeln!(output, "{}", text)?;
        output.flush()?;
    }
    Ok(())
}
