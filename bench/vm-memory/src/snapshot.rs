// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Rows 9 to 12: taking a snapshot of the map, and changing the map, both by GuestMemoryAtomic.

use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use vm_memory::{GuestAddress, GuestAddressSpace, GuestMemory, GuestMemoryAtomic, GuestRegionMmap};

use crate::map::{self, Guest, Memory, Place, PAGE};
use crate::{all, clock, curve, failed, keep, regions_of, Row, Took, ALONE, REPETITION_NS};

/// Regions of the map that is changed all the time.
const BUSY_REGIONS: usize = 8;
/// Parts of a repetition, how long it tries, and what share of a CPU is enough: as in worker.c.
const BESIDE_PARTS: u64 = 16;
const BESIDE_MOST_NS: u64 = 5 * REPETITION_NS;
const BESIDE_SHARE: f64 = 0.95;

pub fn names(names: &mut Vec<String>) {
    names.extend(["enter_leave", "enter_leave_busy"].map(String::from));
    names.extend(curve().map(|regions| format!("insert_remove/{}", regions)));
    names.extend(["insert_remove_busy/512", "insert_remove_busy/32768"].map(String::from));
}

/// A map with a region of its own to be plugged into the gap behind the one in the middle.
struct Plug {
    guest: Guest<()>,
    region: Arc<GuestRegionMmap<()>>,
    place: Place,
}

fn new_plug(regions: usize) -> Plug {
    let places = map::regular(regions, PAGE);
    let guest = map::plain_guest(&places);
    let middle = places[regions / 2];
    let place = Place { first: middle.first + PAGE, bytes: PAGE, offset: middle.offset };
    let region = Arc::new(map::new_region(guest.area(), &place, ()));
    Plug { guest, region, place }
}

/// Two updates, as the crate documents them: lock, make the new map from the present one, replace.
fn insert_remove(memory: &GuestMemoryAtomic<Memory<()>>, region: &Arc<GuestRegionMmap<()>>, place: &Place) {
    let guard = memory.lock().unwrap_or_else(|error| failed(error.to_string()));
    match memory.memory().insert_region(region.clone()) {
        Ok(map) => guard.replace(map),
        Err(error) => failed(error),
    }
    let guard = memory.lock().unwrap_or_else(|error| failed(error.to_string()));
    let removed = memory.memory().remove_region(GuestAddress(place.first), place.bytes);
    match removed {
        Ok((map, _)) => guard.replace(map),
        Err(error) => failed(error),
    }
}

#[inline(never)]
fn enter_leave(memory: &GuestMemoryAtomic<Memory<()>>, count: u64) {
    for _ in 0..count {
        let snapshot = memory.memory();
        keep(&*snapshot as *const Memory<()> as u64);
    }
}

fn new_enter_leave() -> Row {
    let guest = map::plain_guest(&map::regular(BUSY_REGIONS, PAGE));
    Box::new(move |count| all(count, || enter_leave(guest.memory(), count)))
}

/// A guest whose map a thread changes until this is dropped.
struct Busy {
    guest: Guest<()>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Busy {
    // By a function, so that a closure that uses the guest holds the thread as well.
    fn guest(&self) -> &Guest<()> {
        &self.guest
    }

    /// Nanoseconds that the thread has had of a CPU.
    fn worked(&self) -> u64 {
        let thread = self.thread.as_ref().unwrap().as_pthread_t();
        // SAFETY: the thread has not been joined; plain structures, filled before use.
        let now = unsafe {
            let mut clock: libc::clockid_t = 0;
            let mut now: libc::timespec = std::mem::zeroed();
            if libc::pthread_getcpuclockid(thread, &mut clock) != 0 || libc::clock_gettime(clock, &mut now) != 0 {
                failed("no clock of a thread");
            }
            now
        };
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    }

    /// Times about @count operations while the thread works, in parts: see bench_beside() in worker.h.
    fn beside(&self, count: u64, mut work: impl FnMut(u64)) -> Took {
        let part = (count / BESIDE_PARTS).max(1);
        let mut sum = Took { operations: 0, nanoseconds: 0 };
        let begun = Instant::now();
        while sum.operations < count && clock(begun) < BESIDE_MOST_NS {
            let worked = self.worked();
            let took = all(part, || work(part));
            if (self.worked() - worked) as f64 >= BESIDE_SHARE * took.nanoseconds as f64 {
                sum.operations += part;
                sum.nanoseconds += took.nanoseconds;
            }
        }
        if sum.operations == 0 {
            return Took { operations: count, nanoseconds: ALONE };
        }
        sum
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The reader may be bound to one CPU; the writer goes to the others, if there are any.
fn leave_cpu(cpu: i32) {
    // SAFETY: a plain structure, filled before use; a refusal leaves the thread where it is.
    unsafe {
        let mut cpus: libc::cpu_set_t = std::mem::zeroed();
        for other in (0..libc::CPU_SETSIZE as usize).filter(|&other| other as i32 != cpu) {
            libc::CPU_SET(other, &mut cpus);
        }
        libc::sched_setaffinity(0, std::mem::size_of_val(&cpus), &cpus);
    }
}

/// Runs @work on another CPU over and over, until the guest is dropped.
fn busy(guest: Guest<()>, mut work: impl FnMut(&GuestMemoryAtomic<Memory<()>>) + Send + 'static) -> Busy {
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Arc::new(AtomicBool::new(false));
    // SAFETY: no arguments.
    let cpu = unsafe { libc::sched_getcpu() };
    let thread = thread::spawn({
        let (memory, stop, begun) = (guest.memory().clone(), stop.clone(), begun.clone());
        move || {
            leave_cpu(cpu);
            while !stop.load(Ordering::Relaxed) {
                work(&memory);
                begun.store(true, Ordering::Relaxed);
            }
        }
    });
    let busy = Busy { guest, stop, thread: Some(thread) };
    while !begun.load(Ordering::Relaxed) {
        thread::yield_now();
    }
    busy
}

fn new_enter_leave_busy() -> Row {
    let Plug { guest, region, place } = new_plug(BUSY_REGIONS);
    let busy = busy(guest, move |memory| insert_remove(memory, &region, &place));
    Box::new(move |count| busy.beside(count, |part| enter_leave(busy.guest().memory(), part)))
}

/// Updates while another thread takes snapshots without pause.
fn new_insert_remove_busy(regions: usize) -> Row {
    let Plug { guest, region, place } = new_plug(regions);
    let busy = busy(guest, |memory| enter_leave(memory, 1));
    Box::new(move |count| {
        busy.beside(count, |part| {
            for _ in 0..part {
                insert_remove(busy.guest().memory(), &region, &place);
            }
        })
    })
}

fn new_insert_remove(regions: usize) -> Row {
    let plug = new_plug(regions);
    Box::new(move |count| {
        let took = all(count, || {
            for _ in 0..count {
                insert_remove(plug.guest.memory(), &plug.region, &plug.place);
            }
        });
        assert_eq!(plug.guest.memory().memory().num_regions(), regions);
        took
    })
}

pub fn row(parts: &[&str]) -> Option<Row> {
    match *parts {
        ["enter_leave"] => Some(new_enter_leave()),
        ["enter_leave_busy"] => Some(new_enter_leave_busy()),
        ["insert_remove_busy", regions] => Some(new_insert_remove_busy(regions_of(regions)?)),
        ["insert_remove", regions] => Some(new_insert_remove(regions_of(regions)?)),
        _ => None,
    }
}
